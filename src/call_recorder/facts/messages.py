"""The messages of the recording queue: facts and commands as JSON.

A message that ``read_message`` cannot read fails alone: NotifyFunction reports it as failed, and SQS delivers it again.
In the end, SQS moves it to the dead-letter queue, which has an alarm.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from call_recorder.facts.commands import Command
from call_recorder.facts.facts import CallNotRecordedFact, Fact, ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.facts.model import MAX_TEXT_BYTES

QueueMessage = Fact | CallNotRecordedFact | ObjectStoredFact | UploaderKeyChangedFact | Command

_QUEUE_MESSAGE: TypeAdapter[QueueMessage] = TypeAdapter(
    Annotated[QueueMessage, Field(discriminator="fact")], config=ConfigDict(defer_build=True)
)

_EMPTY_FIELD_NAME = re.compile(r'(?<!\\)""[ \t\r\n]*:')
"""A field with an empty name, in JSON. Unknown fields are stored, and DynamoDB refuses an empty name."""


class MalformedFact(ValueError):
    """A queue message is no fact or command of a known version."""


_MAX_DEPTH = 24
"""Maximum nesting of a message. DynamoDB stores 32 levels, and an item has some of its own around a message."""

_MAX_INTEGER = 10**38
_NUMBER_RANGE = (1e-130, 9.9999e125)
"""The absolute values of the numbers that DynamoDB stores, besides 0."""


def read_message(body: str) -> QueueMessage:
    """Read the body of a queue message.

    Raises:
        MalformedFact: it is no fact or command. The text names the wrong fields and quotes no value.
    """
    if _EMPTY_FIELD_NAME.search(body):
        raise MalformedFact("not a call fact: a field without a name")
    try:
        message = _QUEUE_MESSAGE.validate_json(body)
    except ValidationError as error:
        fields = {".".join(map(str, each["loc"])) or "body" for each in error.errors(include_input=False)}
        raise MalformedFact(f"not a call fact: {', '.join(sorted(fields))[:MAX_TEXT_BYTES]}") from None
    # A field of a later version may hold anything. DynamoDB would refuse the item, and every other fact in it.
    if not _is_storable(message.model_dump(mode="json"), _MAX_DEPTH):
        raise MalformedFact("not a call fact: a field that DynamoDB cannot store")
    return message


def write_message(message: QueueMessage) -> str:
    """Return the body of a queue message: JSON without the absent fields.

    It is ASCII, since SQS refuses characters that XML does not allow.
    """
    return message.model_dump_json(exclude_none=True, ensure_ascii=True)


def _is_storable(value: Any, levels: int) -> bool:
    """Tell whether DynamoDB stores a JSON value that is nested at most ``levels`` deep."""
    match value:
        case dict() | list():
            inner = value.values() if isinstance(value, dict) else value
            return levels > 0 and all(_is_storable(each, levels - 1) for each in inner)
        case bool() | str() | None:
            return True
        case int():
            return abs(value) < _MAX_INTEGER
        case _:
            return bool(value == 0 or _NUMBER_RANGE[0] <= abs(value) <= _NUMBER_RANGE[1])
