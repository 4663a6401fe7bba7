"""`make test-call`: what it prints about a call, and why it refuses to play one."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoRegionError

from local import test_call as command
from local.simulator import PlayedCall, Step, app_to_app
from local.simulator.platform import Answer
from local.test_call import explain_failure

OUTPUTS = {
    "CallbackUrl": "https://api.example/callbacks",
    "CallbackPath": "/callbacks",
    "CallbackApiId": "api1",
    "ParameterPrefix": "call-recorder",
    "RecordingsTableName": "recordings",
}
SECRET = "/call-recorder/app/application-secrets"
ICE = Step("ice", "answered connectMxp", held=True, status=200)
REFUSED = Step("ice", "answered 401", held=False, status=401)
NOT_STORED = Step("upload", "AccessDenied", held=False)


class Session:
    """An account with one stack whose applications have these parameters."""

    def __init__(self, outputs: dict[str, str] | None, parameters: dict[str, str] | None = None) -> None:
        self.outputs, self.parameters = outputs, parameters or {}

    class meta:  # noqa: N801 - boto3's name
        endpoint_url = "https://cloudformation.eu-west-1.amazonaws.com"

    def client(self, _service: str) -> Session:
        if self.outputs is None:
            raise NoRegionError
        return self

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in (self.outputs or {}).items()]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert WithDecryption
        if Name not in self.parameters:
            raise ClientError({"Error": {"Code": "ParameterNotFound", "Message": "no"}}, "GetParameter")
        return {"Parameter": {"Value": self.parameters[Name]}}


@pytest.mark.parametrize(
    ("session", "arguments", "sentence"),
    [
        (Session(OUTPUTS), [], f"There is no parameter {SECRET}: put the application's parameters first"),
        (
            Session(OUTPUTS, {SECRET: "not base64!"}),
            [],
            "The application-secrets of app are not Base64: put the secret",
        ),
        (Session(None), [], "No region is chosen: pass --region, or set AWS_REGION"),
        (Session(OUTPUTS), ["--to", "+12017777777"], "TO is '+12017777777': write one of username:..., "),
    ],
)
def test_a_call_that_cannot_be_played_is_refused_in_a_sentence(
    session: Session,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(boto3, "Session", lambda **_: session)

    assert command.main(["--application-key", "app", *arguments]) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)
    assert "not base64!" not in line


@pytest.mark.parametrize(
    ("steps", "action", "sentence"),
    [
        ([REFUSED], None, "The stack refuses the signature"),
        ([ICE, NOT_STORED], "connectMxp", "The test call failed: upload: AccessDenied."),
        ([ICE], "hangup", "has no route for this number"),
        ([ICE], "connectMxp", "The call is connected and not recorded"),
    ],
)
def test_a_call_that_was_not_recorded_is_explained(steps: list[Step], action: str | None, sentence: str) -> None:
    answers = [Answer("ice", {"action": {"name": action}}, 0.1)] if action else []

    assert sentence in explain_failure(PlayedCall(app_to_app("alice"), steps, answers))
