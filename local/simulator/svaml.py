"""Reads SVAML answers as strictly as the platform: each callback has a list of allowed instructions and actions.

It is written from Sinch's documents (https://developers.sinch.com/docs/voice/api-reference/svaml) and shares no code
with the recorder, so that neither can hide a mistake of the other. It is stricter than the documents in one point: a
field that they do not name is illegal, unless ``read`` is lenient.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.config import ExtraValues

MASK = "****"

ALLOWED_ACTIONS: Mapping[str, frozenset[str]] = {
    "ice": frozenset(
        {"hangup", "connectPstn", "connectMxp", "connectConf", "connectSip", "connectStream", "runMenu", "park"}
    ),
    "ace": frozenset({"hangup", "continue", "connectConf", "runMenu"}),
    "pie": frozenset({"hangup", "continue", "connectPstn", "connectConf", "connectSip", "runMenu"}),
}
"""The actions that Sinch allows in the answer to each callback."""

_ANYWHERE = frozenset({"say", "playFiles", "setCookie", "startRecording", "stopRecording"})

ALLOWED_INSTRUCTIONS: Mapping[str, frozenset[str]] = {
    "ice": _ANYWHERE | {"answer", "sendDtmf"},
    "ace": _ANYWHERE,
    "pie": _ANYWHERE | {"sendDtmf"},
}
"""The instructions that Sinch allows in the answer to each callback."""


class IllegalSvaml(Exception):
    """The platform refuses the answer; the text says why and quotes no value."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class TranscriptionOptions(_Part):
    """Whether, and in which locale, the recording is transcribed."""

    enabled: bool
    locale: str | None = None


class RecordingOptions(_Part):
    """Where and how a recording is stored. The documents of this API name mp3 only; wav is a format of API v2."""

    destination_url: str = Field(alias="destinationUrl", pattern=r"^(s3|gs|azure)://[^/]+")
    credentials: SecretStr = Field(min_length=1)
    format: Literal["mp3", "wav"] = "mp3"
    notification_events: bool = Field(True, alias="notificationEvents")
    transcription_options: TranscriptionOptions | None = Field(None, alias="transcriptionOptions")


class _Named(_Part):
    name: str


_T = TypeVar("_T", bound=_Named)


class Recordable(_Named):
    """An action that can switch recording on."""

    record: bool = False
    recording_options: RecordingOptions | None = Field(None, alias="recordingOptions")


class _Header(_Part):
    key: str
    value: str


def _check_headers(headers: tuple[_Header, ...]) -> tuple[_Header, ...]:
    if sum(len((header.key + header.value).encode()) for header in headers) > 1024:
        raise ValueError("call headers take 1024 bytes at most")
    return headers


class _UserDestination(_Part):
    type: Literal["username"]
    endpoint: str = Field(min_length=1)


class _SipDestination(_Part):
    type: Literal["sip"]
    endpoint: str = Field(min_length=1)


class _StreamDestination(_Part):
    type: Literal["Websocket"]
    endpoint: str = Field(pattern=r"^wss?://")


class _StreamingOptions(_Part):
    version: int
    sample_rate: int = Field(alias="sampleRate")


class _Amd(_Part):
    enabled: bool
    async_: bool | None = Field(None, alias="async")


class _ConferenceDtmfOptions(_Part):
    mode: Literal["ignore", "forward", "detect"]
    max_digits: int | None = Field(None, alias="maxDigits")
    timeout_mills: int | None = Field(None, alias="timeoutMills")


MaxDuration = Annotated[int | None, Field(alias="maxDuration", ge=1, le=14400)]
Moh = Literal["ring", "music1", "music2", "music3"]
# The documents and the Node SDK spell it callHeaders, the Java and .NET SDKs callheaders.
Headers = Annotated[
    tuple[_Header, ...], Field(validation_alias=AliasChoices("callHeaders", "callheaders"), strict=False)
]


class ConnectMxp(Recordable):
    """Connect to an app's user."""

    destination: _UserDestination
    call_headers: Headers = ()

    _headers = field_validator("call_headers")(_check_headers)


class ConnectPstn(Recordable):
    """Connect to a phone number. Durations in seconds."""

    number: str = Field(min_length=1)
    locale: str | None = None
    max_duration: MaxDuration = None
    dial_timeout: int | None = Field(None, alias="dialTimeout")
    cli: str | None = None
    suppress_callbacks: bool = Field(False, alias="suppressCallbacks")
    dtmf: str | None = Field(None, pattern=r"^[0-9#w]*$")
    indications: str | None = None
    amd: _Amd | None = None


class ConnectConf(Recordable):
    """Connect to a conference. Its ``record`` records the conference, not the call."""

    conference_id: str = Field(alias="conferenceId", min_length=1, max_length=64)
    conference_dtmf_options: _ConferenceDtmfOptions | None = Field(None, alias="conferenceDtmfOptions")
    moh: Moh | None = None


class ConnectSip(Recordable):
    """Connect to a SIP address."""

    destination: _SipDestination
    max_duration: MaxDuration = None
    cli: str | None = None
    transport: Literal["UDP", "TCP", "TLS"] | None = None
    suppress_callbacks: bool = Field(False, alias="suppressCallbacks")
    call_headers: Headers = ()
    moh: Moh | None = None

    _headers = field_validator("call_headers")(_check_headers)


class ConnectStream(_Named):
    """Connect to a WebSocket (closed beta)."""

    destination: _StreamDestination
    streaming_options: _StreamingOptions | None = Field(None, alias="streamingOptions")
    max_duration: MaxDuration = None
    call_headers: Headers = ()


class Continue(Recordable):
    """Continue the call as it is."""


class Hangup(_Named):
    """End the call."""


class Park(_Named):
    """Keep the caller waiting."""

    locale: str | None = None
    intro_prompt: str | None = Field(None, alias="introPrompt")
    hold_prompt: str | None = Field(None, alias="holdPrompt")
    max_duration: int | None = Field(None, alias="maxDuration", ge=1, le=600)


class MenuOption(_Part):
    """The action of a key: ``return(value)`` ends the menu, ``menu(id)`` plays another menu."""

    dtmf: str
    action: str = Field(pattern=r"^(return(\([^()]*\))?|menu\([^()]+\))$")


class Menu(_Part):
    """One menu. Times in milliseconds."""

    id: str
    main_prompt: str | None = Field(None, alias="mainPrompt")
    repeat_prompt: str | None = Field(None, alias="repeatPrompt")
    repeats: int | None = None
    max_digits: int | None = Field(None, alias="maxDigits")
    timeout_mills: int | None = Field(None, alias="timeoutMills")
    max_timeout_mills: int | None = Field(None, alias="maxTimeoutMills")
    options: Annotated[tuple[MenuOption, ...], Field(strict=False)] = ()


class RunMenu(_Named):
    """Play menus to the caller; a PIE reports the input."""

    barge: bool | None = None
    locale: str | None = None
    main_menu: str = Field("main", alias="mainMenu")
    enable_voice: bool | None = Field(None, alias="enableVoice")
    menus: Annotated[tuple[Menu, ...], Field(strict=False)]

    @field_validator("menus")
    @classmethod
    def _check_menus(cls, menus: tuple[Menu, ...]) -> tuple[Menu, ...]:
        ids = [menu.id for menu in menus]
        if "main" not in ids or len(set(ids)) < len(ids):
            raise ValueError("menu ids must differ, and one of them must be main")
        targets = {
            target[1]
            for menu in menus
            for option in menu.options
            if (target := re.fullmatch(r"menu\((.+)\)", option.action))
        }
        if not targets <= set(ids):
            raise ValueError("an option names a menu that does not exist")
        return menus


class StartRecording(_Named):
    """Record this leg of the call from now on."""

    options: RecordingOptions


class _Say(_Named):
    text: str = Field(max_length=600)
    locale: str | None = None


class _PlayFiles(_Named):
    ids: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    locale: str | None = None


class _SetCookie(_Named):
    key: str
    value: str

    @field_validator("value")
    @classmethod
    def _check_size(cls, value: str) -> str:
        if len(value.encode()) > 1024:
            raise ValueError("cookies take 1024 bytes at most")
        return value


class _SendDtmf(_Named):
    value: str = Field(pattern=r"^[0-9#*w]+$")


class _Bare(_Named):
    pass


Action = ConnectMxp | ConnectPstn | ConnectConf | ConnectSip | ConnectStream | Continue | Hangup | Park | RunMenu
Instruction = StartRecording | _Say | _PlayFiles | _SetCookie | _SendDtmf | _Bare

_ACTIONS: Mapping[str, type[Action]] = {
    "connectMxp": ConnectMxp,
    "connectPstn": ConnectPstn,
    "connectConf": ConnectConf,
    "connectSip": ConnectSip,
    "connectStream": ConnectStream,
    "continue": Continue,
    "hangup": Hangup,
    "park": Park,
    "runMenu": RunMenu,
}
_INSTRUCTIONS: Mapping[str, type[Instruction]] = {
    "say": _Say,
    "playFiles": _PlayFiles,
    "setCookie": _SetCookie,
    "sendDtmf": _SendDtmf,
    "startRecording": StartRecording,
    "stopRecording": _Bare,
    "answer": _Bare,
}


@dataclass(frozen=True)
class Svaml:
    """A legal answer. ``masked`` is its JSON with masked storage credentials."""

    instructions: tuple[Instruction, ...]
    action: Action
    masked: dict[str, Any]


def read(event: str, body: bytes, *, lenient: bool = False) -> Svaml:
    """Read the answer to an ``ice``, ``ace`` or ``pie``.

    Args:
        event: the callback's event.
        body: the answer.
        lenient: whether fields that the documents do not name are ignored.

    Raises:
        IllegalSvaml: the answer is not a JSON object, or Sinch does not allow it for that callback.
    """
    try:
        document = json.loads(body, object_pairs_hook=_parse_object)
    except ValueError:
        raise IllegalSvaml("the answer is not JSON") from None
    if not isinstance(document, dict) or not (lenient or document.keys() <= {"instructions", "action"}):
        raise IllegalSvaml("the answer is not an object of instructions and one action")
    instructions = document.get("instructions", [])
    if not isinstance(instructions, list):
        raise IllegalSvaml("instructions is not a list")
    extra: ExtraValues = "ignore" if lenient else "forbid"
    return Svaml(
        instructions=tuple(
            _parse_part(each, _INSTRUCTIONS, ALLOWED_INSTRUCTIONS[event], event, extra) for each in instructions
        ),
        action=_parse_part(document.get("action"), _ACTIONS, ALLOWED_ACTIONS[event], event, extra),
        masked=_mask(document),
    )


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise IllegalSvaml("a field is repeated")
    return document


def _parse_part(
    part: Any, models: Mapping[str, type[_T]], allowed: frozenset[str], event: str, extra: ExtraValues
) -> _T:
    name = part.get("name") if isinstance(part, dict) else None
    # The documents use connectMXP, connectMxp and ConnectPstn interchangeably.
    known = {known.lower(): known for known in models}.get(name.lower()) if isinstance(name, str) else None
    if known is None:
        raise IllegalSvaml("an action or instruction has no known name")
    if known not in allowed:
        raise IllegalSvaml(f"{known} is not allowed as an answer to {event.upper()}")
    try:
        return models[known].model_validate(part, extra=extra)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, (known, *first["loc"])))
        raise IllegalSvaml(f"{place}: {first['msg']}") from None


def _mask(value: Any) -> Any:
    if isinstance(value, list):
        return [_mask(each) for each in value]
    if isinstance(value, dict):
        return {name: MASK if name == "credentials" else _mask(each) for name, each in value.items()}
    return value
