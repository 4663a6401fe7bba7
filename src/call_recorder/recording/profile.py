"""The recording profile: what an operator writes, checked when it is read.

A profile is JSON. Whatever in it cannot work is refused with the field's name and what to write instead, so
that nobody learns of it from a missing recording.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from call_recorder.recording.destinations import Destination
from call_recorder.sinch.svaml import (
    ConnectConf,
    ConnectMxp,
    ConnectPstn,
    ConnectSip,
    Hangup,
    TranscriptionOptions,
)

_ACTIONS = frozenset({"connectMxp", "connectPstn", "connectConf", "connectSip", "hangup"})


class ProfileRefused(ValueError):
    """A parameter cannot be used; the text is one sentence that names parameter, field and mend."""


class _Profile(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


class Rule(_Profile):
    """Says whether a call is recorded. The first rule that matches decides; without ``when`` it matches all."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
    record: bool


class Route(_Profile):
    """Where a dialled number goes. ``to`` is the number, or a pattern with ``*``; the first match counts."""

    to: Annotated[str, Field(min_length=1, max_length=128)]
    action: Annotated[ConnectMxp | ConnectPstn | ConnectConf | ConnectSip | Hangup, Field(discriminator="name")]

    @field_validator("action")
    @classmethod
    def _no_recording(cls, action: Any) -> Any:
        if getattr(action, "record", None) or getattr(action, "recording_options", None):
            raise ValueError("leave record and recordingOptions out; the rules decide who is recorded")
        return action

    def matches(self, endpoint: str) -> bool:
        """Tell whether ``endpoint`` goes this way. A leading ``+`` does not count on either side."""
        return fnmatchcase(endpoint.removeprefix("+"), _literal(self.to.removeprefix("+")))


def _literal(pattern: str) -> str:
    """Leave ``*`` as the only character with a meaning."""
    return re.sub(r"([\[?])", r"[\1]", pattern)


class RecordingProfile(_Profile):
    """Destination, format, transcription, rules and routes of one Sinch application.

    ``destination`` absent means the stack's own bucket. No rules: nothing is recorded.
    """

    destination: str | None = None
    format: Annotated[str, Field(pattern=r"^(mp3|wav)$")] = "mp3"
    notification_events: bool = True
    transcription: TranscriptionOptions | None = None
    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()

    @field_validator("destination")
    @classmethod
    def _destination(cls, destination: str | None) -> str | None:
        if destination is not None:
            Destination.parse(destination)
        return destination

    @classmethod
    def parse(cls, text: str) -> RecordingProfile:
        """Read a profile's JSON.

        Raises:
            ProfileRefused: it cannot work.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileRefused(_sentence(error.errors(include_input=False, include_url=False)[0])) from None

    def route(self, endpoint: str) -> Route | None:
        """Return the first route for a dialled number, or ``None``."""
        return next((route for route in self.routes if route.matches(endpoint)), None)


def _sentence(error: ErrorDetails) -> str:
    if error["type"] == "json_invalid":
        return "recording-profile: write a JSON object; this is not valid JSON"
    cause = error.get("ctx", {}).get("error")
    match error["type"]:
        case "extra_forbidden":
            mend = "no such field; check its spelling or leave it out"
        case "missing":
            mend = "missing; write it"
        case "string_pattern_mismatch":
            mend = f"write something that matches {error['ctx']['pattern']}"
        case _ if isinstance(cause, ValueError):
            mend = str(cause)
        case _:
            mend = error["msg"][0].lower() + error["msg"][1:]
    return f"recording-profile: {_field(error['loc'])}: {mend}"


def _field(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (part in _ACTIONS and path.endswith("action")):  # pydantic names the member of the union too
            path += f".{part}" if path else part
    return path or "the whole"
