"""Transient errors of AWS: the service throttles, is busy or fails, and another attempt may succeed.

Our own client uses them. boto3 has its own list. tests/unit/test_transient.py checks that this list contains it.
"""

from __future__ import annotations

from typing import Final

TRANSIENT_CODES: Final = frozenset(
    {
        # botocore's throttling codes (botocore/retries/standard.py), for all services
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        # botocore's codes for a service that stopped waiting
        "RequestTimeout",
        "RequestTimeoutException",
        # SQS, if KMS throttles it: in its JSON protocol, and in its older one
        "KmsThrottled",
        "KMS.ThrottlingException",
        # the name without its suffix, as in some of DynamoDB's documentation
        "ProvisionedThroughputExceeded",
    }
)

TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses of transient errors. The answer of a load balancer has no error code."""


def is_transient(status: int, code: str) -> bool:
    """Tell whether another attempt may succeed after an answer with this HTTP status and this error code."""
    return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES
