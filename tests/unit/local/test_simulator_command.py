"""The simulator's command takes the secret from the environment and shows none."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from local.simulator import Response
from local.simulator.__main__ import SECRET_VARIABLE, main
from local.transport import HttpTransport

SECRET = base64.b64encode(b"the secret of an application").decode()
ARGUMENTS = ["--url", "https://example.com/callbacks", "--application-key", "an-application"]
Play = Callable[..., list[dict[str, Any]]]
HANGUP = {"action": {"name": "hangup"}}
MENUS = {"action": {"name": "runMenu", "mainMenu": "other", "menus": [{"id": "other"}, {"id": "main"}]}}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run the command, answer the callbacks in turn, and return their bodies."""

    def play(arguments: str, *answers: object, status: int = 0, secret: str = SECRET) -> list[dict[str, Any]]:
        bodies: list[dict[str, Any]] = []
        left = iter(answers)

        def send(_: object, method: str, url: str, headers: dict[str, str], body: bytes) -> Response:
            bodies.append(json.loads(body))
            answer = next(left, HANGUP)
            return Response(answer) if isinstance(answer, int) else Response(200, json.dumps(answer).encode())

        monkeypatch.setattr(HttpTransport, "send", send)
        monkeypatch.setenv(SECRET_VARIABLE, secret)
        assert main([*ARGUMENTS, *arguments.split()]) == status
        return bodies

    return play


def test_a_call_that_holds_ends_with_0(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    call = "--to did:+12025550100 --variant callId --cli +12025550177 --header a=b=c"
    ice, pie, _ = play(call, MENUS)

    assert ice["to"] == {"type": "did", "endpoint": "+12025550100"}
    assert ice["cli"] == "+12025550177"
    assert ice["callHeaders"] == [{"key": "a", "value": "b=c"}]
    assert "callId" in ice
    assert pie["event"] == "pie"
    printed = capsys.readouterr().out
    assert "pie: answered hangup" in printed
    assert SECRET not in printed


def test_a_step_that_fails_ends_with_1(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play("", 401, status=1)

    assert "FAILED ice: answered 401" in capsys.readouterr().out


@pytest.mark.parametrize(("first", "menu"), [("main", "main"), ("mainMenu", "other")])
def test_either_of_several_menus_may_be_the_first(first: str, menu: str, play: Play) -> None:
    """Sinch's sources differ. No key is pressed, so that the menu's id is all that comes back."""
    _, pie, _ = play(f"--to did:+12025550100 --first-menu {first}", MENUS)

    assert pie["menuResult"] == {"menuId": menu, "type": "timeout"}


@pytest.mark.parametrize("secret", ["", "not Base64!"])
def test_without_a_usable_secret_it_names_the_variable(
    secret: str, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play("", status=2, secret=secret)

    assert SECRET_VARIABLE in capsys.readouterr().err
