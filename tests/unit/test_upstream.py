"""A backend behind the recorder: real HTTPS on this machine, well-behaved and otherwise."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.adapters import limits
from call_recorder.adapters.upstream import UpstreamClient
from call_recorder.answering.application import Application
from call_recorder.facts.errors import UpstreamFailed
from call_recorder.sinch.signature import Authorization, SignedRequest, verify
from call_recorder.sinch.svaml import UpstreamSvaml
from tests import sinch
from tests.fakes import STORAGE_KEY, STORAGE_SECRET, Applications, Clock, Front, application
from tests.fakes import Backend as StandIn
from tests.loopback import LOOPBACK, Server, certificate, closed_port
from tests.profiles import AGREED, ANNOUNCED, ANNOUNCEMENT, HEADER, PSTN_ACTION, profile, rule
from tests.svaml import captures

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

MAX_WAIT = 4.0
SECRET = base64.b64decode(sinch.SECRET)
ICE = sinch.ice("did", "+12015550100")
CONNECT = {"action": {"name": "connectPstn", "number": "+46700000003"}}
CONNECT_TEXT = json.dumps(CONNECT)

Behaviour = Callable[[Callable[[bytes], object], threading.Event], object]
"""Answers a request by a function that sends bytes. The event is set when the test is over."""


class Backend(Server):
    """A backend that answers every request with one behaviour, or without one never ends its TLS handshake."""

    def __init__(self, certificate: Path, behave: Behaviour | None) -> None:
        self.behave = behave
        self.received: list[Request] = []
        super().__init__(Request, certificate)
        self.url += "/sinch/callbacks"


class Request(BaseHTTPRequestHandler):
    """A request as it came over the wire."""

    server: Backend
    timeout = 5

    def handle(self) -> None:
        if self.server.behave:
            super().handle()
        else:
            self.server.closing.wait(5)

    def do_POST(self) -> None:
        assert self.server.behave
        self.body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(self)
        self.server.behave(self.wfile.write, self.server.closing)

    def assert_signed(self) -> None:
        claimed = Authorization.parse(self.headers["authorization"])
        assert claimed.application_key == sinch.APPLICATION
        signed = SignedRequest(self.path, self.headers["content-type"], self.headers["x-timestamp"], self.body)
        verify(signed, claimed.signature, [SECRET])


def says(body: str | bytes, status: str = "200 OK", *more: str) -> Behaviour:
    """Answer at once."""
    content = body.encode() if isinstance(body, str) else body
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *more, "", ""]).encode()
    return lambda send, closing: send(head + content)


def trickles(start: bytes, drop: bytes = b"") -> Behaviour:
    """Send the start of an answer, and then a drop again and again; without a drop, hang."""

    def behave(send: Callable[[bytes], object], closing: threading.Event) -> None:
        send(start)
        until = monotonic() + 2 * MAX_WAIT
        while not closing.wait(0.03) and monotonic() < until:
            send(drop)

    return behave


CONNECTS = says(CONNECT_TEXT)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HANGING: dict[str, Behaviour | None] = {
    "hangs in the handshake": None,
    "hangs before its headers": trickles(b""),
    "hangs in its headers": trickles(OK),
    "hangs after its headers": trickles(OK + b"\r\n{"),
    "trickles its headers": trickles(OK + b"x-a: ", b"a"),
    "trickles its body": trickles(OK + b"\r\n", b" "),
    "trickles chunks": trickles(CHUNKED, b"1\r\n \r\n"),
    "sends 100 Continue for ever": trickles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
REFUSED: dict[str, Behaviour] = {
    "201": says(CONNECT_TEXT, "201 Created"),
    "redirect": says("", "308 Permanent Redirect", "Location: /elsewhere"),
    "huge": says(json.dumps(CONNECT | {"more": "x" * 65536})),
    "huge in chunks": trickles(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "not UTF-8": says(b'{"action": {"name": "\xff"}}'),
    "no HTTP": says("", "OK\r\n\r\n\x00"),
    "garbage": trickles(b"\x00" * 70000),
    "nothing": lambda send, closing: None,
    "empty": says(""),
}
NUMBERS = ["NaN", "-Infinity", "1e999", "9" * 5000, "[" * 200 + "]" * 200, "[" * 30000 + "]" * 30000]
MEANINGLESS = [
    *("", "<html>", CONNECT_TEXT[:-1], "[]", '{"instructions": []}', '{"action": {}}', '{"action": {"name": 7}}'),
    '{"instructions": {}, "action": {"name": "hangup"}}',
    *(f'{{"action": {{"name": "connectPstn", "x": {number}}}}}' for number in NUMBERS),
]
Serve = Callable[..., Backend]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(pem: Path) -> Iterator[Serve]:
    servers: list[Backend] = []

    def make(behave: Behaviour | None = CONNECTS) -> Backend:
        servers.append(Backend(pem, behave))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def trusting(pem: Path) -> UpstreamClient:
    return UpstreamClient(Clock(), lambda: ssl.create_default_context(cafile=str(pem)))


@pytest.fixture
def upstream(pem: Path) -> UpstreamClient:
    return trusting(pem)


def forward(
    upstream: UpstreamClient, url: str, *, within: float = 2.0, body: bytes = b"{}", content_type: str = sinch.JSON
) -> str:
    return upstream.forward(
        url, body, content_type=content_type, application_key=sinch.APPLICATION, secret=SECRET, timeout=within
    )


def front_of(upstream: UpstreamClient | StandIn, url: str, *rules: dict[str, Any]) -> Front:
    front = Front.of(profile(*rules, upstream={"url": url}, routes=[{"to": "*", "action": PSTN_ACTION}]))
    front.upstream = upstream  # type: ignore[assignment]
    return front


def saying(text: str, *rules: dict[str, Any]) -> Front:
    """Return a function whose backend is a stand-in that answers with a text."""
    return front_of(StandIn(text), "https://voice.example/", *rules)


def test_only_the_body_is_forwarded_and_it_is_signed_again(serve: Serve, upstream: UpstreamClient) -> None:
    server = serve()
    raw = b'{"event" : "ice",  "callid":"c", "to":{"type":"number","endpoint":"+1"},"x":"\xc3\xa9"}'
    event = sinch.signed(raw, content_type="application/json; charset=utf-8")
    hidden = {"cookie": "session=1", "x-forwarded-for": "192.0.2.7", "x-cb-campaign": "summer", "x-api-key": "key-1"}
    event["headers"] |= hidden

    answer = json.loads(front_of(upstream, server.url, rule(consent=ANNOUNCEMENT))(event)["body"])

    assert answer["action"]["number"] == CONNECT["action"]["number"]
    [got] = server.received
    assert got.body == raw
    assert got.requestline == "POST /sinch/callbacks HTTP/1.1"
    sent = {name.lower(): value for name, value in got.headers.items()}
    assert sent.keys() == {
        *("host", "content-length", "accept-encoding"),
        *("content-type", "x-timestamp", "authorization"),
    }
    assert sent["host"] == f"{LOOPBACK}:{server.server_port}"
    assert sent["content-type"] == "application/json; charset=utf-8"
    got.assert_signed()
    assert sent["authorization"] != event["headers"]["authorization"]
    for secret in (STORAGE_KEY, STORAGE_SECRET, sinch.SECRET, *hidden.values()):
        assert secret not in f"{sent}{got.body!r}"


def test_the_current_secret_signs_also_for_a_url_without_a_path(serve: Serve, upstream: UpstreamClient) -> None:
    """Sinch itself still signs with the previous secret here."""
    server = serve(says(ODD + "gööd"))
    front = front_of(upstream, root := server.url.removesuffix("/sinch/callbacks"))
    both = f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}"
    front.applications = Applications(application(profile(upstream={"url": root}), secrets=both))

    assert front.status(sinch.signed(ICE, secret=sinch.PREVIOUS_SECRET)) == 200
    assert forward(upstream, root) == ODD + "gööd"

    for got in server.received:
        assert got.path == "/"
        got.assert_signed()


@pytest.mark.parametrize("body", [ICE, sinch.ace(), sinch.pie("main"), sinch.dice(), sinch.notify("amd")])
def test_every_callback_is_forwarded_unless_it_is_forged(
    body: dict[str, Any], serve: Serve, upstream: UpstreamClient
) -> None:
    server = serve()
    front = front_of(upstream, server.url, rule())

    assert front.status(sinch.signed(body, secret="d3Jvbmc=")) == 401
    response = front(sinch.signed(body))

    assert [json.loads(each.body) for each in server.received] == [body]
    assert captures(json.loads(response["body"] or CONNECT_TEXT)) == (body["event"] == "ice")
    assert body["event"] == "ice" or response["body"] == (CONNECT_TEXT if body["event"] in ("ace", "pie") else "")


@pytest.mark.parametrize("queue_is_down", [False, True])
def test_a_notification_is_forwarded_and_needs_no_answer(
    queue_is_down: bool, serve: Serve, upstream: UpstreamClient
) -> None:
    server = serve(lambda send, closing: send(b"HTTP/1.1 204 No Content\r\n\r\n"))
    front = front_of(upstream, server.url)
    front.notifications.down = queue_is_down

    assert front.status(sinch.signed(sinch.notify("recording_finished"))) == (503 if queue_is_down else 200)
    assert len(server.received) == 1
    assert not front.telemetry.counts["UpstreamFailures"]


ODD = """ { "action" : {"name":"ConnectPSTN", "number": "+46700000003", "x": 1.50, "x": [null, {"y": "\\u00e9"}]},
 "instructions":[{"name":"say","text":"Hello","new":true}] , "later": 12345678901234567890 } """


def to_conference(conference_id: Any) -> str:
    return json.dumps({"action": {"name": "connectConf", "conferenceId": conference_id}})


BY_HEADER = rule(when={"toType": "did"}, consent=HEADER)
NO_CONNECT = ["hangup", "connectStream", "somethingNew"]
NO_ID = [to_conference(each) for each in (7, "\ud800", "", None, ["standup"])]


@pytest.mark.parametrize(
    ("text", "rules", "outcome"),
    [
        (ODD, [], "not-recorded"),
        (ODD, [rule(sample=0)], "not-sampled"),
        (to_conference("standup"), [BY_HEADER], "no-consent"),
        *(
            (json.dumps({"action": {"name": name}}), [rule(consent=ANNOUNCEMENT)], "not-recorded")
            for name in NO_CONNECT
        ),
        *((text, [written], "not-recorded") for text in NO_ID for written in (BY_HEADER, rule())),
    ],
)
def test_an_unrecorded_answer_reaches_sinch_byte_for_byte(text: str, rules: list[dict[str, Any]], outcome: str) -> None:
    """One participant's header agrees to nothing for a conference, and one without an id cannot be traced."""
    front = saying(text, *rules)

    assert front(sinch.signed(ICE | {"callHeaders": AGREED}))["body"] == text
    assert front.line.fields["outcome"] == outcome
    assert front.facts.sent == []


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
def test_a_recorded_answer_keeps_all_that_the_backend_wrote(
    rest: dict[str, Any], action: dict[str, Any], instructions: list[Any], name: str
) -> None:
    before = rest | {"action": action | {"name": name}, "instructions": instructions}
    front = saying(json.dumps(before), rule(consent=ANNOUNCEMENT))

    answer = front.answer(ICE)

    assert answer["action"].pop("record") is True
    assert answer["action"].pop("recordingOptions")["credentials"].startswith(STORAGE_KEY)
    assert answer["instructions"].pop() == {"name": "say", "text": ANNOUNCED, "locale": "en-US"}
    assert answer == before
    assert front.facts.sent[0].recording_id == sinch.CALL


def test_a_conference_is_recorded_under_its_own_id() -> None:
    front = saying('{"action": {"name": "connectCONF", "conferenceId": "standup"}}', rule(when={"conference": "stan*"}))

    assert captures(front.answer(ICE))
    assert front.facts.sent[0].recording_id == "standup"


def assert_fell_back(front: Front) -> None:
    answer = front.answer(ICE)
    assert answer["action"].items() >= PSTN_ACTION.items()
    assert captures(answer)
    assert front.telemetry.counts["UpstreamFailures"] == 1
    assert front.line.level == "warning"
    assert front.line.fields["problem"].startswith("upstream: ")


@pytest.mark.parametrize("behaviour", REFUSED)
def test_the_profile_answers_if_the_backend_refuses(behaviour: str, serve: Serve, upstream: UpstreamClient) -> None:
    server = serve(REFUSED[behaviour])
    started = monotonic()

    assert_fell_back(front_of(upstream, server.url, rule()))

    assert monotonic() - started < MAX_WAIT
    assert [each.path for each in server.received] == ["/sinch/callbacks"], "nothing is followed or repeated"


@pytest.mark.parametrize("text", MEANINGLESS, ids=lambda text: text[:60])
def test_the_profile_answers_if_the_backends_answer_is_no_svaml(text: str) -> None:
    assert_fell_back(saying(text, rule()))


def test_the_call_goes_on_if_the_backends_port_is_closed(upstream: UpstreamClient) -> None:
    url = f"https://{LOOPBACK}:{closed_port()}/"

    assert_fell_back(front_of(upstream, url, rule()))
    for body in (sinch.ace(), sinch.pie("main")):
        assert front_of(upstream, url, rule()).action(body) == {"name": "continue"}


@pytest.mark.parametrize(("url", "host"), [("https://[::1]/x", "::1"), ("https://voice.example/x", "voice.example")])
def test_a_url_without_a_port_means_port_443(
    url: str, host: str, monkeypatch: pytest.MonkeyPatch, upstream: UpstreamClient
) -> None:
    connect = Mock(side_effect=ConnectionRefusedError)
    monkeypatch.setattr(socket, "create_connection", connect)

    with pytest.raises(UpstreamFailed):
        forward(upstream, url)
    assert [each.args[0] for each in connect.call_args_list] == [(host, 443)]


def test_a_backend_without_a_trusted_certificate_receives_nothing(
    serve: Serve, tmp_path: Path, upstream: UpstreamClient
) -> None:
    server = serve()

    for distrustful, url in (
        (trusting(certificate(tmp_path)), server.url),
        (UpstreamClient(Clock()), server.url),
        (upstream, server.url.replace(LOOPBACK, "localhost")),
    ):
        with pytest.raises(UpstreamFailed):
            forward(distrustful, url)
    assert server.received == []
    assert UpstreamClient()._tls().check_hostname


def test_sinch_is_answered_within_4_seconds_whatever_the_backend_does(serve: Serve, pem: Path) -> None:
    """Asks all backends at once, each by a client of its own, since each takes its whole time."""
    started = monotonic()
    with ThreadPoolExecutor(len(HANGING)) as pool:
        fronts = [front_of(trusting(pem), serve(behave).url, rule()) for behave in HANGING.values()]
        list(pool.map(assert_fell_back, fronts))

    assert monotonic() - started < MAX_WAIT


def test_slow_parameters_leave_the_backend_less_time(
    serve: Serve, upstream: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(HANGING["hangs before its headers"])
    front = front_of(upstream, server.url, rule())
    get = front.applications.get

    def slowly(key: str) -> Application:
        sleep(0.4)
        return get(key)

    monkeypatch.setattr(front.applications, "get", slowly)
    monkeypatch.setattr(limits, "UPSTREAM_DEADLINE_SECONDS", 0.6)
    started = monotonic()

    assert_fell_back(front)
    assert monotonic() - started < limits.MAX_UPSTREAM_SECONDS

    monkeypatch.setattr(limits, "UPSTREAM_DEADLINE_SECONDS", 0.1)
    assert captures(front.answer(ICE))
    assert len(server.received) == 1, "without time it is not asked at all"


@pytest.mark.parametrize("behaviour", HANGING)
def test_a_backend_that_hangs_keeps_no_thread(behaviour: str, serve: Serve, upstream: UpstreamClient) -> None:
    hanging, good = serve(HANGING[behaviour]), serve(says("good"))

    for _ in range(6):
        with pytest.raises(UpstreamFailed):
            forward(upstream, hanging.url, within=0.1)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: forward(upstream, good.url), range(4))) == ["good"] * 4


def test_an_abandoned_request_is_not_sent_later(serve: Serve, upstream: UpstreamClient) -> None:
    hanging, good = serve(HANGING["hangs before its headers"]), serve(says("good"))

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(forward, upstream, hanging.url, within=0.8) for _ in range(4)]
        while len(hanging.received) < 4:
            sleep(0.01)
        with pytest.raises(UpstreamFailed, match="no answer in time"):
            forward(upstream, good.url, within=0.1, body=b"late")
    assert all(isinstance(each.exception(), UpstreamFailed) for each in busy)

    assert forward(upstream, good.url, body=b"in time") == "good"
    assert [each.body for each in good.received] == [b"in time"]


@pytest.mark.parametrize("content_type", ["application/json\r\nx-evil: 1", "application/json \u2603", "\ud800"])
def test_a_content_type_that_is_no_header_is_not_sent(
    content_type: str, serve: Serve, upstream: UpstreamClient
) -> None:
    server = serve()

    with pytest.raises(UpstreamFailed):
        forward(upstream, server.url, content_type=content_type)
    assert server.received == []


def test_the_backends_answer_is_masked_in_logs() -> None:
    recorder = application(profile(rule())).recorder
    assert recorder is not None
    made = recorder.make_options(
        recorder.profile.rules[0], call_id=sinch.CALL, conference_id=None, key=sinch.APPLICATION, at=sinch.NOW
    )

    shown = UpstreamSvaml(CONNECT_TEXT).with_additions((), made)

    sent = json.loads(shown.to_json())["action"]["recordingOptions"]
    assert sent["credentials"].startswith(STORAGE_KEY)
    assert shown.to_masked()["action"]["recordingOptions"] == sent | {"credentials": "**********"}
    assert STORAGE_SECRET not in repr(shown)
