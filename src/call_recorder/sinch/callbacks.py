"""Callbacks that Sinch sends: wire models, tolerant of what the vendor leaves out, adds or spells otherwise.

Every field but ``event`` may be missing; one of an unexpected type counts as missing. Field names are the
vendor's (https://developers.sinch.com/docs/voice/api-reference/voice/tag/Callbacks); the call id is ``callid``
on the wire and ``callId`` in older documents, so both are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeGuard

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from call_recorder.sinch.timestamps import parse_timestamp

# Longest values that are kept, in characters; the vendor documents 1024 bytes for custom and for each header.
_SHORT = 256
MAX_TEXT = 2048

MAX_CONFERENCE_ID: Final = 64
"""Longest conference id that Sinch takes, in characters."""

# A lone surrogate, or half of a pair: as an escape of JSON, and as the bytes that it would have in UTF-8.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_MAX_DEPTH: Final = 201  # how deep pydantic_core reads lists and objects


class MalformedCallback(Exception):
    """The body is not a JSON object with an ``event``."""


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value from JSON is a string that can be written again: JSON can spell a lone surrogate."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = str(value)
        text.encode()
    except ValueError:  # a lone surrogate, or an integer too long to print
        return None
    return text[:MAX_TEXT] or None


def _word(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else text[:_SHORT].strip().lower() or None


def _seconds(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 10**9 else None


def _mapping(value: Any) -> Any:
    return value if isinstance(value, Mapping) else None


def _headers(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [header for header in value[:64] if isinstance(header, Mapping)]


def _timestamp(value: Any) -> datetime | None:
    try:
        return parse_timestamp(value) if isinstance(value, str) else None
    except ValueError:
        return None


Text = Annotated[str | None, BeforeValidator(_text)]
"""A string of at most 2048 characters; numbers are read as strings."""

Word = Annotated[str | None, BeforeValidator(_word)]
"""A vendor's keyword in lower case, since the vendor's own case varies."""

Seconds = Annotated[int | None, BeforeValidator(_seconds)]
Timestamp = Annotated[datetime | None, BeforeValidator(_timestamp)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class To(_Wire):
    """Where a call goes. ``type`` is ``number``, ``username``, ``sip``, ``did`` or ``conference``."""

    type: Word = None
    endpoint: Text = None


class CallHeader(_Wire):
    """A key and value that the calling Sinch SDK client set."""

    key: Text = None
    value: Text = None


class Money(_Wire):
    """An amount in a currency; the amount is kept as the text it came as."""

    currency_id: Text = Field(None, alias="currencyId")
    amount: Text = None


class MenuResult(_Wire):
    """What a menu ended with. ``type``: return, sequence, timeout, hangup, invalidinput or error."""

    menu_id: Text = Field(None, alias="menuId")
    type: Word = None
    value: Text = None
    input_method: Word = Field(None, alias="inputMethod")


class _Callback(_Wire):
    event: Word = None
    call_id: Text = Field(default=None, validation_alias=AliasChoices("callid", "callId"))
    conference_id: Text = Field(None, alias="conferenceId")
    application_key: Text = Field(None, alias="applicationKey")
    timestamp: Timestamp = None
    custom: Text = None


class IceCallback(_Callback):
    """Incoming Call Event: a call reached Sinch and waits to be told where to go."""

    cli: Text = None
    user: Text = None
    to: Annotated[To | None, BeforeValidator(_mapping)] = None
    domain: Word = None
    origination_type: Word = Field(None, alias="originationType")
    call_headers: Annotated[tuple[CallHeader, ...], BeforeValidator(_headers)] = Field((), alias="callHeaders")

    @property
    def caller(self) -> str | None:
        """The caller's number, or in an in-app call the caller's username."""
        return self.cli or self.user


class AceCallback(_Callback):
    """Answered Call Event: the callee picked up. Not sent for ``username`` destinations."""


class PieCallback(_Callback):
    """Prompt Input Event: a menu ended. Not sent for in-app calls."""

    menu_result: Annotated[MenuResult | None, BeforeValidator(_mapping)] = Field(None, alias="menuResult")


class DiceCallback(_Callback):
    """Disconnected Call Event: the call is over. ``duration`` is in seconds and absent if not answered."""

    reason: Text = None
    result: Text = None
    duration: Seconds = None
    debit: Annotated[Money | None, BeforeValidator(_mapping)] = None


class NotifyCallback(_Callback):
    """A notification; ``type`` says of what and is open-ended. Carries no timestamp of its own.

    ``user`` is the app user concerned, ``error_code`` and ``error_message`` are what went wrong, of a ``callingerror``.
    """

    type: Text = None
    destination: Text = None
    user: Text = None
    error_code: Text = Field(None, alias="errorCode")
    error_message: Text = Field(None, alias="errorMsg")


class UnknownCallback(_Callback):
    """An event that this version does not know; ``event`` is its name, in lower case."""


Callback = IceCallback | AceCallback | PieCallback | DiceCallback | NotifyCallback | UnknownCallback

_KINDS: Final[Mapping[str, type[Callback]]] = {
    "ice": IceCallback,
    "ace": AceCallback,
    "pie": PieCallback,
    "dice": DiceCallback,
    "notify": NotifyCallback,
}
EVENTS: Final = frozenset(_KINDS)
"""The names of the events that are known here."""


def parse(body: bytes) -> Callback:
    """Read a callback's raw body.

    A field with a lone surrogate in its name or value counts as missing. That is what cutting a text at 1,024 UTF-16
    units makes of an emoji, and no text that can be written again.

    Raises:
        MalformedCallback: it is not a JSON object, or has no ``event``.
    """
    # The event is looked at before the model is chosen, and not by a union of them all: an ICE has no need of the
    # others, and to build them takes a tenth of a cold start.
    try:
        said = _read(body)
    except (ValueError, RecursionError):
        said = None
    event = _word(said.get("event")) if isinstance(said, dict) else None
    if event is None:
        raise MalformedCallback("the body is not a JSON object with an event")
    return _KINDS.get(event, UnknownCallback).model_validate(said)


def _read(body: bytes) -> Any:
    """Read JSON; leave out what holds a lone surrogate, which pydantic_core refuses together with all the rest."""
    try:
        return from_json(body)
    except ValueError:
        if not _SURROGATE.search(body):
            raise
    return _readable(json.loads(body.decode("utf-8", "surrogatepass")))


def _readable(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON without the texts, and the fields of such names, that hold a lone surrogate."""
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        raise ValueError("nested too deep")
    match value:
        case dict():
            return {
                name: _readable(inner, depth + 1)
                for name, inner in value.items()
                if is_text(name) and not _is_broken(inner)
            }
        case list():
            return [_readable(inner, depth + 1) for inner in value if not _is_broken(inner)]
        case _:
            return value


def _is_broken(value: Any) -> bool:
    return isinstance(value, str) and not is_text(value)
