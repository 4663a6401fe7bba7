"""`make test-call`: what it says of a call, and of what keeps it from being played."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoRegionError

from local.simulator import PlayedCall, Step, StoredFile, app_to_app
from local.simulator.platform import Answer
from tools import play_call as command
from tools.play_call import Stack, explain_failure, report
from tools.stack import Refused

OUTPUTS = {
    "CallbackUrl": "https://api.example/callbacks",
    "CallbackPath": "/callbacks",
    "CallbackApiId": "api1",
    "ParameterPrefix": "call-recorder",
    "RecordingsTableName": "recordings",
}
ICE = Step("ice", "answered connectMxp", held=True, status=200)


class Session:
    """An account with one stack, whose applications have these parameters."""

    def __init__(self, outputs: dict[str, str], parameters: dict[str, str]) -> None:
        self.outputs, self.parameters = outputs, parameters

    def client(self, _service: str) -> Session:
        return self

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{"StackName": StackName, "Outputs": outputs}]}

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert WithDecryption
        if Name not in self.parameters:
            raise ClientError({"Error": {"Code": "ParameterNotFound", "Message": "no"}}, "GetParameter")
        return {"Parameter": {"Value": self.parameters[Name]}}


def run(
    monkeypatch: pytest.MonkeyPatch, outputs: dict[str, str], parameters: dict[str, str] | None = None, *more: str
) -> int:
    monkeypatch.setattr(boto3, "Session", lambda: Session(outputs, parameters or {}))
    return command.main(["--application-key", "app", *more])


def test_an_application_without_parameters_is_told_what_to_put(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, OUTPUTS) == 1

    told = capsys.readouterr().err
    assert "There is no parameter /call-recorder/app/application-secrets: put the application's parameters" in told


def test_a_secret_that_cannot_sign_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, OUTPUTS, {"/call-recorder/app/application-secrets": "no base64 at all!"}) == 1

    told = capsys.readouterr().err
    assert told.startswith("The application-secrets of app are not Base64")
    assert "no base64 at all" not in told


def test_a_stack_of_something_else_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, {"Bucket": "b"}) == 1

    assert "has no output CallbackUrl: it is no call recorder." in capsys.readouterr().err


def test_a_shell_without_a_region_is_told_to_choose_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses() -> None:
        raise NoRegionError

    monkeypatch.setattr(boto3, "Session", refuses)

    assert command.main(["--application-key", "app"]) == 1
    assert capsys.readouterr().err.startswith("No region is chosen: set AWS_REGION")


@pytest.mark.parametrize(
    ("url", "endpoint", "expected"),
    [
        ("", None, "https://api.example/callbacks"),
        ("https://calls.example.com/callbacks", None, "https://calls.example.com/callbacks"),
        ("", "http://127.0.0.1:4566", "http://127.0.0.1:4566/_aws/execute-api/api1/$default/callbacks"),
    ],
)
def test_the_callbacks_go_to_the_stacks_url_unless_another_is_named(
    url: str, endpoint: str | None, expected: str
) -> None:
    session: Any = Session(OUTPUTS, {})

    assert Stack.find(session, "stack", url, endpoint).callback_url == expected


@pytest.mark.parametrize(
    ("steps", "action", "sentence"),
    [
        ([Step("ice", "answered 401", held=False, status=401)], None, "The stack refuses the signature"),
        (
            [ICE, Step("upload", "AccessDenied", held=False)],
            "connectMxp",
            "The test call failed: upload: AccessDenied.",
        ),
        ([Step("ice", "answered hangup", held=True, status=200)], "hangup", "has no route for this number"),
        ([ICE], "connectMxp", "The call is connected and not recorded"),
    ],
)
def test_a_call_that_was_not_recorded_is_explained(steps: list[Step], action: str | None, sentence: str) -> None:
    answers = [Answer("ice", {"action": {"name": action}}, 0.1)] if action else []

    assert sentence in explain_failure(PlayedCall(app_to_app("alice"), steps, answers))


def test_a_recorded_call_is_shown_with_its_item_its_file_and_how_to_fetch_it() -> None:
    url = "s3://bucket/recordings/one.mp3"
    stored = StoredFile(url, 22_528, "0" * 64, "audio/mpeg")
    played = PlayedCall(app_to_app("alice"), [ICE], [], [stored])

    told = "\n".join(report(played, {"recordingId": "one", "status": "available", "size": Decimal(7)}))

    assert '"size": 7' in told
    assert f"The file, 22528 bytes of silence: {url}" in told
    assert told.endswith(f"To fetch it: aws s3 cp '{url}' .")


def test_what_is_refused_is_one_sentence() -> None:
    with pytest.raises(Refused, match=r"^The stack other has no output CallbackUrl: it is no call recorder\.$"):
        Stack.find(Session({}, {}), "other", "", None)  # type: ignore[arg-type]


def test_what_is_no_destination_is_told_with_the_choices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, OUTPUTS, {}, "--to", "+12017777777") == 1

    assert capsys.readouterr().err.startswith("TO is '+12017777777': write one of username:..., ")
