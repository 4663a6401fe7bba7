"""Errors of AWS that another attempt may not meet: the service throttles, is busy or fails.

For our own client. boto3 knows its own; tests/unit/test_transient.py holds that each of those is here.
"""

from __future__ import annotations

from typing import Final

TRANSIENT_CODES: Final = frozenset(
    {
        # botocore's throttling codes (botocore/retries/standard.py), of all services
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
        # botocore's codes of a service that gave up waiting
        "RequestTimeout",
        "RequestTimeoutException",
        # SQS, when KMS throttles it: by its JSON protocol, and by its older one
        "KmsThrottled",
        "KMS.ThrottlingException",
        # the name without its suffix, as DynamoDB's documentation has it in places
        "ProvisionedThroughputExceeded",
    }
)

TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses that say so on their own: a load balancer's answer names no code."""


def is_transient(status: int, code: str) -> bool:
    """Tell whether another attempt may succeed after an answer with this HTTP status and error code."""
    return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES
