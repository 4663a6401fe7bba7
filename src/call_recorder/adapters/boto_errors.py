"""boto3's errors in the domain's words: which operation failed, and AWS's code or the name of botocore's error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.facts.errors import CallRecorderError


@contextmanager
def translate_errors(operation: str, error_type: type[CallRecorderError]) -> Iterator[None]:
    """Raise an error of AWS in the block as ``error_type``, such as ``PutItem: ThrottlingException``."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise error_type(f"{operation}: {error_reason(error)}") from error


def error_reason(error: ClientError | BotoCoreError) -> str:
    """Return AWS's code, or the name of botocore's error."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "unknown")
    return type(error).__name__
