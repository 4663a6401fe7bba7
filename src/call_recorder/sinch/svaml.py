"""SVAML: the answers to ICE, ACE and PIE, in exactly the spelling that the vendor documents.

An answer has any number of instructions and exactly one action
(https://developers.sinch.com/docs/voice/api-reference/svaml). The same models check the actions that a
profile's routes spell out, so they are strict: an unknown field or a value outside the documented range is
refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, SerializationInfo, field_serializer
from pydantic.alias_generators import to_camel

MASK: Final = "**********"


class _Svaml(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


Name = Annotated[str, Field(min_length=1, max_length=256)]
Cli = Annotated[str, Field(min_length=1, max_length=64)]
MaxDuration = Annotated[int, Field(ge=1, le=14400, description="Longest call, in seconds")]
Moh = Literal["ring", "music1", "music2", "music3"]


class TranscriptionOptions(_Svaml):
    """Whether Sinch transcribes the recording, and in which locale (such as ``en-US``)."""

    enabled: bool
    locale: str | None = None


class RecordingOptions(_Svaml):
    """Where a recording goes and how. ``credentials`` leave only in an answer to Sinch, else they are masked."""

    destination_url: str
    credentials: SecretStr
    format: str = "mp3"
    notification_events: bool = True
    transcription_options: TranscriptionOptions | None = None

    @field_serializer("credentials")
    def _credentials(self, credentials: SecretStr, info: SerializationInfo) -> str:
        return credentials.get_secret_value() if info.context is _FOR_SINCH else MASK


class CallHeader(_Svaml):
    """A key and value handed to the called side; 1024 bytes together at most."""

    key: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(max_length=1024)]


class UsernameDestination(_Svaml):
    """An app user, by the name it registered with."""

    type: Literal["username"] = "username"
    endpoint: Name


class SipDestination(_Svaml):
    """A SIP address."""

    type: Literal["sip"] = "sip"
    endpoint: Name


class Amd(_Svaml):
    """Answering machine detection."""

    enabled: bool
    async_: bool | None = Field(None, alias="async")


class ConferenceDtmfOptions(_Svaml):
    """What a conference does with key presses. ``timeout_mills`` is in milliseconds."""

    mode: Literal["ignore", "forward", "detect"]
    max_digits: int | None = None
    timeout_mills: int | None = None


class _Recordable(_Svaml):
    record: Literal[True] | None = None
    recording_options: RecordingOptions | None = None

    def recorded(self, options: RecordingOptions) -> Self:
        """Return the same action with recording on."""
        return self.model_copy(update={"record": True, "recording_options": options})


class ConnectMxp(_Recordable):
    """Connect to an app user."""

    name: Literal["connectMxp"] = "connectMxp"
    destination: UsernameDestination
    call_headers: tuple[CallHeader, ...] | None = None


class ConnectPstn(_Recordable):
    """Connect to a phone number, in E.164 form with ``+``. Durations are in seconds."""

    name: Literal["connectPstn"] = "connectPstn"
    number: Annotated[str, Field(min_length=1, max_length=64)]
    locale: str | None = None
    max_duration: MaxDuration | None = None
    dial_timeout: Annotated[int, Field(ge=1, le=14400)] | None = None
    cli: Cli | None = None
    suppress_callbacks: bool | None = None
    dtmf: str | None = None
    indications: str | None = None
    amd: Amd | None = None


class ConnectConf(_Recordable):
    """Connect to a conference; a recording of it is the conference's, not the caller's leg."""

    name: Literal["connectConf"] = "connectConf"
    conference_id: Annotated[str, Field(min_length=1, max_length=64)]
    conference_dtmf_options: ConferenceDtmfOptions | None = None
    moh: Moh | None = None


class ConnectSip(_Recordable):
    """Connect to a SIP address. ``max_duration`` is in seconds."""

    name: Literal["connectSip"] = "connectSip"
    destination: SipDestination
    max_duration: MaxDuration | None = None
    cli: Cli | None = None
    transport: Literal["UDP", "TCP", "TLS"] | None = None
    suppress_callbacks: bool | None = None
    call_headers: tuple[CallHeader, ...] | None = None
    moh: Moh | None = None


class Hangup(_Svaml):
    """End the call."""

    name: Literal["hangup"] = "hangup"


class Continue(_Svaml):
    """Go on with the call as it is."""

    name: Literal["continue"] = "continue"


Connect = ConnectMxp | ConnectPstn | ConnectConf | ConnectSip
Action = Connect | Hangup | Continue


class Svaml(_Svaml):
    """One answer: instructions in the order in which they are carried out, then exactly one action."""

    instructions: tuple[Any, ...] = ()
    action: Annotated[Action, Field(discriminator="name")]

    def to_json(self) -> str:
        """Return the answer for Sinch, with the storage credentials in it."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude=self._empty(), context=_FOR_SINCH)

    def masked(self) -> dict[str, Any]:
        """Return the answer for a person to read: the same, its credentials masked."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=self._empty())

    def _empty(self) -> set[str]:
        return set() if self.instructions else {"instructions"}


_FOR_SINCH: Final = {"credentials": "revealed"}
