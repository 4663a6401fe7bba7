"""Each error of AWS is one sentence that says what to do, and an exit code."""

from __future__ import annotations

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from call_recorder_cli.errors import ExitCode, translate


def refuse(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "Told so."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Query")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (refuse("AccessDeniedException"), ExitCode.NO_RIGHT, "no right to Query: ask for the stack's SomePolicy."),
        (refuse("ExpiredTokenException"), ExitCode.NO_RIGHT, "have expired: sign in again."),
        (refuse("InvalidClientTokenId"), ExitCode.NO_RIGHT, "does not accept these credentials"),
        (refuse("ThrottlingException"), ExitCode.TRY_AGAIN, "limits the rate of Query"),
        (refuse("Anything", 503), ExitCode.TRY_AGAIN, "AWS failed at Query"),
        (refuse("ValidationException"), ExitCode.FAILED, "refuses Query (ValidationException): Told so."),
        (NoCredentialsError(), ExitCode.NO_RIGHT, "no usable AWS credentials"),
        (NoRegionError(), ExitCode.FAILED, "pass --region"),
        (EndpointConnectionError(endpoint_url="https://x"), ExitCode.TRY_AGAIN, "check the network and the region"),
    ],
)
def test_an_error_has_a_sentence_and_an_exit_code(
    error: BotoCoreError | ClientError, code: ExitCode, says: str
) -> None:
    failed = translate(error, "SomePolicy")

    assert failed.exit_code == code
    assert says in str(failed)
