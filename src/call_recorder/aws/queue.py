"""The queue of call facts (Amazon SQS)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from call_recorder.aws.failures import told
from call_recorder.recording import facts
from call_recorder.recording.errors import QueueUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


MOST_ENTRIES = 10
"""Messages that one SendMessageBatch takes. Ten of ours, at most 8 KB each, stay well below its 256 KB."""


class RecordingQueue:
    """Sends call facts to the recording queue."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, fact: facts.QueuedFact) -> None:
        """Put a fact on the queue.

        Raises:
            QueueUnavailable: the queue did not take it within the client's time limits.
        """
        with told("SendMessage", QueueUnavailable):
            self._client.send_message(QueueUrl=self._url, MessageBody=facts.write(fact))

    def send_all(self, several: Iterable[facts.QueuedFact]) -> int:
        """Put facts on the queue, ten to a call, and return how many they were.

        Raises:
            QueueUnavailable: the queue refused some; those before them may have been taken.
        """
        rest, sent = iter(several), 0
        while chunk := list(islice(rest, MOST_ENTRIES)):
            entries = [{"Id": str(place), "MessageBody": facts.write(fact)} for place, fact in enumerate(chunk)]
            with told("SendMessageBatch", QueueUnavailable):
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
            if refused := answer.get("Failed"):
                raise QueueUnavailable(f"SendMessageBatch: {refused[0]['Code']}")
            sent += len(chunk)
        return sent
