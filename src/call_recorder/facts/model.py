"""The base of all stored and queued models, and the types of their fields.

Every text has a maximum, counted in bytes of JSON, so that messages, items and events keep within their limits.

The modules of models in ``facts`` have no ``from __future__ import annotations``: it would turn every annotation
into a text, and pydantic would evaluate each text at every cold start.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, Self, TypeVar, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

MAX_ID_BYTES = 128
"""Maximum size of the call or conference id of a recording, in bytes of JSON. Sinch's own ids take 36 to 64."""

MAX_WORD_BYTES = 64
MAX_NAME_BYTES = 256
MAX_TEXT_BYTES = 1024
"""Maximum size of a text, in bytes of JSON. Sinch has the same limit for ``custom``."""

MAX_URL_BYTES = 1300
"""Maximum size of a URL, in bytes of JSON: an object key takes 1024, a bucket of Google Cloud Storage 222."""

_MAX_CHARACTER_BYTES = 6  # a control character, in JSON


class _RefuseUnknownFields(ModelMetaclass):
    """Refuses fields that a model does not declare when code makes the model."""

    def __call__(self, *args: Any, **fields: Any) -> Any:
        made = super().__call__(*args, **fields)
        if made.model_extra:
            raise TypeError(f"{self.__name__} has no field {', '.join(sorted(made.model_extra))}")
        return made


class Model(BaseModel, metaclass=_RefuseUnknownFields):
    """A frozen model with camel-case names in JSON. It reads tolerantly and writes strictly.

    A message or an item may have fields of a later version. They are kept and written again, so that a rollback
    loses nothing. A model that code makes has declared fields only.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    @classmethod
    def build(cls) -> None:
        """Build the validators of all models below this one.

        Pydantic builds a validator when it is first used, which keeps a cold start short. It does not lock while it
        builds, so a function with threads calls this before it starts them.
        """
        for model in cls.__subclasses__():
            model.model_rebuild()
            model.build()

    @classmethod
    def clipped(cls, **fields: Any) -> Self:
        """Make a model from texts of any length. Each text is cut to the maximum of its field."""
        limits = max_bytes(cls)
        return cls(**{name: clip(value, limits[name]) if name in limits else value for name, value in fields.items()})


@cache
def max_bytes(model: type[Model]) -> Mapping[str, int]:
    """Return the maximum of each text field of a model, in bytes of JSON."""
    return {
        name: each.max_bytes
        for name, field in model.model_fields.items()
        for part in (field, *get_args(field.annotation))
        for each in getattr(part, "metadata", getattr(part, "__metadata__", ()))
        if isinstance(each, MaxBytes)
    }


def _check_year(at: datetime) -> datetime:
    if not 2000 <= at.year < 3000:
        raise ValueError("write a time between the years 2000 and 2999")
    return at


class MaxBytes(NamedTuple):
    """The maximum of a text field, in bytes of JSON. A longer text is refused when it is read."""

    max_bytes: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the check to the field."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, text: str) -> str:
        if not fits(text, self.max_bytes):
            raise ValueError("too long")
        return text


Time = Annotated[AwareDatetime, AfterValidator(_check_year)]
"""A time far enough from both ends of the calendar to add and subtract durations."""

Word = Annotated[str, MaxBytes(MAX_WORD_BYTES)]
Name = Annotated[str, MaxBytes(MAX_NAME_BYTES)]
Text = Annotated[str, MaxBytes(MAX_TEXT_BYTES)]
Url = Annotated[str, MaxBytes(MAX_URL_BYTES)]
Identifier = Annotated[str, Field(min_length=1), MaxBytes(MAX_ID_BYTES)]
"""An id. It becomes a key of a map, and DynamoDB refuses an empty key."""

Key = Annotated[str, Field(min_length=1), MaxBytes(MAX_URL_BYTES)]
"""The key of an item. DynamoDB takes 2,048 bytes."""


class Timed(Protocol):
    """A value with a time."""

    @property
    def at(self) -> datetime:
        """Return the time."""

    def model_dump_json(self) -> str:
        """Return the whole value as JSON."""


_TimedT = TypeVar("_TimedT", bound=Timed)


def sort_key(value: Timed) -> tuple[datetime, str]:
    """Return a key that orders values by time, and values of the same time by their content.

    A choice by this key does not depend on the order in which the values arrive.
    """
    return value.at, value.model_dump_json()


def choose_earlier(one: _TimedT, other: _TimedT) -> _TimedT:
    """Return the earlier of two values."""
    return min(one, other, key=sort_key)


def choose_later(one: _TimedT, other: _TimedT) -> _TimedT:
    """Return the later of two values."""
    return max(one, other, key=sort_key)


def clip(text: str | None, max_bytes: int) -> str | None:
    """Cut a text to ``max_bytes`` of JSON. In JSON a quotation mark takes two bytes and a control character six."""
    if text is None or fits(text, max_bytes):
        return text
    return text[: sum(size <= max_bytes for size in accumulate(map(_json_bytes, text)))]


def may_be_clipped(text: str, max_bytes: int) -> bool:
    """Tell whether ``clip`` may have cut a text: a cut text ends less than one character below the limit."""
    return not fits(text, max_bytes - _MAX_CHARACTER_BYTES)


def fits(text: str, max_bytes: int) -> bool:
    """Tell whether a text takes at most ``max_bytes`` of JSON."""
    # A printable ASCII character takes two bytes at most, so most texts need no encoding.
    return (2 * len(text) <= max_bytes and text.isascii() and text.isprintable()) or _json_bytes(text) <= max_bytes


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - len('""')
