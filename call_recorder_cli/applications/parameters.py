"""Reads the parameters of a Sinch application in SSM, checks them with the functions' own code, and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import ClientError
from pydantic import SecretStr

from call_recorder.answering.application import Application, is_recorded_into
from call_recorder.answering.parameter_names import CREDENTIALS, PARAMETERS, PROFILE, SECRETS
from call_recorder.answering.profile import ProfileRefused, RecordingProfile
from call_recorder_cli.errors import CommandFailed, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from call_recorder_cli.stack import Stack

MAX_STANDARD_BYTES: Final = 4096
MAX_BYTES: Final = 8192
"""The largest values of a standard and of an advanced parameter. AWS charges for an advanced one.

Sources, read in November 2026: "Managing parameter tiers" in the Systems Manager User Guide, and PutParameter in the
API reference. With ``Intelligent-Tiering``, SSM makes a parameter advanced only if it must.
"""

_DEFAULT_TTL_SECONDS: Final = 300

StoreKind = Literal["own", "other", "none"]
"""Where a profile records: into the stack's own bucket alone, elsewhere too, or nowhere."""

# Of the right form. RotationFunction hands out the real ones, but only to a profile that is stored.
_STAND_IN: Final = "KEY:SECRET:eu-west-1"


@dataclass(frozen=True)
class StoredApplication:
    """The parameters of an application.

    Attributes:
        key: the application key.
        own_bucket: the bucket of the stack.
        values: the values by the names of the parameters. Those that do not exist are absent.
        encrypted_profile: whether the profile is stored encrypted. SSM does not change the type of a parameter.
    """

    key: str
    own_bucket: str
    values: Mapping[str, SecretStr]
    encrypted_profile: bool = False

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The application secrets: the current one, and possibly the previous one."""
        text = self._get(SECRETS)
        return tuple(SecretStr(secret.strip()) for secret in text.split(",")) if text else ()

    @property
    def profile(self) -> str | None:
        """The text of the profile."""
        return self._get(PROFILE)

    def require_profile(self) -> str:
        """Return the text of the profile.

        Raises:
            NotFound: the application has none.
        """
        if self.profile is None:
            raise NotFound(
                f"No recording-profile is stored for the application {self.key}: see `call-recorder onboard`."
            )
        return self.profile

    def replace(self, **values: SecretStr | None) -> StoredApplication:
        """Return the application with other ``secrets``, ``credentials`` or ``profile``. ``None`` removes one."""
        names = {"secrets": SECRETS, "credentials": CREDENTIALS, "profile": PROFILE}
        changed = {**self.values, **{names[each]: value for each, value in values.items()}}
        return replace(self, values={name: value for name, value in changed.items() if value is not None})

    def find_store_kind(self) -> StoreKind:
        """Return where the profile records. One that the functions refuse records nowhere."""
        text = self.profile or "{}"
        if is_recorded_into(self.own_bucket, text):
            return "own"
        try:
            return "other" if any(rule.record for rule in RecordingProfile.parse(text).rules) else "none"
        except ProfileRefused:
            return "none"

    def parse(self) -> Application:
        """Return the application as the functions have it.

        Raises:
            ProfileRefused: they refuse its callbacks.
        """
        return self._parse({})

    def find_problem(self, *, handed_out: bool = True) -> str | None:
        """Return why the functions cannot use the parameters, in a sentence, or ``None``.

        Args:
            handed_out: whether the credentials of the stack's own bucket must be there already.
        """
        stand_in = {CREDENTIALS: _STAND_IN} if not handed_out and self.find_store_kind() == "own" else {}
        try:
            return self._parse(stand_in).problem
        except ProfileRefused as refusal:
            return str(refusal)

    def _parse(self, stand_in: Mapping[str, str]) -> Application:
        values = {name: value.get_secret_value() for name, value in self.values.items()}
        stood_in = {name: value for name, value in stand_in.items() if not values.get(name)}
        return Application.from_parameters(self.key, values | stood_in, own_bucket=self.own_bucket)

    def _get(self, name: str) -> str | None:
        value = self.values.get(name)
        return value.get_secret_value() if value is not None else None


class ApplicationParameters:
    """Reads and writes the parameters of the applications of a stack.

    Args:
        stack: the stack.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ssm = stack.session.client("ssm")

    @property
    def ttl_seconds(self) -> int:
        """How long the functions may use parameters that they have read, in seconds."""
        return int(self._stack.parameters.get("ParametersTtlSeconds", _DEFAULT_TTL_SECONDS))

    def read(self, application_key: str, names: Collection[str] = PARAMETERS) -> StoredApplication:
        """Return the parameters of an application, or those with the given names.

        Raises:
            ClientError: SSM refused one of them. An investigator may not read the secrets.
            BotoCoreError: SSM could not be asked.
        """
        folder = self._stack.parameter_path(application_key, "")
        answer = self._ssm.get_parameters(Names=[folder + name for name in names], WithDecryption=True)
        stored = {each["Name"].removeprefix(folder): each for each in answer["Parameters"]}
        return StoredApplication(
            application_key,
            self._stack.output("RecordingsBucketName"),
            {name: SecretStr(each["Value"]) for name, each in stored.items()},
            PROFILE in stored and stored[PROFILE]["Type"] == "SecureString",
        )

    def write(self, application: StoredApplication, name: str) -> None:
        """Write one parameter of an application, and replace its former value.

        Raises:
            CommandFailed: the value is larger than a parameter may be.
            ClientError: SSM refused it. The error does not contain the value.
            BotoCoreError: SSM could not be asked.
        """
        value = application.values[name].get_secret_value()
        if len(value.encode()) > MAX_BYTES:
            raise CommandFailed(f"{name}: {len(value.encode())} bytes, and SSM takes {MAX_BYTES} at most.")
        options: dict[str, Any] = {"Type": "String"}
        if name != PROFILE or application.encrypted_profile:
            # Without a key id, SSM encrypts with aws/ssm, even if another key encrypted the former value.
            key = self._stack.parameters.get("ParametersKmsKeyArn")
            options = {"Type": "SecureString", **({"KeyId": key} if key else {})}
        path = self._stack.parameter_path(application.key, name)
        try:
            self._ssm.put_parameter(Name=path, Value=value, Overwrite=True, Tier="Intelligent-Tiering", **options)
        except ClientError as error:
            # SSM quotes a value that it does not accept.
            answer: Any = {**error.response, "Error": {**error.response["Error"], "Message": f"{name} is not accepted"}}
            raise ClientError(answer, error.operation_name) from None

    def delete(self, application_key: str, names: Collection[str] = PARAMETERS) -> None:
        """Delete parameters of an application. Those that do not exist are skipped."""
        self._ssm.delete_parameters(Names=[self._stack.parameter_path(application_key, name) for name in names])


def list_application_keys(stack: Stack) -> list[str]:
    """Return the keys of the applications that have any parameter. Raises ClientError and BotoCoreError."""
    root = stack.parameter_path("")
    names = [name.removeprefix(root).split("/") for name in list_parameters(stack)]
    return sorted({parts[0] for parts in names if len(parts) == 2 and parts[1] in PARAMETERS})


def list_parameters(stack: Stack) -> Iterator[str]:
    """Yield the names of all parameters of a stack, of applications and others."""
    pages = stack.session.client("ssm").get_paginator("describe_parameters")
    path = {"Key": "Path", "Option": "Recursive", "Values": [stack.parameter_path()]}
    for page in pages.paginate(ParameterFilters=[path]):  # type: ignore[list-item]  # the stubs ask for a constant
        yield from (each["Name"] for each in page["Parameters"])


def choose_applications(stack: Stack, application_key: str | None) -> list[str]:
    """Return the application that a command names, or else all that are registered.

    Raises:
        NotFound: the application is not registered, or none is.
    """
    known = list_application_keys(stack)
    if application_key is not None and application_key not in known:
        raise NotFound(f"The stack {stack.name} has no application {application_key}: run call-recorder onboard.")
    if not known:
        raise NotFound(f"The stack {stack.name} has no application yet: run call-recorder onboard.")
    return known if application_key is None else [application_key]


def choose_searched(stack: Stack, application_key: str | None) -> list[str]:
    """Return the applications to search: all registered ones, or one, which need not be registered any more."""
    return [application_key] if application_key else choose_applications(stack, None)
