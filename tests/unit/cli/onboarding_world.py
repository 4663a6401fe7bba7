"""What onboarding meets: an AWS with the uploader and RotationFunction, Sinch on loopback, and a keyboard."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import click
import pytest
from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.facts.errors import CallRecorderError
from call_recorder.functions.rotation import compose
from call_recorder_cli.applications.sinch_configuration import API_URL_VARIABLE
from local.simulator import Application
from local.simulator.configuration import ConfigurationApi
from tests.fakes import RecordedTelemetry
from tests.unit.cli.conftest import OUTPUTS

APP = "app"
SECRET = base64.b64encode(b"the secret of the application").decode()
OTHER_SECRET = base64.b64encode(b"the next secret").decode()
OURS = OUTPUTS["CallbackUrl"]
BUCKET = "recordings-bucket"
RECORD_ALL = '{"rules": [{"name": "everything", "record": true}]}'
AZURE = '{"destination": "azure://account/box/{callId}", "rules": [{"name": "everything", "record": true}]}'
AZURE_KEY = base64.b64encode(b"the key of the storage account").decode()


@dataclass
class World:
    """The outside of the command line, as a test sees it.

    Attributes:
        sinch: the configuration API.
        invocations: how often RotationFunction was invoked.
    """

    sinch: ConfigurationApi
    monkeypatch: pytest.MonkeyPatch
    invocations: int = 0
    rotation: Mapping[str, str] = field(default_factory=dict)

    def register(self, primary: str = "", secret: str = SECRET) -> None:
        """Have Sinch know the application."""
        self.sinch.add(Application(APP, SecretStr(secret)), primary)

    @property
    def url(self) -> str:
        return self.sinch.callback_urls[APP].get("primary", "")

    def pipe(self, *lines: str) -> None:
        """Give lines to the next command by a pipe."""
        self.monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    def type(self, *answers: str, secrets: Iterable[str] = ()) -> None:
        """Give answers to the next command on a terminal; the secrets are typed without an echo."""
        hidden = iter(secrets)
        self.monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
        self.monkeypatch.setattr(click.termui, "hidden_prompt_func", lambda _prompt: next(hidden))

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of the application by their names."""
        ssm, folder = boto3.client("ssm"), f"/call-recorder/{APP}/"
        found = ssm.get_parameters_by_path(Path=folder, WithDecryption=True)["Parameters"]
        return {each["Name"].removeprefix(folder): dict(each) for each in found}

    def values(self) -> dict[str, str]:
        return {name: each["Value"] for name, each in self.parameters().items()}

    def store(self, secrets: str = SECRET, profile: str = RECORD_ALL, credentials: str = "") -> None:
        """Store parameters as somebody did by hand."""
        for name, value in ((SECRETS, secrets), (PROFILE, profile), (CREDENTIALS, credentials)):
            if value:
                kind: Any = "String" if name == PROFILE else "SecureString"
                boto3.client("ssm").put_parameter(Name=f"/call-recorder/{APP}/{name}", Value=value, Type=kind)

    def invoke(self, **_: Any) -> dict[str, Any]:
        """Run RotationFunction's own code, as Lambda does."""
        self.invocations += 1
        function = compose(self.rotation)
        function._telemetry = RecordedTelemetry()
        try:
            return {"Payload": io.BytesIO(json.dumps(function({})).encode())}
        except CallRecorderError as error:
            failed = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(failed).encode())}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_world(sinch: ConfigurationApi, monkeypatch: pytest.MonkeyPatch) -> World:
    """Make the uploader and its queue; lead the command line to Sinch on loopback and RotationFunction's code."""
    world = World(sinch, monkeypatch)
    boto3.client("iam").create_user(UserName="uploader")
    queue = boto3.client("sqs").create_queue(QueueName="recordings")["QueueUrl"]
    world.rotation = {
        "UPLOADER_USER_NAME": "uploader",
        "RECORDINGS_BUCKET": BUCKET,
        "PARAMETER_PREFIX": "call-recorder",
        "LONGEST_CALL_SECONDS": "60",
        "GRACE_SECONDS": "60",
        "KEY_MAX_AGE_DAYS": "90",
        "RECORDING_QUEUE_URL": queue,
        "AWS_REGION": "eu-west-1",
    }
    client = boto3.Session.client

    def make_client(session: boto3.Session, service: str, **options: Any) -> Any:
        return world if service == "lambda" else client(session, service, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(boto3.Session, "client", make_client)
    monkeypatch.setenv(API_URL_VARIABLE, sinch.url)
    world.pipe()
    return world
