"""A callback is sent once, unchanged, to the host of the URL."""

import socket
from io import BytesIO
from typing import Any

import pytest

from local.transport import SINCH_TIMEOUT, HttpTransport, NoResponse


class Line:
    """A socket whose other end has its answer ready."""

    def __init__(self) -> None:
        self.answer: bytes | OSError = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        self.sent = b""

    def connect(self, address: tuple[str, int], timeout: float, *_: Any) -> "Line":
        if isinstance(self.answer, OSError):
            raise self.answer
        self.connected_to, self.timeout = address, timeout
        return self

    def sendall(self, content: bytes) -> None:
        self.sent += content

    def makefile(self, *_: Any) -> BytesIO:
        assert isinstance(self.answer, bytes)
        return BytesIO(self.answer)

    def setsockopt(self, *_: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line = Line()
    monkeypatch.setattr(socket, "create_connection", line.connect)
    return line


@pytest.mark.parametrize(
    ("url", "address", "target", "host"),
    [
        ("http://api.localhost:4566/_aws/$default/c", ("127.0.0.1", 4566), "/_aws/$default/c", "api.localhost:4566"),
        ("http://example.com", ("example.com", 80), "/", "example.com"),
        ("http://example.com/a?b=c", ("example.com", 80), "/a?b=c", "example.com"),
    ],
)
def test_a_request_goes_to_the_address_of_its_host_and_names_it(
    url: str, address: tuple[str, int], target: str, host: str, line: Line
) -> None:
    response = HttpTransport().send("POST", url, {"Content-Type": "application/json; charset=utf-8"}, b'{"a":1}')

    assert (response.status, response.body) == (200, b"{}")
    assert (line.connected_to, line.timeout) == (address, SINCH_TIMEOUT)
    assert line.sent.startswith(f"POST {target} ".encode())
    assert f"\r\nHost: {host}\r\n".encode() in line.sent
    assert line.sent.count(b"\r\nHost:") == 1
    assert b"\r\nContent-Type: application/json; charset=utf-8\r\n" in line.sent
    assert line.sent.endswith(b'\r\n\r\n{"a":1}')


def test_a_redirect_is_an_answer_like_any_other(line: Line) -> None:
    line.answer = b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n"

    assert HttpTransport().send("POST", "http://example.com", {}, b"").status == 302


@pytest.mark.parametrize("answer", [TimeoutError(), b"SSH-2.0\r\n"])
def test_an_error_or_another_protocol_is_no_response(answer: bytes | OSError, line: Line) -> None:
    line.answer = answer

    with pytest.raises(NoResponse, match=r"^no answer from example\.com: "):
        HttpTransport().send("POST", "http://example.com", {"Authorization": "secret"}, b"")
