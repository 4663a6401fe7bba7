"""Sinch's callbacks, as tolerant models: missing, additional and misspelled fields are accepted.

Every field except ``event`` may be missing. A field of an unexpected type counts as missing. The fields have Sinch's
names (https://developers.sinch.com/docs/voice/api-reference/voice/tag/Callbacks). Sinch sends the call id as ``callid``
and calls it ``callId`` in older documents, so both are read.

Like the modules of strict models (``strict.py``), this one has no ``from __future__ import annotations``.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeGuard

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from call_recorder.sinch.timestamps import parse_timestamp

_MAX_WORD = 256  # characters
MAX_TEXT = 2048
"""Maximum length of a text, in characters; longer ones are cut. Sinch documents 1,024 bytes for custom and for each
header."""

MAX_CONFERENCE_ID: Final = 64
"""Maximum length of a conference id that Sinch accepts, in characters."""

# A surrogate: as an escape in JSON, and as the bytes that it would have in UTF-8.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_MAX_DEPTH: Final = 201  # the depth of lists and objects that pydantic_core reads


class MalformedCallback(Exception):
    """The body is not a JSON object with an ``event``."""


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value of JSON is a text that UTF-8 can encode: without a lone surrogate."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _read_text(value: Any) -> str | None:
    if type(value) is str and value.isascii():
        return value[:MAX_TEXT] or None  # Most texts are ASCII, and a caller waits.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = str(value)
        text.encode()
    except ValueError:  # a lone surrogate, or an integer that is too long to convert
        return None
    return text[:MAX_TEXT] or None


def _read_word(value: Any) -> str | None:
    text = _read_text(value)
    return None if text is None else text[:_MAX_WORD].strip().lower() or None


def _read_seconds(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 10**9 else None


def _read_mapping(value: Any) -> Any:
    return value if isinstance(value, Mapping) else None


def _read_headers(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return [header for header in value[:64] if isinstance(header, Mapping)]


def _read_timestamp(value: Any) -> datetime | None:
    try:
        return parse_timestamp(value) if isinstance(value, str) else None
    except ValueError:
        return None


WireText = Annotated[str | None, BeforeValidator(_read_text)]
"""A text of at most 2,048 characters. Numbers are read as texts."""

WireWord = Annotated[str | None, BeforeValidator(_read_word)]
"""One of Sinch's keywords, in lower case, since Sinch's case varies."""

Seconds = Annotated[int | None, BeforeValidator(_read_seconds)]
"""A duration, in seconds."""

Timestamp = Annotated[datetime | None, BeforeValidator(_read_timestamp)]
"""A timestamp, in UTC, to the second."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)


class To(_Wire):
    """The destination of a call. ``type`` is ``number``, ``username``, ``sip``, ``did`` or ``conference``."""

    type: WireWord = None
    endpoint: WireText = None


class CallHeader(_Wire):
    """A key and a value that the calling client of Sinch's SDK set."""

    key: WireText = None
    value: WireText = None


class Money(_Wire):
    """An amount in a currency. The amount is the text that Sinch sends."""

    currency_id: WireText = Field(None, alias="currencyId")
    amount: WireText = None


class MenuResult(_Wire):
    """The result of a menu. ``type`` is return, sequence, timeout, hangup, invalidinput or error."""

    menu_id: WireText = Field(None, alias="menuId")
    type: WireWord = None
    value: WireText = None
    input_method: WireWord = Field(None, alias="inputMethod")


class _Callback(_Wire):
    event: WireWord = None
    call_id: WireText = Field(default=None, validation_alias=AliasChoices("callid", "callId"))
    conference_id: WireText = Field(None, alias="conferenceId")
    application_key: WireText = Field(None, alias="applicationKey")
    timestamp: Timestamp = None
    custom: WireText = None


class IceCallback(_Callback):
    """Incoming Call Event: a call reached Sinch, and waits for an answer that says where it goes."""

    cli: WireText = None
    user: WireText = None
    to: Annotated[To | None, BeforeValidator(_read_mapping)] = None
    domain: WireWord = None
    origination_type: WireWord = Field(None, alias="originationType")
    call_headers: Annotated[tuple[CallHeader, ...], BeforeValidator(_read_headers)] = Field((), alias="callHeaders")

    @property
    def caller(self) -> str | None:
        """The number of the caller, or the username of the caller in an in-app call."""
        return self.cli or self.user


class AceCallback(_Callback):
    """Answered Call Event: the callee answered the call. Sinch does not send it for ``username`` destinations."""


class PieCallback(_Callback):
    """Prompt Input Event: a menu ended. Sinch does not send it for in-app calls."""

    menu_result: Annotated[MenuResult | None, BeforeValidator(_read_mapping)] = Field(None, alias="menuResult")


class DiceCallback(_Callback):
    """Disconnected Call Event: the call ended. ``duration`` is in seconds, and absent if the call was not answered."""

    reason: WireText = None
    result: WireText = None
    duration: Seconds = None
    debit: Annotated[Money | None, BeforeValidator(_read_mapping)] = None


class NotifyCallback(_Callback):
    """A notification. ``type`` is its kind, and Sinch may add kinds. It has no timestamp.

    A ``callingerror`` has ``user``, the app user, and ``error_code`` and ``error_message``, Sinch's error.
    """

    type: WireText = None
    destination: WireText = None
    user: WireText = None
    error_code: WireText = Field(None, alias="errorCode")
    error_message: WireText = Field(None, alias="errorMsg")


class UnknownCallback(_Callback):
    """A callback that this version does not know. ``event`` is its name, in lower case."""


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
    """Read the raw body of a callback.

    A field with a lone surrogate in its name or value counts as missing: UTF-8 cannot encode it. If a text is cut at
    1,024 UTF-16 units in the middle of an emoji, a lone surrogate remains.

    Raises:
        MalformedCallback: the body is not a JSON object, or has no ``event``.
    """
    # The model is chosen by the event, not by a union of all models: building the models that an ICE does not use takes
    # a tenth of a cold start.
    try:
        content = _read_json(body)
    except (ValueError, RecursionError):
        content = None
    event = _read_word(content.get("event")) if isinstance(content, dict) else None
    if event is None:
        raise MalformedCallback("the body is not a JSON object with an event")
    return _KINDS.get(event, UnknownCallback).model_validate(content)


def _read_json(body: bytes) -> Any:
    """Read JSON without texts that have a lone surrogate. pydantic_core would refuse the whole JSON."""
    try:
        return from_json(body)
    except ValueError:
        if not _SURROGATE.search(body):
            raise
    return _drop_broken_texts(json.loads(body.decode("utf-8", "surrogatepass")))


def _drop_broken_texts(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON without the texts and field names that have a lone surrogate."""
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        raise ValueError("nested too deep")
    match value:
        case dict():
            return {
                name: _drop_broken_texts(inner, depth + 1)
                for name, inner in value.items()
                if is_text(name) and not _is_broken(inner)
            }
        case list():
            return [_drop_broken_texts(inner, depth + 1) for inner in value if not _is_broken(inner)]
        case _:
            return value


def _is_broken(value: Any) -> bool:
    return isinstance(value, str) and not is_text(value)
