"""The recording queue (Amazon SQS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts import messages
from call_recorder.facts.errors import QueueUnavailable

MAX_ENTRIES = 10
"""Maximum number of messages in one SendMessageBatch. Ten of at most 8 KB stay well below its limit of 256 KB."""

_WAITING = "ApproximateNumberOfMessages"


class RecordingQueue:
    """Sends facts and commands to the recording queue.

    Args:
        sqs: SQS.
        url: the URL of the queue.
        urgent: SQS with the short time limits of calls for which a caller waits.
    """

    def __init__(self, sqs: Operations, url: str, *, urgent: Operations | None = None) -> None:
        self._sqs = sqs
        self._urgent = urgent or sqs
        self._url = url

    def send(self, message: messages.QueueMessage, *, urgent: bool = False) -> None:
        """Send one message.

        Args:
            message: the fact or command.
            urgent: whether a caller waits.

        Raises:
            QueueUnavailable: the queue did not take it within the time limits.
        """
        sqs = self._urgent if urgent else self._sqs
        self._call("SendMessage", {"MessageBody": messages.write_message(message)}, sqs)

    def send_all(self, queue_messages: Iterable[messages.QueueMessage]) -> int:
        """Send messages, ten per call, and return the number of messages sent.

        Raises:
            QueueUnavailable: the queue refused a message. It may have taken others.
        """
        remaining, sent = iter(queue_messages), 0
        while chunk := list(islice(remaining, MAX_ENTRIES)):
            entries = [
                {"Id": str(index), "MessageBody": messages.write_message(message)}
                for index, message in enumerate(chunk)
            ]
            answer = self._call("SendMessageBatch", {"Entries": entries}, self._sqs)
            if refused := answer.get("Failed"):
                raise QueueUnavailable(f"SendMessageBatch: {refused[0]['Code']}")
            sent += len(chunk)
        return sent

    def count_waiting(self) -> int:
        """Return about how many messages wait in the queue.

        Raises:
            QueueUnavailable: the queue does not say.
        """
        answer = self._call("GetQueueAttributes", {"AttributeNames": [_WAITING]}, self._sqs)
        return int(answer["Attributes"][_WAITING])

    def _call(self, operation: str, parameters: Mapping[str, Any], sqs: Operations) -> dict[str, Any]:
        try:
            return sqs.call(operation, {"QueueUrl": self._url, **parameters})
        except CallFailed as error:
            raise QueueUnavailable(str(error)) from error
