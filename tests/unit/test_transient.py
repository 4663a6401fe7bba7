"""Which errors of AWS are worth another attempt."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from call_recorder.adapters.aws_api.transient_errors import (
    TRANSIENT_CODES,
    TRANSIENT_STATUSES,
    is_transient,
)

CALLED = [
    ("ssm", "GetParameters"),
    ("ssm", "DescribeParameters"),
    ("sqs", "SendMessage"),
    ("dynamodb", "BatchGetItem"),
]
"""What CallbackFunction may call."""


def test_all_that_botocore_knows_of_is_known() -> None:
    transient: Any = TransientRetryableChecker
    throttled: Any = ThrottledRetryableChecker

    assert {*transient._TRANSIENT_ERROR_CODES, *throttled._THROTTLED_ERROR_CODES} <= TRANSIENT_CODES
    assert {*transient._TRANSIENT_STATUS_CODES, 429} == TRANSIENT_STATUSES


@pytest.mark.parametrize(("service", "operation"), CALLED)
def test_every_throttling_error_that_a_called_operation_names_is_known(service: str, operation: str) -> None:
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    throttling = {
        error.name for error in model.error_shapes if re.search("Throttl|LimitExceeded|Throughput", error.name)
    }

    assert throttling <= TRANSIENT_CODES
    assert service == "ssm" or throttling


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ProvisionedThroughputExceeded"),
        (400, "RequestLimitExceeded"),
        (400, "KMS.ThrottlingException"),
        (429, ""),
        (500, "InternalServerError"),
        (503, ""),
    ],
)
def test_throttling_and_failures_are_transient(status: int, code: str) -> None:
    assert is_transient(status, code)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ValidationException"), (403, "AccessDenied"), (404, ""), (301, "")]
)
def test_a_refusal_is_not(status: int, code: str) -> None:
    assert not is_transient(status, code)
