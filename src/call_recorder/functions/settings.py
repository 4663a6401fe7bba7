"""What the functions are told by their environment, read once where they are composed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DegradedAnswer = Literal["connect", "hangup"]
"""As ``recording.policy`` has it. To import that would bring profiles and SVAML into functions that have neither."""

ParameterPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")]
"""The first part of every parameter's path, without slashes at its ends."""


class SettingsRefused(Exception):
    """An environment variable is missing or wrong; the text names it and the mend."""


class Settings(BaseModel):
    """A function's settings."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, alias_generator=str.upper, defer_build=True)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from environment variables named like the fields, in capitals.

        Raises:
            SettingsRefused: a variable is missing or has a value that cannot be used.
        """
        try:
            return cls.model_validate(dict(environment))
        except ValidationError as error:
            problems = [f"{each['loc'][0]}: {each['msg']}" for each in error.errors(include_input=False)]
            raise SettingsRefused(f"set the environment variable {'; '.join(problems)}") from None


class CallbackSettings(Settings):
    """Settings of CallbackFunction.

    ``callback_path`` is the path of the URL given to Sinch, which Sinch signs. ``parameter_prefix`` and
    ``prefetched_application_key`` are used before this can be imported (``aws/connections.py``); here they are checked.
    """

    callback_path: Annotated[str, Field(pattern=r"^/[!-~]*$")]
    parameter_prefix: ParameterPrefix
    parameters_ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    signature_window_seconds: Annotated[int, Field(ge=30, le=900)] = 300
    recording_queue_url: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    recordings_table: Annotated[str, Field(min_length=3)]
    degraded_answer: DegradedAnswer = "connect"
    prefetched_application_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,128}$")] = ""

    @property
    def signature_window(self) -> timedelta:
        """How far ``x-timestamp`` may be from now."""
        return timedelta(seconds=self.signature_window_seconds)
