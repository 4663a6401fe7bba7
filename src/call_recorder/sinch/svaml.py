"""SVAML: the answers to ICE, ACE and PIE, in the exact spelling that Sinch documents.

An answer has any number of instructions and exactly one action
(https://developers.sinch.com/docs/voice/api-reference/svaml). The same models check the actions in a profile's routes,
so they are strict: they refuse unknown fields, and values outside the documented range. The destinations of an ICE are
Sinch's own, so ``connect_to`` does not check them.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, SerializationInfo, field_serializer, field_validator

from call_recorder.sinch.callbacks import MAX_CONFERENCE_ID, is_text
from call_recorder.sinch.locales import list_transcription_locales, normalize_transcription_locale
from call_recorder.sinch.strict import FullMatch, OneOf, Strict

MASK: Final = "**********"
"""The text that replaces credentials in an answer for a person to read."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
# Sinch's documents show a cli with and without +, and "private", which hides the number.
Cli = Annotated[str, FullMatch(r"private|\+?[1-9][0-9]{6,14}", "write a phone number such as +12025550100, or private")]
PhoneNumber = Annotated[
    str, FullMatch(r"\+[1-9][0-9]{6,14}", "write the whole number, with + and country code, such as +12025550100")
]
Dtmf = Annotated[str, FullMatch(r"[0-9#w]+", "write digits, # and w only; w is a pause of half a second")]
Language = Annotated[str, FullMatch(r"[A-Za-z]{2,3}(-[A-Za-z]{2})?", "write a language and a country, such as en-US")]
SipAddress = Annotated[str, Field(max_length=256), FullMatch(r"[!-~]+", "write an address such as desk@pbx.example")]
ConferenceId = Annotated[
    str,
    Field(max_length=MAX_CONFERENCE_ID),
    FullMatch(r"[^\x00-\x1f\x7f]+", "write a name of 1 to 64 characters on one line"),
]
HeaderText = Annotated[str, FullMatch(r"[^\x00-\x1f\x7f]*", "write it on one line, without control characters")]
# Sinch's Java and Node SDKs list these. Java's list has "false" for Norway's "no", which YAML reads as a boolean.
# fmt: off
Indications = Literal[
    "at", "au", "be", "bg", "br", "ch", "cl", "cn", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hu", "il", "in",
    "it", "jp", "lt", "mx", "my", "nl", "no", "nz", "ph", "pl", "pt", "ru", "se", "sg", "th", "tw", "uk", "us", "ve",
    "za",
]
# fmt: on
MaxDuration = Annotated[int, Field(ge=1, le=14400, description="Longest call, in seconds")]
Moh = Literal["ring", "music1", "music2", "music3"]


class TranscriptionOptions(Strict):
    """Whether Sinch transcribes the recording, and in which locale, such as ``en-US``."""

    enabled: bool
    locale: Annotated[str, OneOf(normalize_transcription_locale, list_transcription_locales)] | None = None


class RecordingOptions(Strict):
    """How a call is recorded, and where to. The ``credentials`` are masked, except in an answer to Sinch."""

    destination_url: str
    credentials: SecretStr
    format: str = "mp3"
    notification_events: bool = True
    transcription_options: TranscriptionOptions | None = None

    @field_serializer("credentials")
    def _credentials(self, credentials: SecretStr, info: SerializationInfo) -> str:
        return credentials.get_secret_value() if info.context is _FOR_SINCH else MASK


class CallHeader(Strict):
    """A key and a value that the called side gets."""

    key: Annotated[HeaderText, Field(min_length=1, max_length=256)]
    value: Annotated[HeaderText, Field(max_length=1024)]


def _within_1024_bytes(headers: tuple[CallHeader, ...]) -> tuple[CallHeader, ...]:
    if sum(len((header.key + header.value).encode()) for header in headers) > 1024:
        raise ValueError("write 1024 bytes at most, all keys and values together")
    return headers


CallHeaders = Annotated[tuple[CallHeader, ...], AfterValidator(_within_1024_bytes)]


class UsernameDestination(Strict):
    """An app user, by its registered name."""

    type: Literal["username"] = "username"
    endpoint: Name


class SipDestination(Strict):
    """A SIP address."""

    type: Literal["sip"] = "sip"
    endpoint: SipAddress


class Amd(Strict):
    """Answering machine detection."""

    enabled: bool
    async_: bool | None = Field(None, alias="async")


class ConferenceDtmfOptions(Strict):
    """How a conference handles key presses. ``timeout_mills`` is in milliseconds."""

    mode: Literal["ignore", "forward", "detect"]
    max_digits: int | None = None
    timeout_mills: int | None = None


class _Recordable(Strict):
    record: Literal[True] | None = None
    recording_options: RecordingOptions | None = None

    def with_recording(self, options: RecordingOptions) -> Self:
        """Return the same action with recording turned on."""
        return self.model_copy(update={"record": True, "recording_options": options})


class ConnectMxp(_Recordable):
    """Connect to an app user."""

    name: Literal["connectMxp"] = "connectMxp"
    destination: UsernameDestination
    call_headers: CallHeaders | None = None


class ConnectPstn(_Recordable):
    """Connect to a phone number in E.164 form, with ``+``. Durations are in seconds."""

    name: Literal["connectPstn"] = "connectPstn"
    number: PhoneNumber
    locale: Language | None = None
    max_duration: MaxDuration | None = None
    dial_timeout: Annotated[int, Field(ge=1, le=14400)] | None = None
    cli: Cli | None = None
    suppress_callbacks: bool | None = None
    dtmf: Dtmf | None = None
    indications: Indications | None = None
    amd: Amd | None = None


class ConnectConf(_Recordable):
    """Connect to a conference. Sinch then records the conference, not the leg of the caller."""

    name: Literal["connectConf"] = "connectConf"
    conference_id: ConferenceId
    conference_dtmf_options: ConferenceDtmfOptions | None = None
    moh: Moh | None = None


class ConnectSip(_Recordable):
    """Connect to a SIP address. ``max_duration`` is in seconds. The call headers become SIP headers."""

    name: Literal["connectSip"] = "connectSip"
    destination: SipDestination
    max_duration: MaxDuration | None = None
    cli: Cli | None = None
    transport: Literal["UDP", "TCP", "TLS"] | None = None
    suppress_callbacks: bool | None = None
    call_headers: CallHeaders | None = None
    moh: Moh | None = None

    @field_validator("call_headers")
    @classmethod
    def _check_private(cls, headers: tuple[CallHeader, ...] | None) -> tuple[CallHeader, ...] | None:
        for header in headers or ():
            if not _PRIVATE_HEADER.fullmatch(header.key):
                raise ValueError("write keys such as X-My-Header: private headers of SIP begin with X-")
        return headers


class MenuOption(Strict):
    """A key and its action: ``return(value)`` ends the menu with a value for the PIE, ``menu(id)`` plays another."""

    dtmf: Annotated[str, Field(pattern=r"^[0-9*#]$")]
    action: str


class Menu(Strict):
    """One menu. A prompt is ``#tts[text]`` or the URL of a file. ``timeout_mills`` is in milliseconds."""

    id: str
    main_prompt: str
    repeat_prompt: str | None = None
    repeats: int | None = None
    max_digits: int | None = None
    timeout_mills: int | None = None
    options: tuple[MenuOption, ...] = ()


class RunMenu(Strict):
    """Play a menu. Its result comes as a PIE. One of the menus must have the id ``main``."""

    name: Literal["runMenu"] = "runMenu"
    barge: bool | None = None
    locale: str | None = None
    main_menu: str
    enable_voice: bool = False
    menus: tuple[Menu, ...]


class Hangup(Strict):
    """End the call."""

    name: Literal["hangup"] = "hangup"


class Continue(Strict):
    """Continue the call unchanged."""

    name: Literal["continue"] = "continue"


Connect = ConnectMxp | ConnectPstn | ConnectConf | ConnectSip


def connect_to(to_type: str | None, endpoint: str) -> Connect | None:
    """Return the action that connects a call to the destination in its ICE, or ``None`` if that is impossible.

    Only the length is checked, and not the form: the destination comes from Sinch, so Sinch can connect to it.
    """
    # Only the type decides: the domain of conference calls from SDK clients may be pstn.
    match to_type:
        case "username" if len(endpoint) <= 256:
            return ConnectMxp(destination=UsernameDestination(endpoint=endpoint))
        case "number" if len(endpoint) <= 64:
            return _PSTN.model_copy(update={"number": endpoint})
        case "sip" if len(endpoint) <= 256:
            return ConnectSip.model_construct(destination=SipDestination.model_construct(endpoint=endpoint))
        case "conference" if len(endpoint) <= MAX_CONFERENCE_ID:
            return ConnectConf.model_construct(conference_id=endpoint)
        case _:
            return None


# model_construct sets twelve defaults one by one, and a caller waits.
_PSTN: Final = ConnectPstn.model_construct(number="")

Action = Connect | RunMenu | Hangup | Continue


class Say(Strict):
    """Speak a text, of at most 600 characters."""

    name: Literal["say"] = "say"
    text: str
    locale: str | None = None


class PlayFiles(Strict):
    """Play files, by their URLs."""

    name: Literal["playFiles"] = "playFiles"
    ids: tuple[str, ...]
    locale: str | None = None


class Answer(Strict):
    """Answer the call, as ``runMenu`` requires. It is allowed in the answer to an ICE only."""

    name: Literal["answer"] = "answer"


class StartRecording(Strict):
    """Record this leg from now on. Sinch ignores it if the action is ``connectMxp``."""

    name: Literal["startRecording"] = "startRecording"
    options: RecordingOptions


Instruction = Say | PlayFiles | Answer | StartRecording


class Svaml(Strict):
    """One answer: instructions in the order in which Sinch carries them out, then exactly one action."""

    instructions: tuple[Annotated[Instruction, Field(discriminator="name")], ...] = ()
    action: Annotated[Action, Field(discriminator="name")]

    @property
    def conference_id(self) -> str | None:
        """The conference to which the call is connected, if there is one."""
        return self.action.conference_id if isinstance(self.action, ConnectConf) else None

    def with_additions(self, instructions: tuple[Instruction, ...], options: RecordingOptions | None) -> Self:
        """Return the answer with more instructions before its action and, with options, with its action recorded."""
        action = self.action
        if options is not None and isinstance(action, _Recordable):
            action = action.with_recording(options)
        return type(self)(instructions=(*self.instructions, *instructions), action=action)

    def to_json(self) -> str:
        """Return the answer for Sinch, with the storage credentials."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude=self._empty_fields, context=_FOR_SINCH)

    def to_masked(self) -> dict[str, Any]:
        """Return the answer for a person to read, with masked credentials."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=self._empty_fields)

    @property
    def _empty_fields(self) -> set[str]:
        return set() if self.instructions else {"instructions"}


@dataclass(frozen=True, slots=True)
class UpstreamSvaml:
    """An answer of the application's own backend. It is kept unchanged, except for additions.

    Raises:
        ValueError: the text is not a JSON object with an ``action`` that has a ``name``, or is nested too deep.
    """

    text: str
    instructions: tuple[Instruction, ...] = ()
    options: RecordingOptions | None = None

    def __post_init__(self) -> None:
        answer = self._parse()
        action = answer.get("action")
        if not isinstance(action, dict) or not isinstance(action.get("name"), str):
            raise ValueError("no action with a name")
        if not isinstance(answer.get("instructions", []), list):
            raise ValueError("instructions are not a list")
        if _measure_depth(answer) > _MAX_DEPTH:
            raise ValueError(_TOO_DEEP)

    @property
    def connects(self) -> bool:
        """Whether the action can be recorded. Its name is compared without regard to case, as Sinch does.

        Sinch records the conference, so the recording of a conference without a readable id could not be traced.
        """
        name = self._action_name
        return name in _RECORDABLE and (name != _CONFERENCE or self.conference_id is not None)

    @property
    def conference_id(self) -> str | None:
        """The conference to which the call is connected, if there is one."""
        conference_id = self._parse()["action"].get("conferenceId")
        is_named = is_text(conference_id) and conference_id
        return conference_id if is_named and self._action_name == _CONFERENCE else None

    def with_additions(self, instructions: tuple[Instruction, ...], options: RecordingOptions | None) -> Self:
        """Return the answer with more instructions before its action and, with options, with its action recorded."""
        return replace(self, instructions=(*self.instructions, *instructions), options=options or self.options)

    def to_json(self) -> str:
        """Return the answer for Sinch. Without additions, it is the unchanged text."""
        if not self.instructions and self.options is None:
            return self.text
        return json.dumps(self._merge_additions(_FOR_SINCH), allow_nan=False, separators=(",", ":"))

    def to_masked(self) -> dict[str, Any]:
        """Return the answer for a person to read, with our credentials masked."""
        return self._merge_additions(None)

    def _merge_additions(self, context: dict[str, str] | None) -> dict[str, Any]:
        answer = self._parse()
        if self.instructions:
            added = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in self.instructions]
            answer["instructions"] = [*answer.get("instructions", []), *added]
        if self.options is not None:
            options = self.options.model_dump(mode="json", by_alias=True, exclude_none=True, context=context)
            answer["action"] |= {"record": True, "recordingOptions": options}
        return answer

    @property
    def _action_name(self) -> str:
        return str(self._parse()["action"]["name"]).lower()

    def _parse(self) -> dict[str, Any]:
        try:
            answer = json.loads(self.text, parse_float=_parse_float, parse_constant=_parse_float)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        if not isinstance(answer, dict):
            raise ValueError("not a JSON object")
        return answer


def _parse_float(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number that JSON cannot express")
    return value


def _measure_depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [each for inner in level for each in (inner.values() if isinstance(inner, dict) else inner)]
    return depth


_PRIVATE_HEADER: Final = re.compile(r"[Xx]-[A-Za-z0-9.!%*_+`'~-]+")
_CONFERENCE: Final = "connectconf"
_RECORDABLE: Final = frozenset({"connectmxp", "connectpstn", _CONFERENCE, "connectsip"})
_MAX_DEPTH: Final = 64  # of lists and objects in a backend's answer
_TOO_DEEP: Final = "nested too deep"

_FOR_SINCH: Final = {"credentials": "revealed"}
