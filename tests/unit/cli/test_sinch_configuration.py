"""The callback URLs of an application are read and set at Sinch, and every failure is a sentence without the secret."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import pytest
from pydantic import SecretStr

from call_recorder_cli.applications.sinch_configuration import (
    API_URL,
    API_URL_VARIABLE,
    CallbackUrls,
    find_api_url,
    read_callback_url,
    set_callback_url,
)
from call_recorder_cli.errors import CommandFailed, ExitCode
from local.simulator import Application
from local.simulator.configuration import ConfigurationApi, run_configuration_api
from tests.loopback import Server, closed_port

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SECRET = SecretStr(base64.b64encode(b"a secret of sixteen bytes").decode())
APP = Application("app", SECRET)
OURS = "https://api.example.com/callbacks"


@pytest.fixture
def sinch() -> Iterator[ConfigurationApi]:
    with run_configuration_api() as api:
        api.add(APP)
        yield api


def test_a_url_is_set_beside_the_fallback_and_removed(sinch: ConfigurationApi) -> None:
    assert read_callback_url("app", SECRET, api_url=sinch.url) == CallbackUrls()

    urls = CallbackUrls(OURS, "https://fallback.example.com")
    assert set_callback_url("app", SECRET, urls, api_url=sinch.url) == urls
    assert read_callback_url("app", SECRET, api_url=sinch.url) == urls
    assert set_callback_url("app", SECRET, CallbackUrls(), api_url=sinch.url) == CallbackUrls()


def test_the_result_says_what_sinch_kept(sinch: ConfigurationApi) -> None:
    sinch.removes_empty = False
    sinch.add(APP, OURS)

    assert set_callback_url("app", SECRET, CallbackUrls(), api_url=sinch.url) == CallbackUrls(OURS)


@pytest.mark.parametrize(
    ("key", "status", "code", "says"),
    [
        ("another", None, ExitCode.NO_RIGHT, "does not accept the secret of the application another (401, code 40102)"),
        ("app", HTTPStatus.NOT_FOUND, ExitCode.NOT_FOUND, "knows no application app"),
        ("app", HTTPStatus.TOO_MANY_REQUESTS, ExitCode.TRY_AGAIN, "limits the rate"),
        ("app", HTTPStatus.SERVICE_UNAVAILABLE, ExitCode.TRY_AGAIN, "an error of its own (503)"),
        ("app", HTTPStatus.FOUND, ExitCode.FAILED, "refuses the request (302)"),
    ],
)
def test_a_refusal_is_a_sentence(
    key: str, status: HTTPStatus | None, code: ExitCode, says: str, sinch: ConfigurationApi
) -> None:
    sinch.broken = status

    with pytest.raises(CommandFailed, match="^Sinch ") as failed:
        read_callback_url(key, SECRET, api_url=sinch.url)

    assert failed.value.exit_code == code
    assert says in str(failed.value)


class Odd(BaseHTTPRequestHandler):
    """Answers with what is not JSON, or not as the documents say, or hangs up. Elsewhere it answers well."""

    answer = b""

    def do_GET(self) -> None:
        self.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n{"url": {}}' if self.path == "/elsewhere" else self.answer)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", ExitCode.TRY_AGAIN),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", ExitCode.FAILED),
        (b'HTTP/1.0 200 OK\r\n\r\n{"url": ["x"]}', ExitCode.FAILED),
        (b"HTTP/1.0 302 Found\r\nLocation: /elsewhere\r\n\r\n", ExitCode.FAILED),
        (b'HTTP/1.0 400 Bad\r\n\r\n{"errorCode": 40003}', ExitCode.NOT_FOUND),
        (b"HTTP/1.0 400 Bad\r\n\r\n" + b"[" * 50_000, ExitCode.FAILED),
    ],
)
def test_an_odd_answer_is_a_sentence(answer: bytes, code: ExitCode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "answer", answer)
    server = Server(Odd, None)
    try:
        with pytest.raises(CommandFailed) as failed:
            read_callback_url("app", SECRET, api_url=server.url)
    finally:
        server.close()
    assert failed.value.exit_code == code


def test_an_unreachable_sinch_is_worth_another_try() -> None:
    with pytest.raises(CommandFailed, match="cannot be reached at 127.0.0.1") as failed:
        read_callback_url("app", SECRET, api_url=f"http://127.0.0.1:{closed_port()}")
    assert failed.value.exit_code == ExitCode.TRY_AGAIN


@pytest.mark.parametrize(
    ("url", "good"),
    [("", True), ("https://other.example", True), ("http://127.0.0.1:80", True), ("http://sinch.example", False)],
)
def test_only_https_or_this_machine_is_asked(url: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_URL_VARIABLE, url)

    if good:
        assert find_api_url() == (url or API_URL)
    else:
        with pytest.raises(CommandFailed, match="must be an https URL"):
            find_api_url()
