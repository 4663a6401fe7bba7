"""A backend behind the recorder: real HTTPS on this machine, well-behaved and otherwise."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.adapters import limits
from call_recorder.adapters.upstream import Upstream
from call_recorder.facts.errors import UpstreamFailed
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.sinch.signature import (
    Authorization,
    SignedRequest,
    verify,
)
from call_recorder.sinch.svaml import UpstreamSvaml
from tests import sinch
from tests.fakes import STORAGE_KEY, STORAGE_SECRET, Applications, Clock, Front, application
from tests.loopback import LOOPBACK, LOOPBACK_V6, Listener, certificate
from tests.profiles import AGREED, ANNOUNCED, ANNOUNCEMENT, HEADER, PSTN_ACTION, profile, rule
from tests.svaml import captures

pytestmark = pytest.mark.allow_hosts(["127.0.0.1", "::1"])

MAX_WAIT = 4.0
SECRET = base64.b64decode(sinch.SECRET)
ICE = sinch.ice("did", "+12015550100")
FALLBACK = [{"to": "*", "action": PSTN_ACTION}]
CONNECT = {"action": {"name": "connectPstn", "number": "+46700000003"}}


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]


Behaviour = Callable[[socket.socket, threading.Event], None]


class Server(Listener):
    """A backend that behaves as it is told."""

    def __init__(self, certificate: Path, behave: Behaviour, handshakes: bool = True, address: str = LOOPBACK) -> None:
        self.behave = behave
        self.handshakes = handshakes
        self.received: list[Received] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._host = f"[{address}]" if ":" in address else address
        super().__init__(address)

    @property
    def url(self) -> str:
        return f"https://{self._host}:{self.port}/sinch/callbacks"

    def serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(5)
            if not self.handshakes:
                self.closing.wait(5)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secured:
                self.received.append(_request(secured))
                self.behave(secured, self.closing)


def _request(connection: socket.socket) -> Received:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65536) or pytest.fail("no whole request")
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
    while len(body) < int(headers["content-length"]):
        more = connection.recv(65536)
        body, raw = body + more, raw + more
    return Received(line, headers, body, raw)


def says(body: str | bytes, status: str = "200 OK", *more: str) -> Behaviour:
    """Answer at once."""
    content = body.encode() if isinstance(body, str) else body
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *more, "", ""]).encode()
    return lambda connection, closing: connection.sendall(head + content)


def hangs_after(start: bytes) -> Behaviour:
    def behave(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(start)
        closing.wait(5)

    return behave


def trickles(start: bytes, drop: bytes) -> Behaviour:
    def behave(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(start)
        until = monotonic() + 2 * MAX_WAIT
        while not closing.wait(0.03) and monotonic() < until:
            connection.sendall(drop)

    return behave


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n"
HANGING: dict[str, Behaviour] = {
    "hangs before its headers": hangs_after(b""),
    "hangs in its headers": hangs_after(OK),
    "hangs after its headers": hangs_after(OK + b"\r\n{"),
    "trickles its headers": trickles(OK + b"x-a: ", b"a"),
    "trickles its body": trickles(OK + b"\r\n", b" "),
    "trickles chunks": trickles(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "asks to go on for ever": trickles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
REFUSED: dict[str, Behaviour] = {
    "500": says(json.dumps(CONNECT), "500 Internal Server Error"),
    "201": says(json.dumps(CONNECT), "201 Created"),
    "redirect": says("", "302 Found", "Location: /elsewhere"),
    "permanent redirect": says("", "308 Permanent Redirect", "Location: /elsewhere"),
    "huge": says(json.dumps(CONNECT | {"more": "x" * 65536})),
    "huge in chunks": trickles(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
    ),
    "not UTF-8": says(b'{"action": {"name": "\xff"}}'),
    "no HTTP": says("", "OK\r\n\r\n\x00"),
    "garbage": hangs_after(b"\x00" * 70000),
    "nothing": lambda connection, closing: None,
}
MEANINGLESS: dict[str, Behaviour] = {
    "empty": says(""),
    "not JSON": says("<html>"),
    "cut off": says(json.dumps(CONNECT)[:-1]),
    "no object": says("[]"),
    "no action": says('{"instructions": []}'),
    "an action without a name": says('{"action": {}}'),
    "an action of no kind": says('{"action": {"name": 7}}'),
    "instructions that are no list": says('{"instructions": {}, "action": {"name": "hangup"}}'),
    "not a number": says('{"action": {"name": "connectPstn", "x": NaN}}'),
    "infinity": says('{"action": {"name": "connectPstn", "x": -Infinity}}'),
    "beyond a number": says('{"action": {"name": "connectPstn", "x": 1e999}}'),
    "a number too long": says('{"action": {"name": "connectPstn", "x": %s}}' % ("9" * 5000)),
    "too deep": says('{"action": {"name": "connectPstn", "x": %s}}' % ("[" * 200 + "]" * 200)),
    "much too deep": says('{"action": {"name": "connectPstn", "x": %s}}' % ("[" * 30000 + "]" * 30000)),
}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(pem: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(behave: Behaviour, **how: Any) -> Server:
        servers.append(Server(pem, behave, **how))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def upstream(pem: Path) -> Upstream:
    return Upstream(Clock(), lambda: ssl.create_default_context(cafile=str(pem)))


def forward(upstream: Upstream, url: str, *, within: float = 2.0, body: bytes = b"{}") -> str:
    return upstream.forward(
        url, body, content_type=sinch.JSON, application_key=sinch.APPLICATION, secret=SECRET, timeout=within
    )


def front_of(url: str, *rules: dict[str, Any]) -> Front:
    return Front.of(profile(*rules, upstream={"url": url}, routes=FALLBACK))


def ask(front: Front, upstream: Upstream, event: dict[str, Any]) -> dict[str, Any]:
    """Hand an event to a function that has a real client before it."""
    door = CallbackHandler(
        front.settings,
        applications=front.applications,
        queue=front.queue,
        calls=front.calls,
        upstream=upstream,
        telemetry=front.telemetry,
        clock=front.clock,
    )
    return door(event)


def answered(front: Front, upstream: Upstream, body: dict[str, Any] = ICE) -> dict[str, Any]:
    response = ask(front, upstream, sinch.signed(body))
    assert response["statusCode"] == 200
    answer: dict[str, Any] = json.loads(response["body"])
    return answer


def test_the_same_body_goes_on_signed_afresh_and_nothing_else_does(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve(says(json.dumps(CONNECT)))
    raw = b'{"event" : "ice",  "callid":"c", "to":{"type":"number","endpoint":"+1"},"x":"\xc3\xa9"}'
    event = sinch.signed(raw, content_type="application/json; charset=utf-8")
    secret_headers = {
        "cookie": "session=1",
        "x-forwarded-for": "192.0.2.7",
        "x-cb-campaign": "summer",
        "x-api-key": "key-1",
    }
    event["headers"] |= secret_headers

    ask(front_of(server.url, rule(consent=ANNOUNCEMENT)), upstream, event)

    [got] = server.received
    assert got.body == raw
    assert got.line == "POST /sinch/callbacks HTTP/1.1"
    assert set(got.headers) == {
        *("host", "content-length", "accept-encoding"),
        *("content-type", "x-timestamp", "authorization"),
    }
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    claimed = Authorization.parse(got.headers["authorization"])
    assert claimed.application_key == sinch.APPLICATION
    signed = SignedRequest(got.path, got.headers["content-type"], got.headers["x-timestamp"], got.body)
    verify(signed, claimed.signature, [SECRET])
    assert got.headers["authorization"] != event["headers"]["authorization"]
    for secret in (STORAGE_KEY, STORAGE_SECRET, sinch.SECRET, *secret_headers.values()):
        assert secret.encode() not in got.raw


def test_it_is_signed_with_the_current_secret_when_sinch_still_uses_the_previous(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve(says(json.dumps(CONNECT)))
    front = front_of(server.url)
    both = f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}"
    front.applications = Applications(application(profile(upstream={"url": server.url}), secrets=both))

    ask(front, upstream, sinch.signed(ICE, secret=sinch.PREVIOUS_SECRET))

    [got] = server.received
    signed = SignedRequest(got.path, got.headers["content-type"], got.headers["x-timestamp"], got.body)
    verify(signed, Authorization.parse(got.headers["authorization"]).signature, [SECRET])


def test_a_backend_may_answer_what_asks_no_question_without_content(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve(lambda connection, closing: connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n"))
    front = front_of(server.url)

    response = ask(front, upstream, sinch.signed(sinch.notify("recording_finished")))

    assert response["statusCode"] == 200
    assert not front.telemetry.counts["UpstreamFailures"]


def test_a_notification_that_the_queue_refuses_goes_on_all_the_same(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve(says("{}"))
    front = front_of(server.url)
    front.notifications.down = True

    response = ask(front, upstream, sinch.signed(sinch.notify("recording_finished")))

    assert response["statusCode"] == 503
    assert len(server.received) == 1


@pytest.mark.parametrize("body", [ICE, sinch.ace(), sinch.pie("main"), sinch.dice(), sinch.notify("amd")])
def test_every_callback_goes_on(body: dict[str, Any], serve: Callable[..., Server], upstream: Upstream) -> None:
    server = serve(says(json.dumps(CONNECT)))

    response = ask(front_of(server.url), upstream, sinch.signed(body))

    assert json.loads(server.received[0].body) == body
    assert response["body"] == (json.dumps(CONNECT) if body["event"] in ("ice", "ace", "pie") else "")


def test_a_callback_that_is_not_authentic_does_not_go_on(serve: Callable[..., Server], upstream: Upstream) -> None:
    server = serve(says(json.dumps(CONNECT)))

    assert ask(front_of(server.url), upstream, sinch.signed(ICE, secret="d3Jvbmc="))["statusCode"] == 401
    assert server.received == []


ODD = """ { "action" : {"name":"ConnectPSTN", "number": "+46700000003", "x": 1.50, "x": [null, {"y": "\\u00e9"}]},
 "instructions":[{"name":"say","text":"Hello","new":true}] , "later": 12345678901234567890 } """


def test_an_answer_to_which_nothing_is_added_goes_on_byte_for_byte(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    for front in (front_of(serve(says(ODD)).url), front_of(serve(says(ODD)).url, rule(sample=0))):
        assert ask(front, upstream, sinch.signed(ICE))["body"] == ODD
        assert front.facts.sent == []


def test_what_is_added_leaves_everything_else_as_it_was(serve: Callable[..., Server], upstream: Upstream) -> None:
    front = front_of(serve(says(ODD)).url, rule(consent=ANNOUNCEMENT))

    answer = answered(front, upstream)

    before = json.loads(ODD)
    assert answer["instructions"] == [
        *before["instructions"],
        {"name": "say", "text": ANNOUNCED, "locale": "en-US"},
    ]
    options = answer["action"].pop("recordingOptions")
    assert options["credentials"].startswith(STORAGE_KEY)
    assert answer["action"].pop("record") is True
    assert answer["action"] == before["action"]
    assert answer["later"] == before["later"]
    assert front.facts.sent[0].recording_id == sinch.CALL


KEYS = st.text(max_size=6).filter(lambda key: key not in ("name", "record", "recordingOptions", "conferenceId"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(
    rest=st.dictionaries(KEYS.filter(lambda key: key not in ("action", "instructions")), VALUES, max_size=4),
    action=st.dictionaries(KEYS, VALUES, max_size=4),
    instructions=st.lists(st.dictionaries(KEYS, VALUES, max_size=2), max_size=2),
    name=st.sampled_from(["connectPstn", "ConnectSip", "CONNECTMXP"]),
)
def test_unknown_fields_pass_whatever_they_are(
    rest: dict[str, Any], action: dict[str, Any], instructions: list[Any], name: str
) -> None:
    before = rest | {"action": action | {"name": name}, "instructions": instructions}
    front = front_of("https://voice.example/", rule())
    front.upstream.text = json.dumps(before)

    answer = front.answer(ICE)

    assert answer["action"].pop("record") is True
    assert answer["action"].pop("recordingOptions")
    assert answer == before


@pytest.mark.parametrize("name", ["hangup", "runMenu", "park", "connectStream", "continue", "somethingNew"])
def test_an_answer_that_does_not_connect_is_not_touched(name: str) -> None:
    text = json.dumps({"action": {"name": name}})
    front = front_of("https://voice.example/", rule(consent=ANNOUNCEMENT))
    front.upstream.text = text

    assert front(sinch.signed(ICE))["body"] == text
    assert front.line.fields["outcome"] == "not-recorded"


@pytest.mark.parametrize("conference_id", ["standup", "", 7, None, ["standup"], "\ud800"])
def test_a_conference_is_not_recorded_on_the_word_of_one_participants_app(conference_id: Any) -> None:
    text = json.dumps({"action": {"name": "connectConf", "conferenceId": conference_id}})
    front = front_of("https://voice.example/", rule(when={"toType": "did"}, consent=HEADER))
    front.upstream.text = text

    assert front(sinch.signed(ICE | {"callHeaders": AGREED}))["body"] == text


def test_a_conference_is_recorded_as_the_conferences() -> None:
    front = front_of("https://voice.example/", rule(when={"conference": "stand*"}))
    front.upstream.text = '{"action": {"name": "connectCONF", "conferenceId": "standup"}}'

    assert captures(front.answer(ICE))
    assert front.facts.sent[0].recording_id == "standup"


def test_a_conference_whose_id_cannot_be_read_is_not_recorded_either() -> None:
    front = front_of("https://voice.example/", rule())
    for conference_id in (7, "\ud800", "", None):
        front.upstream.text = json.dumps({"action": {"name": "connectConf", "conferenceId": conference_id}})
        assert not captures(front.answer(ICE))


def test_the_backend_answers_what_follows_and_nothing_is_added_there() -> None:
    front = front_of("https://voice.example/", rule())
    front.upstream.text = json.dumps({"action": {"name": "connectConf", "conferenceId": "standup"}})

    for body in (sinch.ace(), sinch.pie("main")):
        assert front.answer(body) == json.loads(front.upstream.text)


def assert_fell_back(front: Front, answer: dict[str, Any]) -> None:
    assert answer["action"].items() >= PSTN_ACTION.items()
    assert captures(answer)
    assert front.telemetry.counts["UpstreamFailures"] == 1
    assert front.line.level == "warning"
    assert front.line.fields["problem"].startswith("upstream: ")


@pytest.mark.parametrize("behaviour", REFUSED | MEANINGLESS)
def test_a_backend_without_a_usable_answer_is_fallen_back_from(
    behaviour: str, serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve((REFUSED | MEANINGLESS)[behaviour])
    front = front_of(server.url, rule())
    started = monotonic()

    assert_fell_back(front, answered(front, upstream))

    assert monotonic() - started < MAX_WAIT
    assert [each.path for each in server.received] == ["/sinch/callbacks"], "nothing is followed or repeated"


def has_ipv6() -> bool:
    try:
        socket.create_server((LOOPBACK_V6, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_backend_named_by_its_ipv6_address_is_asked(serve: Callable[..., Server], upstream: Upstream) -> None:
    server = serve(says(json.dumps(CONNECT)), address=LOOPBACK_V6)
    front = front_of(server.url, rule())

    assert answered(front, upstream)["action"]["number"] == CONNECT["action"]["number"]
    assert [each.headers["host"] for each in server.received] == [f"[::1]:{server.port}"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://[::1]/x", ("::1", 443)),
        ("https://[2001:db8::7]:8443", ("2001:db8::7", 8443)),
        ("https://voice.example/x", ("voice.example", 443)),
        ("https://voice.example:8443/x", ("voice.example", 8443)),
    ],
)
def test_the_host_and_the_port_that_the_url_names_are_connected_to(
    url: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    asked = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)

    with pytest.raises(UpstreamFailed):
        forward(upstream, url)
    assert asked == [address]


@pytest.mark.parametrize("event", ["ace", "pie"])
def test_what_follows_the_connect_goes_on_when_the_backend_fails(event: str, upstream: Upstream) -> None:
    front = front_of(f"https://{LOOPBACK}:{closed_port()}/", rule())
    body = sinch.ace() if event == "ace" else sinch.pie("main")

    assert answered(front, upstream, body) == {"action": {"name": "continue"}}


def closed_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_port_where_nobody_listens_is_fallen_back_from(upstream: Upstream) -> None:
    front = front_of(f"https://{LOOPBACK}:{closed_port()}/", rule())

    assert_fell_back(front, answered(front, upstream))


def test_a_certificate_that_nobody_vouches_for_is_refused(
    serve: Callable[..., Server], tmp_path: Path, upstream: Upstream
) -> None:
    server = serve(says(json.dumps(CONNECT)))
    trusts_another = Upstream(Clock(), lambda: ssl.create_default_context(cafile=str(certificate(tmp_path))))

    for distrustful, url in (
        (trusts_another, server.url),
        (Upstream(Clock()), server.url),
        (upstream, server.url.replace(LOOPBACK, "localhost")),
    ):
        with pytest.raises(UpstreamFailed):
            forward(distrustful, url)
    assert server.received == []


def test_the_default_is_to_trust_whom_the_system_trusts() -> None:
    context = Upstream()._tls()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_sinch_is_answered_within_4_seconds_whatever_the_backend_does(serve: Callable[..., Server], pem: Path) -> None:
    """All of them at once, each behind a function of its own, since each takes its whole time."""
    servers = [serve(behave) for behave in HANGING.values()] + [serve(says(""), handshakes=False)]

    def timed(server: Server) -> tuple[float, Front, dict[str, Any]]:
        front = front_of(server.url, rule())
        own = Upstream(Clock(), lambda: ssl.create_default_context(cafile=str(pem)))
        started = monotonic()
        answer = answered(front, own)
        return monotonic() - started, front, answer

    with ThreadPoolExecutor(len(servers)) as pool:
        results = list(pool.map(timed, servers))

    for seconds, front, answer in results:
        assert seconds < MAX_WAIT
        assert_fell_back(front, answer)


def test_a_slow_start_leaves_the_backend_less_time(
    serve: Callable[..., Server], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameters may have taken most of the time there is."""
    server = serve(HANGING["hangs before its headers"])
    front = front_of(server.url, rule())
    get = front.applications.get
    monkeypatch.setattr(limits, "UPSTREAM_DEADLINE_SECONDS", 0.6)

    def slowly(key: str) -> Any:
        sleep(0.4)
        return get(key)

    monkeypatch.setattr(front.applications, "get", slowly)
    started = monotonic()
    assert_fell_back(front, answered(front, upstream))
    assert monotonic() - started < limits.MAX_UPSTREAM_SECONDS

    monkeypatch.setattr(limits, "UPSTREAM_DEADLINE_SECONDS", 0.1)
    asked = len(server.received)
    assert captures(answered(front, upstream))
    assert len(server.received) == asked, "without time it is not asked at all"


@pytest.mark.parametrize("behaviour", [*HANGING, "hangs in the handshake"])
def test_no_thread_is_left_with_a_backend_that_hangs(
    behaviour: str, serve: Callable[..., Server], upstream: Upstream
) -> None:
    hanging = serve(HANGING[behaviour]) if behaviour in HANGING else serve(says(""), handshakes=False)
    good = serve(says("good"))

    for _ in range(6):
        with pytest.raises(UpstreamFailed):
            forward(upstream, hanging.url, within=0.1)

    assert forward(upstream, good.url) == "good"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: forward(upstream, good.url), range(4))) == ["good"] * 4


def test_what_was_given_up_before_it_was_sent_is_not_sent_later(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    hanging, good = serve(HANGING["hangs before its headers"]), serve(says("good"))

    def hang() -> None:
        with pytest.raises(UpstreamFailed):
            forward(upstream, hanging.url, within=0.8)

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(hang) for _ in range(4)]
        while len(hanging.received) < 4:
            sleep(0.01)
        with pytest.raises(UpstreamFailed, match="no answer in time"):
            forward(upstream, good.url, within=0.1, body=b"late")
        for each in busy:
            each.result()

    assert forward(upstream, good.url, body=b"in time") == "good"
    assert [each.body for each in good.received] == [b"in time"]


@pytest.mark.parametrize("content_type", ["application/json\r\nx-evil: 1", "application/json \u2603", "\ud800"])
def test_a_content_type_that_is_no_header_is_not_sent(
    content_type: str, serve: Callable[..., Server], upstream: Upstream
) -> None:
    server = serve(says("good"))

    with pytest.raises(UpstreamFailed):
        upstream.forward(
            server.url,
            b"{}",
            content_type=content_type,
            application_key=sinch.APPLICATION,
            secret=SECRET,
            timeout=2,
        )
    assert server.received == []


def test_a_url_without_a_path_is_signed_for_its_root(serve: Callable[..., Server], upstream: Upstream) -> None:
    server = serve(says("good"))

    forward(upstream, server.url.removesuffix("/sinch/callbacks"))

    [got] = server.received
    signed = SignedRequest("/", sinch.JSON, got.headers["x-timestamp"], got.body)
    verify(signed, Authorization.parse(got.headers["authorization"]).signature, [SECRET])
    assert got.path == "/"


def test_a_foreign_answer_is_masked_for_people() -> None:
    front = front_of("https://voice.example/", rule())
    front.upstream.text = json.dumps(CONNECT)
    options = front.answer(ICE)["action"]["recordingOptions"]

    recorder = application(profile(rule())).recorder
    assert recorder is not None
    made = recorder.make_options(
        recorder.profile.rules[0], call_id=sinch.CALL, conference_id=None, key=sinch.APPLICATION, at=sinch.NOW
    )
    shown = UpstreamSvaml(json.dumps(CONNECT)).with_additions((), made)
    assert shown.to_masked()["action"]["recordingOptions"] == options | {"credentials": "**********"}
    assert STORAGE_SECRET not in repr(shown)
