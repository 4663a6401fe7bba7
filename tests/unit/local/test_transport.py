"""A callback goes out once, as it is, to the host that the URL names."""

import socket
from io import BytesIO
from typing import Any

import pytest

from local.transport import SINCH_TIMEOUT, HttpTransport, NoResponse

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Line:
    """A socket whose other end has its answer ready."""

    def __init__(self, answer: bytes = ANSWER, failure: OSError | None = None) -> None:
        self.answer, self.failure = answer, failure
        self.sent = b""
        self.connected_to: tuple[str, int] | None = None
        self.timeout: float | None = None

    def connect(self, address: tuple[str, int], timeout: float, *_: Any) -> "Line":
        if self.failure:
            raise self.failure
        self.connected_to, self.timeout = address, timeout
        return self

    def sendall(self, content: bytes) -> None:
        self.sent += content

    def makefile(self, *_: Any) -> BytesIO:
        return BytesIO(self.answer)

    def setsockopt(self, *_: Any) -> None: ...

    def close(self) -> None: ...


def line(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Line:
    made = Line(**options)
    monkeypatch.setattr(socket, "create_connection", made.connect)
    return made


@pytest.mark.parametrize(
    ("url", "address", "request_line", "host"),
    [
        (
            "http://127.0.0.1:4566/_aws/x/$default/callbacks",
            ("127.0.0.1", 4566),
            b"POST /_aws/x/$default/callbacks ",
            None,
        ),
        ("http://api.execute-api.localhost:4566/callbacks", ("127.0.0.1", 4566), b"POST /callbacks ", None),
        ("http://localhost:4566/callbacks", ("127.0.0.1", 4566), b"POST /callbacks ", None),
        ("http://example.com", ("example.com", 80), b"POST / ", b"example.com"),
        ("http://example.com/a?b=c", ("example.com", 80), b"POST /a?b=c ", b"example.com"),
    ],
)
def test_a_request_goes_to_the_address_of_its_host_and_names_that_host(
    monkeypatch: pytest.MonkeyPatch, url: str, address: tuple[str, int], request_line: bytes, host: bytes | None
) -> None:
    sent = line(monkeypatch)

    response = HttpTransport().send("POST", url, {"Content-Type": "application/json; charset=utf-8"}, b'{"a":1}')

    assert (response.status, response.body) == (200, b"{}")
    assert (sent.connected_to, sent.timeout) == (address, SINCH_TIMEOUT)
    assert sent.sent.startswith(request_line)
    assert b"\r\nHost: " + (host or url.split("/")[2].encode()) + b"\r\n" in sent.sent
    assert b"\r\nContent-Type: application/json; charset=utf-8\r\n" in sent.sent
    assert sent.sent.count(b"\r\nHost:") == 1
    assert sent.sent.endswith(b'\r\n\r\n{"a":1}')


def test_a_redirect_is_an_answer_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    line(monkeypatch, answer=b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n")

    assert HttpTransport().send("POST", "http://example.com", {}, b"").status == 302


@pytest.mark.parametrize(
    "options", [{"failure": TimeoutError()}, {"failure": ConnectionRefusedError()}, {"answer": b"SSH-2.0\r\n"}]
)
def test_what_is_no_http_answer_in_time_is_no_answer(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    line(monkeypatch, **options)

    with pytest.raises(NoResponse, match=r"^no answer from example\.com: "):
        HttpTransport().send("POST", "http://example.com", {"Authorization": "secret"}, b"")
