"""The settings of the functions: their environment variables, read once when a function is composed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DegradedAnswer = Literal["connect", "hangup"]
"""The answer to an ICE without parameters, as in answering/answer.py. It is not imported from there, since that
would import profiles and SVAML into functions that use neither."""

UnrecordedCallsKept = Literal["nothing", "hashes", "numbers"]
"""What an unrecorded call leaves: nothing, or the reason with keyed hashes of its numbers, or with its numbers."""

ParameterPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")]
"""The first part of every parameter's path, without slashes at its ends."""


class SettingsRefused(Exception):
    """An environment variable is missing or wrong. The text names the variable and what is wrong."""


class Settings(BaseModel):
    """The settings of a function. Each field is an environment variable of the same name, in capitals."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, alias_generator=str.upper, defer_build=True)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            SettingsRefused: a variable is missing or has an invalid value.
        """
        try:
            return cls.model_validate(dict(environment))
        except ValidationError as error:
            problems = [f"{each['loc'][0]}: {each['msg']}" for each in error.errors(include_input=False)]
            raise SettingsRefused(f"set the environment variable {'; '.join(problems)}") from None


class CallbackSettings(Settings):
    """Settings of CallbackFunction.

    ``callback_path`` is the path of the callback URL, which Sinch signs. ``parameter_prefix`` and
    ``prefetched_application_key`` are used before this module is imported (adapters/prefetch.py), and checked here.
    """

    callback_path: Annotated[str, Field(pattern=r"^/[!-~]*$")]
    parameter_prefix: ParameterPrefix
    parameters_ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    signature_window_seconds: Annotated[int, Field(ge=30, le=900)] = 300
    recording_queue_url: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    recordings_table: Annotated[str, Field(min_length=3)]
    degraded_answer: DegradedAnswer = "connect"
    keeps_unrecorded_calls: Literal["off", "on"] = "off"
    prefetched_application_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,128}$")] = ""

    @property
    def signature_window(self) -> timedelta:
        """Maximum difference between ``x-timestamp`` and the present time."""
        return timedelta(seconds=self.signature_window_seconds)
