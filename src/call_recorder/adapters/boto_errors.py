"""Translation of boto3's errors into the domain's errors. Their text names the operation and the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.facts.errors import CallRecorderError


@contextmanager
def translate_errors(operation: str, error_type: type[CallRecorderError]) -> Iterator[None]:
    """Raise an AWS error in the block as ``error_type``, with a text such as ``PutItem: ThrottlingException``."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise error_type(f"{operation}: {read_reason(error)}") from error


def read_reason(error: ClientError | BotoCoreError) -> str:
    """Return AWS's error code, or the name of botocore's error."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "unknown")
    return type(error).__name__
