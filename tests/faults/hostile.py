"""Inputs that somebody made up to do harm: callbacks as API Gateway delivers them, and batches of queue messages.

Everything is drawn from one seeded random source, so an input is known by its seed and its number.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final

from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallEnd,
    CallingError,
    CallStart,
    Consent,
    Notification,
    RecordingRequest,
    WithdrawnAnswer,
)
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    FileStoredFact,
    NotifiedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.facts.storage_urls import location_of
from tests import sinch
from tests.fakes import BUCKET

PROBE: Final = "pr0be-of-what-no-log-may-hold"
"""Planted where callers' words are: none of these may get into a log."""

CALLER: Final = "+46709998877"
"""The caller's number of well-formed ICEs. It is in no other field, so no log may hold it."""

WINDOW: Final = timedelta(seconds=300)

_KIB: Final = 1024
_PIECES: Final = (
    *("", " ", "a", "A", "0", "-", "_", ".", "..", "...", "/", "//", "\\", "%", ":", "?", "#", "&", "=", "*", "@"),
    *("../", "..\\", "/../", "/./", "./", "a/../b", "../../../../etc/passwd", "%2e%2e", "%2e%2e%2f", "..%2f", "%252e"),
    *("%00", "%0a", "s3://", "s3://other/", "gs://x/", "file:///etc/passwd", "https://169.254.169.254/", "//host/"),
    *("{callId}", "{conferenceId}", "{date}", "{format}", "{", "}", "{}", "{{callId}}", "{0}", "%s", "%(x)s", "${x}"),
    *("\0", "\x01", "\x07", "\x1b[2J", "\n", "\r\n", "\t", "\x7f", "\x85", "\u2028", "\u200b", "\u202e", "\ufeff"),
    *("\ufffe", "\uffff", "\U0001f600", "\U0010ffff", "\U0001d7d8", "é", "e\u0301", "ß", "İ", "ı", "\u0660", "\uff11"),
    *('"', "'", "`", "<script>", "';--", "$(id)", "${jndi:ldap://x}", "\\u0000", "\\", '{"$ref":1}', "=1+1", "[", "]"),
    *("null", "true", "NaN", "Infinity", "-1", "1e999", "0x10", "recorder-call-", "unattributed-", "no-conference"),
    *("main", "main.", "main.bm8", "key.1", "call-1", "standup", "recordings/", ".mp3", "-transcript.json"),
)
_SURROGATES: Final = ("\ud800", "\udfff", "a\ud83d", "\udc00\ud800")
_LENGTHS: Final = (63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049, 8192)
_BLOCKS: Final = ((0, 0x20), (0x20, 0x7F), (0x80, 0x17F), (0x600, 0x6FF), (0x2000, 0x206F), (0xE000, 0xE0FF))
_NUMBERS: Final = (0, 1, -1, 10**9, 2**31, 2**63, 2**64, 10**40, 0.1, -0.0, 1e308, 5e-324, 1e22, 2**53 + 1)
_DIGITS: Final = (
    "9" * 4300,
    "9" * 4301,
    "-" + "1" * 5000,
    "0." + "1" * 5000,
    "1e" + "9" * 50,
    "1E-99999",
    "1" * 60_000,
)
_CONSTANTS: Final = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "0x1F",
    "01",
    "+1",
    ".5",
    "1.",
    "True",
    "undefined",
)
_TIMES: Final = (
    *("2026-11-23T09:30:00Z", "2026-11-23T09:30:00", "2026-11-23T09:30:00.1234567Z", "2026-11-23T09:30:00+00:00"),
    *(
        "2999-12-31T23:59:59Z",
        "2000-01-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "9999-12-31T23:59:59Z",
    ),
    *(
        "2026-11-23T09:30:60Z",
        "٢٠٢٦-11-23T09:30:00Z",
        "1764000000",
        "now",
        "2026-11-23",
        "2026-11-23T09:30:00." + "0" * 5000,
    ),
)
_EXTREME_TIMES: Final = (*_TIMES, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-11-23T09:30:00+14:00")
_EXTREME_NUMBERS: Final = (*_NUMBERS, 10**39 - 1, 10**400, -(10**15), float("inf"), float("nan"))
_A_TIME: Final = re.compile(r"2[0-9-]{9}T[0-9:]{8}Z")
_NO_TICKETS: Final = (
    "",
    "main",
    "main.",
    "main.e30",
    "main.W10",
    "main.WzEsMiwzLDRd",
    "main.bm8",
    "main._w",
    "main.=",
    "other.W10",
)
_TO_TYPES: Final = ("number", "did", "username", "sip", "conference") * 3 + ("NUMBER", "Sip", "mxp", "", " did ")
_NOTIFICATIONS: Final = (
    *("recording_finished", "recording_available", "transcription_available", "RECORDING_AVAILABLE"),
    *("callingerror", "CallingError", "amd", "", "recording_available\0"),
)
_EVENTS: Final = ("ice",) * 6 + ("ace", "pie", "pie", "dice", "dice", "notify", "notify", "notify", "surprise")
_CALLS: Final = (sinch.CALL, "call-1", "call-2", "CALL-1", "call_1", "call-1.", "call 1")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A callback that somebody sends.

    ``authentic`` says whether it is signed by the application, in time. ``readable`` is true only of a body that
    must be taken for an object with an ``event``, whatever texts are in it; others may be.
    """

    kind: str
    event: dict[str, Any]
    body: bytes
    authentic: bool
    readable: bool


class Words:
    """Draws texts and values of JSON."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def text(self) -> str:
        """Return a text: mostly short, with what has a meaning to somebody on its way."""
        random = self.random
        draw = random.random()
        if draw < 0.5:
            return "".join(random.choices(_PIECES, k=random.choice((1, 1, 2, 3))))
        if draw < 0.75:
            low, high = random.choice(_BLOCKS)
            return "".join(chr(random.randrange(low, high)) for _ in range(random.randrange(24)))
        if draw < 0.9:
            piece = random.choice(_PIECES) or "x"
            return (piece * _LENGTHS[-1])[: random.choice(_LENGTHS)]
        if draw < 0.93:
            return random.choice(_SURROGATES) + random.choice(_PIECES)
        return random.choice(("", "+", "00")) + str(random.randrange(10**12))

    def value(self, depth: int = 3) -> Any:
        """Return a value of any type that JSON has, and of some that only Python's writer has."""
        random = self.random
        draw = random.random()
        if draw < 0.4:
            return self.text()
        if draw < 0.55:
            return random.choice(_NUMBERS)
        if draw < 0.7:
            return random.choice((None, True, False, [], {}, "", float("nan"), float("inf")))
        if depth == 0:
            return 0
        if draw < 0.85:
            return [self.value(depth - 1) for _ in range(random.randrange(4))]
        return {self.text(): self.value(depth - 1) for _ in range(random.randrange(4))}

    def instead_of(self, old: Any) -> Any:
        """Return a value of the same kind, such as nobody would write."""
        if isinstance(old, str):
            return self.random.choice(_EXTREME_TIMES) if _A_TIME.fullmatch(old) else self.text()
        if isinstance(old, int | float) and not isinstance(old, bool):
            return self.random.choice(_EXTREME_NUMBERS)
        return self.value()


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object or list in a value of JSON with each of its keys or indexes."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places_in(inner)


def put_somewhere(random: Random, holder: dict[str, Any], new: Any | Callable[[Any], Any]) -> None:
    """Put a value, or what is made of the one that is there, in the place of another one somewhere in an object."""
    if places := list(places_in(holder)):
        where, key = random.choice(places)
        where[key] = new(where[key]) if callable(new) else new


def drop_something(random: Random, holder: dict[str, Any]) -> None:
    """Take a field out of an object or of one in it."""
    if places := [(where, key) for where, key in places_in(holder) if isinstance(where, dict)]:
        where, key = random.choice(places)
        del where[key]


class Callbacks:
    """Draws callbacks.

    Args:
        seed: of all that is drawn.
        tickets: what keys of menus that were played return, to which more may be added: a PIE may bring one back.
    """

    def __init__(self, seed: str, tickets: Iterable[str]) -> None:
        self.random = Random(seed)
        self.tickets = deque(tickets, maxlen=50)
        self._words = Words(self.random)
        self._bodies: list[tuple[float, str, Callable[[], tuple[bytes, bool]]]] = [
            (300, "words", self._body_of_words),
            (250, "types", self._body_of_wrong_types),
            (50, "missing fields", self._body_without_fields),
            (50, "other fields", self._body_with_other_fields),
            (80, "truncated", self._truncated),
            (80, "damaged", self._damaged),
            (40, "not UTF-8", self._not_utf8),
            (30, "another encoding", self._otherwise_encoded),
            (60, "doubled fields", self._with_doubled_fields),
            (60, "odd numbers", self._with_odd_numbers),
            (30, "no object", self._no_object),
            (10, "nested", self._nested),
            (4, "large", self._large),
            (0.2, "huge", self._huge),
        ]
        self._envelopes: list[tuple[int, Callable[[bytes], tuple[str, dict[str, Any], bool]]]] = [
            (700, self._signed),
            (40, self._signed_by_another),
            (40, self._unsigned),
            (40, self._hostile_headers),
            (40, self._stale),
            (40, self._tampered),
            (40, self._signed_over_something_else),
            (30, self._in_odd_envelope),
        ]

    def draw(self) -> Attempt:
        """Return the next callback."""
        weights = [weight for weight, _, _ in self._bodies]
        [(_, kind, make)] = self.random.choices(self._bodies, weights)
        body, readable = make()
        [(_, wrap)] = self.random.choices(self._envelopes, [weight for weight, _ in self._envelopes])
        envelope, event, authentic = wrap(body)
        return Attempt(f"{kind}, {envelope}", event, body, authentic, readable)

    # What is sent: bodies, each with whether any reader takes it.

    def _well_formed(self) -> dict[str, Any]:
        random = self.random
        event = random.choice(_EVENTS)
        call = self._identifier()
        match event:
            case "ice":
                endpoint = random.choice((self._words.text(), f"+1202555010{random.randrange(10)}"))
                body = sinch.ice(random.choice(_TO_TYPES), endpoint, callid=call, cli=CALLER)
                body["domain"] = body["originationType"] = random.choice(
                    ("pstn", "pstn", "PSTN", "sip", "mxp", "MXP", "")
                )
                body |= {"custom": PROBE, "callHeaders": [{"key": PROBE, "value": PROBE}, *self._headers()]}
            case "ace":
                body = sinch.ace(callid=call)
            case "pie":
                ended = random.choice(("return",) * 6 + ("timeout", "hangup", "invalidinput", "error", "sequence", ""))
                body = sinch.pie(self._ticket(), type=ended) | {"callid": call}
            case "dice":
                body = sinch.dice(callid=call, reason=PROBE, result=random.choice(("ANSWERED", "NOANSWER", PROBE)))
            case "notify":
                destination = random.choice((f"s3://{PROBE}/x.mp3", PROBE, self._words.text()))
                body = sinch.notify(random.choice(_NOTIFICATIONS), callid=call, destination=destination)
                body |= {"errorMsg": random.choice((PROBE, f"Illegal SVAML: {PROBE}", self._words.text()))}
                body |= {"errorCode": random.choice((PROBE, 40001, self._words.value())), "user": PROBE}
            case _:
                body = {"event": PROBE, "callid": call, "said": PROBE}
        if random.random() < 0.2:
            body["conferenceId"] = self._identifier()
        if random.random() < 0.2:
            body["timestamp"] = random.choice(_TIMES)
        return body

    def _identifier(self) -> str:
        random = self.random
        draw = random.random()
        if draw < 0.3:
            return random.choice(_CALLS)
        return self._words.text() if draw < 0.8 else f"{random.getrandbits(64):016x}"

    def _ticket(self) -> str:
        """Return the value of a key of a menu that was played, as it was or with other words in it; or no ticket."""
        draw = self.random.random()
        ticket = self.random.choice(self.tickets)
        if draw < 0.5:
            return ticket
        if draw < 0.65:
            return self.random.choice((*_NO_TICKETS, self._words.text()))
        key, _, written = ticket.removeprefix("key.").partition(".")
        fields = json.loads(base64.urlsafe_b64decode(written + "=="))
        words = (self._words.text(), self._words.value(), self.random.choice(_SURROGATES))
        fields[self.random.randrange(len(fields))] = self.random.choice(words)
        packed = json.dumps(fields).encode()
        return f"key.{key}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"

    def _headers(self) -> list[dict[str, Any]]:
        value = self.random.choice(("yes", "no", PROBE, "YES"))
        return [{"key": "recording-consent", "value": value}] * self.random.randrange(3)

    def _json(self, body: Any) -> bytes:
        # As UTF-8 itself or as escapes; a lone surrogate has no UTF-8 and goes as the bytes it would have.
        return json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")

    def _body_of_words(self) -> tuple[bytes, bool]:
        return self._json(self._well_formed()), True

    def _body_of_wrong_types(self) -> tuple[bytes, bool]:
        body = self._well_formed()
        for _ in range(self.random.randrange(1, 5)):
            put_somewhere(self.random, body, self.random.choice((self._words.value(), self._words.instead_of)))
        return self._json(body), False

    def _body_without_fields(self) -> tuple[bytes, bool]:
        body = self._well_formed()
        for _ in range(self.random.randrange(1, 5)):
            drop_something(self.random, body)
        return self._json(body), False

    def _body_with_other_fields(self) -> tuple[bytes, bool]:
        body = self._well_formed()
        spelt = self.random.choice(
            ("callId", "call_id", "CallID", "Event", "__proto__", "recording_id", "applicationkey")
        )
        return self._json(body | {spelt: self._words.value(), self._words.text(): PROBE}), False

    def _truncated(self) -> tuple[bytes, bool]:
        written = self._json(self._well_formed())
        return written[: self.random.randrange(len(written))], False

    def _damaged(self) -> tuple[bytes, bool]:
        written = bytearray(self._json(self._well_formed()))
        for _ in range(self.random.randrange(1, 4)):
            written[self.random.randrange(len(written))] = self.random.randrange(256)
        return bytes(written), False

    def _not_utf8(self) -> tuple[bytes, bool]:
        written = self._json(self._well_formed())
        place = self.random.randrange(len(written))
        wrong = self.random.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\0"))
        return written[:place] + wrong + written[place:], False

    def _otherwise_encoded(self) -> tuple[bytes, bool]:
        text = json.dumps(self._well_formed())
        return text.encode(self.random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"))), False

    def _with_doubled_fields(self) -> tuple[bytes, bool]:
        first, second = self._well_formed(), self._well_formed()
        put_somewhere(self.random, second, self._words.value())
        return self._json(first)[:-1] + b"," + self._json(second)[1:], False

    def _with_odd_numbers(self) -> tuple[bytes, bool]:
        body = self._well_formed()
        mark = "the number is here"
        put_somewhere(self.random, body, mark)
        number = self.random.choice(_CONSTANTS if self.random.random() < 0.8 else _DIGITS)
        return self._json(body).replace(json.dumps(mark).encode(), number.encode()), False

    def _no_object(self) -> tuple[bytes, bool]:
        draw = self.random.random()
        if draw < 0.3:
            return self.random.randbytes(self.random.randrange(200)), False
        if draw < 0.5:
            return self.random.choice(
                (b"", b" ", b"\n", b"{", b"}", b"[]", b"{}", b'""', b"null", b"\xef\xbb\xbf{}")
            ), False
        return self._json(self.random.choice((self._words.value(), [self._well_formed()], json.dumps(PROBE)))), False

    def _nested(self) -> tuple[bytes, bool]:
        depth = self.random.choice((50, 200, 1000, 100_000))
        opened, closed = self.random.choice((("[", "]"), ('{"a":', "}"), ('[{"event":', "}]"), ("[", "")))
        inner = opened * depth + "0" + closed * depth
        if self.random.random() < 0.3:
            return inner.encode(), False
        body = self._well_formed()
        put_somewhere(self.random, body, "deep")
        return self._json(body).replace(b'"deep"', inner.encode()), False

    def _large(self) -> tuple[bytes, bool]:
        return self._of_size(self.random.randrange(64 * _KIB, 1024 * _KIB))

    def _huge(self) -> tuple[bytes, bool]:
        return self._of_size(self.random.randrange(2048 * _KIB, 6144 * _KIB))

    def _of_size(self, size: int) -> tuple[bytes, bool]:
        body = self._well_formed()
        kind = self.random.choice(("text", "list", "object", "digits", "escapes", "space"))
        put_somewhere(self.random, body, "large")
        large = {
            "text": lambda: '"' + "x" * size + '"',
            "list": lambda: "[" + "0," * (size // 2) + "0]",
            "object": lambda: "{" + ",".join(f'"{number}":0' for number in range(size // 10)) + "}",
            "digits": lambda: "7" * size,
            "escapes": lambda: '"' + "\\u0000" * (size // 6) + '"',
            "space": lambda: " " * size + "0",
        }[kind]()
        return self._json(body).replace(b'"large"', large.encode()), False

    # How it is sent: envelopes, each with whether it is authentic.

    def _signed(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        content_type = self.random.choice(
            (sinch.JSON, sinch.JSON, "application/json; charset=utf-8", "", "text/é\ud800")
        )
        aged = self.random.choice((0, 0, 0, 299, 300, -299, -300))
        timestamp = sinch.stamp(sinch.NOW - timedelta(seconds=aged))
        encoded = not _is_text(body) or self.random.random() < 0.3
        return "signed", sinch.signed(body, content_type=content_type, timestamp=timestamp, encoded=encoded), True

    def _signed_by_another(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        secret = base64.b64encode(self.random.randbytes(self.random.randrange(1, 64))).decode()
        key = self.random.choice(
            (sinch.APPLICATION, sinch.APPLICATION, sinch.APPLICATION.upper(), "nobody", "..", "a/b")
        )
        given = sinch.SECRET if key != sinch.APPLICATION and self.random.random() < 0.5 else secret
        return "signed by another", sinch.signed(body, key=key, secret=given, encoded=not _is_text(body)), False

    def _unsigned(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        event = sinch.signed(body, encoded=not _is_text(body))
        match self.random.randrange(4):
            case 0:
                event["headers"] = None
            case 1:
                del event["headers"]
            case 2:
                event["headers"] = {}
            case _:
                del event["headers"][self.random.choice(("authorization", "x-timestamp"))]
        return "unsigned", event, False

    def _hostile_headers(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        event = sinch.signed(body, encoded=not _is_text(body))
        headers = event["headers"]
        right = headers["authorization"]
        signature = right.rpartition(":")[2]
        headers["authorization"] = self.random.choice(
            (
                *("", " ", PROBE, f"Basic {PROBE}", "application", "application :", f"application {PROBE}", right[:-1]),
                *(
                    f"{right}{PROBE}",
                    f"{right} ",
                    f"{right},{right}",
                    right.replace("=", ""),
                    right.swapcase(),
                    "é" * 99,
                ),
                *(
                    f"application {self._words.text()}:{signature}",
                    f"application {sinch.APPLICATION}:{self._words.text()}",
                ),
                *(f"application {'a' * 9000}:{signature}", f"application\t{sinch.APPLICATION}:{signature}"),
                *(f"application {' ' * 9000}x", f"application ../{sinch.APPLICATION}:{signature}", "\ud800", "\0"),
                *(f"application {sinch.APPLICATION}:", f"application {sinch.APPLICATION}:ä{signature}"),
                *(f"application {sinch.APPLICATION}:\ud800{signature}", f"application \ud800:{signature}"),
            )
        )
        return "hostile headers", event, False

    def _stale(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        past = timedelta(seconds=self.random.choice((301, 302, 3600, 86_400, 10**9)))
        malformed = (*_TIMES[3:-1], "", " ", PROBE, self._words.text(), "9" * 5000)
        timestamp = self.random.choice((sinch.stamp(sinch.NOW - past), sinch.stamp(sinch.NOW + past), *malformed))
        return "stale", sinch.signed(body, timestamp=timestamp, encoded=not _is_text(body)), False

    def _tampered(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        event = sinch.signed(body, encoded=not _is_text(body))
        other = sinch.delivered(body + b" ", event["headers"], encoded=not _is_text(body))
        return "tampered with", other, False

    def _signed_over_something_else(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        event = sinch.signed(body, encoded=not _is_text(body))
        match self.random.randrange(3):
            case 0:
                path = self.random.choice(("/", "", "/callbacks/", "/Callbacks", "/callbacks/..", "//callbacks"))
                event = sinch.signed(body, path=path, encoded=not _is_text(body)) | {"rawPath": path}
            case 1:
                event["headers"]["content-type"] = self.random.choice(("", "text/plain", PROBE, "application/json "))
            case _:
                event["headers"]["x-timestamp"] = sinch.stamp(sinch.NOW + timedelta(seconds=1))
        return "signed over something else", event, False

    def _in_odd_envelope(self, body: bytes) -> tuple[str, dict[str, Any], bool]:
        """Return an authentic callback in an event that API Gateway would hardly make."""
        event = sinch.signed(body, encoded=not _is_text(body))
        if _is_text(body) and not _is_base64(body):
            event["isBase64Encoded"] = self.random.random() < 0.5
        event |= {"rawPath": self._words.text(), "requestContext": self._words.value(), PROBE: PROBE}
        event["headers"] |= {"x-forwarded-for": PROBE, "x-amzn-trace-id": self._words.text(), PROBE: PROBE}
        if not body:
            event["body"] = self.random.choice((None, ""))
        return "in an odd envelope", event, True


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on the queue. ``fact`` is what a good one says; a hostile one says what it likes."""

    id: str
    kind: str
    body: str
    fact: QueueMessage | None = None


class Letters:
    """Draws batches of queue messages, in which good ones have bad neighbours."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)
        self._words = Words(self.random)
        self._drawn = 0
        self._kinds: list[tuple[float, str, Callable[[str], str]]] = [
            (40, "mutated fact", self._mutated_fact),
            (20, "mutated event of the bucket", self._mutated_event),
            (15, "no fact", self._no_fact),
            (10, "truncated fact", self._truncated_fact),
            (5, "doubled fields", self._doubled_fact),
            (5, "odd numbers", self._fact_with_odd_number),
            (4, "nested", self._nested_fact),
            (1, "large", self._large_fact),
        ]

    def draw(self) -> list[Letter]:
        """Return the next batch: ten messages, about half of them hostile."""
        return [self._hostile() if self.random.random() < 0.5 else self._good() for _ in range(10)]

    def _good(self) -> Letter:
        number = self._number()
        fact = self._fact(f"good-{number}")
        if isinstance(fact, ObjectStoredFact):
            return Letter(f"good-{number}", "event of the bucket", json.dumps(object_created(fact)), fact)
        return Letter(f"good-{number}", fact.fact, write_message(fact), fact)

    def _hostile(self) -> Letter:
        number = self._number()
        [(_, kind, make)] = self.random.choices(self._kinds, [weight for weight, _, _ in self._kinds])
        # One is about a recording of its own, or about the one that a good message is about just before it.
        about = f"hostile-{number}" if self.random.random() < 0.8 else f"good-{number - 1}"
        return Letter(f"hostile-{number}", kind, make(about))

    def _number(self) -> int:
        self._drawn += 1
        return self._drawn

    def _fact(self, recording_id: str) -> QueueMessage:
        """Return a good fact about a recording."""
        at = sinch.NOW - timedelta(seconds=self.random.randrange(600))
        url = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/{recording_id}.mp3"
        about: Any = {"recording_id": recording_id, "application_key": sinch.APPLICATION, "call_id": recording_id}
        make = self.random.choice(
            (
                lambda: CallDecidedFact(
                    **about,
                    call=CallStart(at=at, from_=CALLER, to="alice", to_type="username"),
                    consent=Consent(
                        at=at, kind="announcement", rule="everything", outcome="announced", prompt="Recorded."
                    ),
                    request=RecordingRequest(
                        at=at,
                        rule="everything",
                        destination_url=url,
                        format="mp3",
                        notification_events=True,
                        transcription=False,
                        retention_days=30,
                    ),
                ),
                lambda: CallDecidedFact(**about, awaited=AwaitedAnswer(at=at, rule="everything")),
                lambda: CallDecidedFact(**about, asked=AskedConsent(at=at, rule="everything", question="00000000")),
                lambda: CallDecidedFact(**about, withdrawn=WithdrawnAnswer(at=at, verified=self.random.random() < 0.5)),
                lambda: CallDecidedFact(
                    **about | {"conference_id": f"conference of {recording_id}"},
                    withdrawn=WithdrawnAnswer(at=at, verified=True),
                ),
                lambda: CallEndedFact(**about, end=CallEnd(at=at, result="ANSWERED", duration=42, charge="0.0175")),
                lambda: RecordingFinishedFact(**about, at=at),
                lambda: RecordingAvailableFact(**about, at=at, destination=url),
                lambda: TranscriptionAvailableFact(**about, at=at, destination=url.replace(".mp3", "-transcript.json")),
                lambda: AnswerRefusedFact(
                    **about, error=CallingError(at=at, code="40001", message="Illegal", user="a")
                ),
                lambda: NotifiedFact(**about, notification=Notification(at=at, type="amd", error_code="7")),
                lambda: ObjectStoredFact(at=at, url=url, size=self.random.randrange(10**9), checksum="0" * 32),
                lambda: FileStoredFact(**about, stored=ObjectStoredFact(at=at, url=url, size=5, checksum="0" * 32)),
                lambda: CheckRecording(**about, at=at),
                lambda: CheckLocation(location=location_of(url), at=at),
                lambda: UploaderKeyChangedFact(at=at, user="uploader", key=f"…{recording_id}", step="created"),
            )
        )
        return make()

    def _written(self, about: str) -> dict[str, Any]:
        fact: dict[str, Any] = json.loads(write_message(self._fact(about)))
        return fact

    def _mutated_fact(self, about: str) -> str:
        fact = self._written(about)
        for _ in range(self.random.randrange(1, 4)):
            self._mutate(fact)
        return self._json(fact)

    def _mutated_event(self, about: str) -> str:
        url = f"s3://{BUCKET}/recordings/{about}.mp3"
        event = object_created(ObjectStoredFact(at=sinch.NOW, url=url, size=5, checksum="0"))
        for _ in range(self.random.randrange(1, 4)):
            self._mutate(event)
        return self._json(event)

    def _mutate(self, fact: dict[str, Any]) -> None:
        draw = self.random.random()
        if draw < 0.05:
            put_somewhere(self.random, fact, "")
        elif draw < 0.2:
            put_somewhere(self.random, fact, self._words.text())
        elif draw < 0.4:
            put_somewhere(self.random, fact, self._words.value())
        elif draw < 0.8:
            put_somewhere(self.random, fact, self._words.instead_of)
        elif draw < 0.9:
            drop_something(self.random, fact)
        else:
            inner = [fact, *(value for value in fact.values() if isinstance(value, dict))]
            self.random.choice(inner)[self._words.text()] = PROBE

    def _no_fact(self, about: str) -> str:
        values = (self._words.value(), [self._written(about)], {"fact": self._words.value()}, {"Records": [PROBE]})
        return self._words.text() if self.random.random() < 0.5 else self._json(self.random.choice(values))

    def _truncated_fact(self, about: str) -> str:
        written = self._json(self._written(about))
        return written[: self.random.randrange(len(written))]

    def _doubled_fact(self, about: str) -> str:
        other = self._written(about)
        self._mutate(other)
        return self._json(self._written(about))[:-1] + "," + self._json(other)[1:]

    def _fact_with_odd_number(self, about: str) -> str:
        fact = (
            self._written(about)
            if self.random.random() < 0.5
            else object_created(ObjectStoredFact(at=sinch.NOW, url="s3://b/k", size=1))
        )
        put_somewhere(self.random, fact, "odd")
        return self._json(fact).replace('"odd"', self.random.choice((*_CONSTANTS, *_DIGITS, str(10**40), "-1", "1.5")))

    def _nested_fact(self, about: str) -> str:
        fact = self._written(about)
        put_somewhere(self.random, fact, "deep")
        depth = self.random.choice((50, 1000, 20_000))
        return self._json(fact).replace('"deep"', "[" * depth + "]" * depth)

    def _large_fact(self, about: str) -> str:
        """Return one of nearly the 256 KiB that a message may have."""
        fact = self._written(about)
        size = self.random.randrange(100 * _KIB, 250 * _KIB)
        large = self.random.choice(
            ("x" * size, ["x"] * (size // 5), {f"{number:06}": 0 for number in range(size // 12)})
        )
        put_somewhere(self.random, fact, large)
        return self._json(fact)

    def _json(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=self.random.random() < 0.5)


def object_created(stored: ObjectStoredFact) -> dict[str, Any]:
    """Return the event with which the bucket says that it has an object, as EventBridge brings it."""
    bucket, _, key = stored.url.removeprefix("s3://").partition("/")
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": sinch.stamp(stored.at),
        "region": "eu-west-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": stored.size, "etag": stored.checksum, "sequencer": "00617F08299329D189"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_base64(body: bytes) -> bool:
    try:
        base64.b64decode(body, validate=True)
    except ValueError:
        return False
    return True
