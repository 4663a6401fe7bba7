"""The simulator's command takes the secret from the environment and shows none."""

import base64
import json

import pytest

from local.simulator import Response
from local.simulator.__main__ import SECRET_VARIABLE, main
from local.transport import HttpTransport

SECRET = base64.b64encode(b"the secret of an application").decode()
ARGUMENTS = ["--url", "https://example.com/callbacks", "--application-key", "an-application"]
HANGUP = json.dumps({"action": {"name": "hangup"}}).encode()


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Answer every callback with a hang-up, and return the list of bodies."""
    bodies: list[bytes] = []

    def send(_: object, method: str, url: str, headers: dict[str, str], body: bytes) -> Response:
        bodies.append(body)
        return Response(200, HANGUP)

    monkeypatch.setattr(HttpTransport, "send", send)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    return bodies


def test_a_call_that_holds_ends_with_0(backend: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    destination = ["--to", "did:+12025550100", "--variant", "callId", "--cli", "+12025550177", "--header", "a=b=c"]

    assert main([*ARGUMENTS, *destination]) == 0

    ice = json.loads(backend[0])
    assert ice["to"] == {"type": "did", "endpoint": "+12025550100"}
    assert ice["cli"] == "+12025550177"
    assert ice["callHeaders"] == [{"key": "a", "value": "b=c"}]
    assert "callId" in ice
    shown = capsys.readouterr().out
    assert "ice: answered hangup" in shown
    assert SECRET not in shown


def test_a_step_that_fails_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(HttpTransport, "send", lambda *_: Response(401))

    assert main(ARGUMENTS) == 1
    assert "FAILED ice: answered 401" in capsys.readouterr().out


@pytest.mark.parametrize("secret", ["", "not Base64!"])
def test_without_a_usable_secret_it_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, secret)

    assert main(ARGUMENTS) == 2
    assert SECRET_VARIABLE in capsys.readouterr().err


def test_either_menu_may_be_the_first(monkeypatch: pytest.MonkeyPatch, backend: list[bytes]) -> None:
    menus = [{"id": "other"}, {"id": "main"}]
    run_menu = json.dumps({"action": {"name": "runMenu", "mainMenu": "other", "menus": menus}}).encode()

    def send(_: object, method: str, url: str, headers: dict[str, str], body: bytes) -> Response:
        backend.append(body)
        return Response(200, run_menu if b'"event":"ice"' in body else HANGUP)

    monkeypatch.setattr(HttpTransport, "send", send)

    for first in ("main", "mainMenu"):
        assert main([*ARGUMENTS, "--to", "did:+12025550100", "--first-menu", first]) == 0

    pies = [json.loads(body) for body in backend if b'"event":"pie"' in body]
    assert [pie["menuResult"]["menuId"] for pie in pies] == ["main", "other"]
