"""The queue of call facts (Amazon SQS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from call_recorder.aws.operations import CallFailed, Operations
from call_recorder.recording import facts
from call_recorder.recording.errors import QueueUnavailable

MOST_ENTRIES = 10
"""Messages that one SendMessageBatch takes. Ten of ours, at most 8 KB each, stay well below its 256 KB."""


class RecordingQueue:
    """Sends call facts to the recording queue.

    Args:
        sqs: SQS.
        url: the queue's URL.
    """

    def __init__(self, sqs: Operations, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, fact: facts.QueuedFact) -> None:
        """Put a fact on the queue.

        Raises:
            QueueUnavailable: the queue did not take it within the time limits.
        """
        self._call("SendMessage", {"MessageBody": facts.write(fact)})

    def send_all(self, several: Iterable[facts.QueuedFact]) -> int:
        """Put facts on the queue, ten to a call, and return how many they were.

        Raises:
            QueueUnavailable: the queue refused some; those before them may have been taken.
        """
        rest, sent = iter(several), 0
        while chunk := list(islice(rest, MOST_ENTRIES)):
            entries = [{"Id": str(place), "MessageBody": facts.write(fact)} for place, fact in enumerate(chunk)]
            answer = self._call("SendMessageBatch", {"Entries": entries})
            if refused := answer.get("Failed"):
                raise QueueUnavailable(f"SendMessageBatch: {refused[0]['Code']}")
            sent += len(chunk)
        return sent

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._sqs.call(operation, {"QueueUrl": self._url, **parameters})
        except CallFailed as error:
            raise QueueUnavailable(str(error)) from error
