"""The reasons why a command fails: each has a sentence and an exit code. Each error of AWS becomes one of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)


class ExitCode(IntEnum):
    """The exit codes of every command (docs/operators.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_RIGHT = 4
    TRY_AGAIN = 5
    PROBLEM_FOUND = 6
    INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do what the user asked for. The text is one sentence, and says what to do."""

    exit_code = ExitCode.FAILED


class NotFound(CommandFailed):
    """There is no such recording, application or other thing."""

    exit_code = ExitCode.NOT_FOUND


class NoRight(CommandFailed):
    """The credentials are absent, expired or wrong, or they do not allow what the command needs."""

    exit_code = ExitCode.NO_RIGHT


class TryAgain(CommandFailed):
    """A service does not answer, or limits the rate of requests. The same command may succeed later."""

    exit_code = ExitCode.TRY_AGAIN


class ProblemFound(CommandFailed):
    """A check ran to its end and found a problem."""

    exit_code = ExitCode.PROBLEM_FOUND


NO_REGION = "No region is chosen: pass --region, or set AWS_REGION to that of the stack, such as eu-west-1."

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
)

# The services spell these codes differently. Sources, read in November 2026: "Common errors" in the API references of
# Lambda, DynamoDB and SQS, "Error responses" of S3, and botocore's own list of codes that it retries as throttling.
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403", "Forbidden"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_WRONG_KEY = {
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "AuthFailure",
    "InvalidToken",
}
_THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "LimitExceededException",
}
_UNAVAILABLE = {"ServiceUnavailable", "InternalFailure", "InternalServerError", "InternalError", "RequestTimeout"}
_MIN_SERVER_ERROR = 500


def translate(error: BotoCoreError | ClientError, needs: str | None = None) -> CommandFailed:
    """Return the reason for an error of AWS or of boto3.

    Args:
        error: the error.
        needs: the managed policy of the stack with the rights that the command needs, if any.
    """
    if isinstance(error, ClientError):
        return _translate_answer(error, needs)
    match error:
        case NoRegionError():
            return CommandFailed(NO_REGION)
        case ProfileNotFound():
            return NoRight(f"{error}: pass --profile with one that `aws configure list-profiles` shows.")
        case _ if isinstance(error, _NO_CREDENTIALS):
            return NoRight(f"There are no usable AWS credentials ({_shorten(error)}): sign in, or pass --profile.")
        case NoConnection() | HTTPClientError():
            return TryAgain(
                f"AWS cannot be reached ({_shorten(error)}): check the network and the region, then try again."
            )
    return CommandFailed(f"The AWS client refuses the request: {_shorten(error)}.")


def _translate_answer(error: ClientError, needs: str | None) -> CommandFailed:
    answer: Any = error.response.get("Error", {})
    code, operation = str(answer.get("Code", "")), error.operation_name
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        return NoRight("The AWS credentials have expired: sign in again.")
    if code in _WRONG_KEY:
        return NoRight(f"AWS does not accept these credentials ({code}): sign in again, or pass --profile.")
    if code in _DENIED:
        mend = f"ask for the stack's {needs}" if needs else "ask the owner of the account for it"
        return NoRight(f"These credentials have no right to {operation}: {mend}.")
    if code in _THROTTLED:
        return TryAgain(f"AWS limits the rate of {operation}: try again in a minute.")
    if code in _UNAVAILABLE or status >= _MIN_SERVER_ERROR:
        return TryAgain(f"AWS failed at {operation} ({code}): try again.")
    return CommandFailed(f"AWS refuses {operation} ({code}): {str(answer.get('Message', '')).rstrip('.')}.")


def _shorten(error: BotoCoreError) -> str:
    return str(error).rstrip(".")
