"""The queue between the two functions (Amazon SQS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.recording import facts
from call_recorder.recording.errors import QueueUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class RecordingQueue:
    """Sends call facts to the recording queue."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, fact: facts.Fact) -> None:
        """Put a fact on the queue.

        Raises:
            QueueUnavailable: the queue did not take it within the client's time limits.
        """
        try:
            self._client.send_message(QueueUrl=self._url, MessageBody=facts.write(fact))
        except (ClientError, BotoCoreError) as error:
            raise QueueUnavailable(f"SendMessage: {reason(error)}") from error


def reason(error: ClientError | BotoCoreError) -> str:
    """Return what went wrong in a word: AWS's error code, or the name of botocore's error."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "unknown")
    return type(error).__name__
