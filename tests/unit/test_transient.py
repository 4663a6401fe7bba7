"""Which errors of AWS are worth another attempt."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from call_recorder.adapters.aws_api.transient_errors import TRANSIENT_CODES, TRANSIENT_STATUSES, is_transient

CALLED = [
    ("ssm", "GetParameters"),
    ("ssm", "DescribeParameters"),
    ("sqs", "SendMessage"),
    ("dynamodb", "BatchGetItem"),
]
"""What CallbackFunction may call."""


def test_every_transient_error_of_botocore_is_known() -> None:
    transient: Any = TransientRetryableChecker
    throttled: Any = ThrottledRetryableChecker

    assert {*transient._TRANSIENT_ERROR_CODES, *throttled._THROTTLED_ERROR_CODES} <= TRANSIENT_CODES
    assert {*transient._TRANSIENT_STATUS_CODES, 429} == TRANSIENT_STATUSES


@pytest.mark.parametrize(("service", "operation"), CALLED)
def test_every_throttling_error_of_a_called_operation_is_known(service: str, operation: str) -> None:
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    throttling = {
        error.name for error in model.error_shapes if re.search("Throttl|LimitExceeded|Throughput", error.name)
    }

    assert throttling <= TRANSIENT_CODES
    assert service == "ssm" or throttling


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "ProvisionedThroughputExceeded", True),
        (400, "RequestLimitExceeded", True),
        (400, "KMS.ThrottlingException", True),
        (429, "", True),
        (500, "InternalServerError", True),
        (503, "", True),
        (400, "ValidationException", False),
        (403, "AccessDenied", False),
        (404, "", False),
        (301, "", False),
    ],
)
def test_throttling_and_failures_are_transient_and_refusals_are_not(status: int, code: str, transient: bool) -> None:
    assert is_transient(status, code) == transient
