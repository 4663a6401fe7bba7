"""Hypothesis strategies of hostile input: callbacks as API Gateway delivers them, and messages of the queue."""

from __future__ import annotations

import base64
import json
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from call_recorder.facts.call_details import WithdrawnAnswer
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import CallDecidedFact, ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.facts.messages import QueueMessage, read_message, write_message
from call_recorder.facts.storage_urls import get_location
from tests import sinch, strategies
from tests.aws import object_created
from tests.fakes import BUCKET

T = TypeVar("T")
Json = dict[str, Any]

PROBE: Final = "pr0be-of-what-no-log-may-hold"
"""A word in the callers' fields. No log may hold it."""

CALLER: Final = "+46709998877"
"""The caller's number in every well-formed ICE, and in no other field. No log may hold it."""

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
_NUMBERS: Final = (0, 1, -1, 10**9, 2**31, 2**63, 2**64, 10**40, 0.1, -0.0, 1e308, 5e-324, 1e22, 2**53 + 1)
_EXTREME_NUMBERS: Final = (*_NUMBERS, 10**39 - 1, 10**400, -(10**15), float("inf"), float("nan"))
_DIGITS: Final = (
    *("9" * 4300, "9" * 4301, "-" + "1" * 5000, "0." + "1" * 5000, "1e" + "9" * 50, "1E-99999"),
    "1" * 60_000,
)
_CONSTANTS: Final = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x1F", "01", "+1", ".5", "1.", "True", "undefined"),
    *("-1", "1.5", str(10**40)),
)
_TIMES: Final = (
    *("2026-11-23T09:30:00Z", "2026-11-23T09:30:00", "2026-11-23T09:30:00.1234567Z", "2026-11-23T09:30:00+00:00"),
    *("2999-12-31T23:59:59Z", "2000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
    *("2026-11-23T09:30:00+14:00", "2026-11-23T09:30:00." + "0" * 5000),
)
_NO_TIMES: Final = (
    *("2024-02-30T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T09:30:60Z", "٢٠٢٦-11-23T09:30:00Z", "1764000000"),
    *("now", "2026-11-23", "", " ", PROBE, "9" * 5000),
)
_STALE: Final = tuple(
    sinch.stamp(sinch.NOW + sign * timedelta(seconds=late)) for sign in (1, -1) for late in (301, 302, 3600, 10**9)
)
_A_TIME: Final = re.compile(r"2[0-9-]{9}T[0-9:]{8}Z")
_NO_TICKETS: Final = ("", "main", "main.e30", "main.W10", "main.WzEsMiwzLDRd", "main._w", "main.=", "other.W10")
_TO_TYPES: Final = ("number", "did", "username", "sip", "conference") * 3 + ("NUMBER", "Sip", "mxp", "", " did ")
_ORIGINS: Final = (
    *(("pstn", "PSTN"), ("pstn", "pstn"), ("PSTN", "sip"), ("sip", "SIP"), ("pstn", "")),
    *(("mxp", "MXP"), ("pstn", "mxp"), ("", "")),
)
"""Domain and originationType."""

_ENDINGS: Final = ("return",) * 6 + ("timeout", "hangup", "invalidinput", "error", "sequence", "")
_NOTIFICATIONS: Final = (
    *("recording_finished", "recording_available", "transcription_available", "RECORDING_AVAILABLE"),
    *("callingerror", "CallingError", "amd", "", "recording_available\0"),
)
_CALLS: Final = (sinch.CALL, "call-1", "call-2", "CALL-1", "call_1", "call-1.", "call 1")
_OTHER_FIELDS: Final = ("callId", "call_id", "CallID", "Event", "__proto__", "recording_id", "applicationkey")
_NOT_UTF8: Final = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\0")
_ENCODINGS: Final = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7")
_NO_OBJECTS: Final = (b"", b" ", b"\n", b"{", b"}", b"[]", b"{}", b'""', b"null", b"\xef\xbb\xbf{}", b"{" * 99)
_BRACKETS: Final = (("[", "]"), ('{"a":', "}"), ('[{"event":', "}]"), ("[", ""))
_CONSENTS: Final = ((), (), (), ("yes",), ("no",), ("YES",), (PROBE,), ("yes", "no"))
_DELIVERIES: Final = tuple(
    (kind, timedelta(seconds=age), encoded)
    for kind in (sinch.JSON, sinch.JSON, "application/json; charset=utf-8", "", "text/é\ud800")
    for age in (0, 0, 0, 299, 300, -299, -300)
    for encoded in (False, False, True)
)
_LARGE: Final[tuple[Callable[[int], str], ...]] = (
    lambda size: '"' + "x" * size + '"',
    lambda size: "[" + "0," * (size // 2) + "0]",
    lambda size: "{" + ",".join(f'"{number}":0' for number in range(size // 10)) + "}",
    lambda size: "7" * size,
    lambda size: '"' + "\\u0000" * (size // 6) + '"',
    lambda size: " " * size + "0",
)


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Draw from several strategies, from each as often as its weight says."""
    strategies = [strategy for weight, strategy in choices for _ in range(weight)]
    return st.integers(0, len(strategies) - 1).flatmap(lambda index: strategies[index])


# Values: texts that mean something to a reader on their way, and JSON of every type.

_pieces = st.sampled_from(_PIECES)
texts: st.SearchStrategy[str] = weighted(
    (6, _pieces),
    (5, st.builds(operator.add, _pieces, _pieces)),
    (4, st.text(max_size=24)),
    (3, st.builds(lambda piece, size: ((piece or "x") * size)[:size], _pieces, st.sampled_from(_LENGTHS))),
    (1, st.builds(operator.add, st.sampled_from(_SURROGATES), _pieces)),
    (1, st.integers(0, 10**12).map(str)),
)
values: st.SearchStrategy[Any] = st.deferred(
    lambda: weighted(
        (8, texts),
        (3, st.sampled_from(_NUMBERS)),
        (3, st.sampled_from((None, True, False, "", float("nan"), float("inf")))),
        (3, st.lists(values, max_size=3)),
        (3, st.dictionaries(texts, values, max_size=3)),
    )
)
_times = st.sampled_from((*_TIMES, *_NO_TIMES))
_extreme_numbers = st.sampled_from(_EXTREME_NUMBERS)


def _of_same_type(old: Any) -> st.SearchStrategy[Any]:
    """Draw a value of the type of an old one that no honest sender writes."""
    if isinstance(old, str):
        return _times if _A_TIME.fullmatch(old) else texts
    return _extreme_numbers if type(old) in (int, float) else values


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object or list in a JSON value with each of its keys or indexes."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places_in(inner)


@st.composite
def _changed(draw: st.DrawFn, good: st.SearchStrategy[Json]) -> Json:
    """Draw an object and change some of its fields: another value or type, no field, or one more."""
    value = draw(good)
    changes = draw(st.integers(0, 4))
    for _ in range(changes):
        if not (places := list(places_in(value))):
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.integers(0, 8))
        if change < 4:
            holder[key] = draw(_of_same_type(holder[key]))
        elif change < 7:
            holder[key] = draw(values)
        else:
            del holder[key]
    if changes == 0 or draw(st.integers(0, 3)) == 3:
        objects = [value, *(inner for inner in value.values() if isinstance(inner, dict))]
        added = {draw(texts): PROBE, draw(st.sampled_from(_OTHER_FIELDS)): draw(values | _extreme_numbers)}
        objects[draw(st.integers(0, len(objects) - 1))].update(added)
    return value


@st.composite
def _with_raw_json(draw: st.DrawFn, good: st.SearchStrategy[Json], raw: st.SearchStrategy[str]) -> bytes:
    """Draw an object and put some text in the place of one of its values."""
    value, mark = draw(good), "the text goes here"
    places = list(places_in(value))
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    holder[key] = mark
    return json.dumps(value).replace(f'"{mark}"', draw(raw)).encode()


def written(good: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Draw values as JSON, in UTF-8 or in escapes. A lone surrogate goes as the bytes that it would have in UTF-8."""
    return st.builds(
        lambda value, escaped: json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass"),
        good,
        st.booleans(),
    )


def broken(good: st.SearchStrategy[Json], largest: int) -> st.SearchStrategy[bytes]:
    """Draw good objects with changed fields, changed JSON, or changed bytes."""
    plain, changed, place = written(good), written(_changed(good)), st.integers(0, 2**16)
    sizes = weighted((20, st.integers(64 * _KIB, min(largest, _KIB * _KIB))), (1, st.integers(64 * _KIB, largest)))
    raw = weighted(
        (10, st.sampled_from(_CONSTANTS)),
        (3, st.sampled_from(_DIGITS)),
        (3, st.builds(_nested, st.sampled_from(_BRACKETS), st.sampled_from((50, 200, 1000, 20_000)))),
        (1, st.builds(lambda write, size: write(size), st.sampled_from(_LARGE), sizes)),
    )
    return weighted(
        (40, changed),
        (10, _with_raw_json(good, raw)),
        (8, st.builds(lambda text, at: text[: at % len(text)], plain, place)),
        (8, st.builds(_damaged, plain, place, st.binary(max_size=3), st.integers(0, 3))),
        (4, st.builds(_damaged, plain, place, st.sampled_from(_NOT_UTF8), st.just(0))),
        (3, st.builds(lambda value, encoding: json.dumps(value).encode(encoding), good, st.sampled_from(_ENCODINGS))),
        (5, st.builds(lambda first, second: first[:-1] + b"," + second[1:], plain, changed)),
        (3, st.sampled_from(_NO_OBJECTS) | st.binary(max_size=200) | written(values | st.lists(good, max_size=1))),
    )


def _damaged(text: bytes, at: int, new: bytes, dropped: int) -> bytes:
    at %= len(text)
    return text[:at] + new + text[at + dropped :]


def _nested(brackets: tuple[str, str], depth: int) -> str:
    opened, closed = brackets
    return opened * depth + "0" + closed * depth


# Callbacks.


class _Short:
    """Prints itself in short where an example fails: it may hold megabytes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)!r:.1500})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class HostileCallback(_Short):
    """A callback that an attacker or Sinch sends.

    Attributes:
        event: the event of API Gateway.
        body: the body in it.
        authentic: whether the application signed it, in time.
        readable: whether it must be read as an object with an ``event``. Others may be.
    """

    event: Json
    body: bytes
    authentic: bool
    readable: bool


def _packed(fields: Any) -> str:
    return f"key.1.{base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip('=')}"


_identifiers = weighted((3, st.sampled_from(_CALLS)), (5, texts), (2, st.integers(0, 2**64).map("{:016x}".format)))
_words = weighted((2, st.just(PROBE)), (1, texts))
_tickets = weighted(
    (
        3,
        st.builds(lambda to, endpoint: _packed(["asked", "00000000", to, endpoint]), st.sampled_from(_TO_TYPES), texts),
    ),
    (2, st.lists(values, min_size=4, max_size=4).map(_packed)),
    (1, st.sampled_from(_NO_TICKETS)),
    (1, texts),
)
_ices = st.builds(
    lambda to, endpoint, call, origin, consents: sinch.ice(
        *(to, endpoint),
        callid=call,
        cli=CALLER,
        domain=origin[0],
        originationType=origin[1],
        custom=PROBE,
        callHeaders=[
            {"key": PROBE, "value": PROBE},
            *({"key": "recording-consent", "value": each} for each in consents),
        ],
    ),
    st.sampled_from(_TO_TYPES),
    weighted((1, st.integers(0, 9).map("+1202555010{}".format)), (1, texts)),
    _identifiers,
    st.sampled_from(_ORIGINS),
    st.sampled_from(_CONSENTS),
)
_pies = st.builds(
    lambda ticket, ended, call: sinch.pie(ticket, type=ended) | {"callid": call},
    _tickets,
    st.sampled_from(_ENDINGS),
    _identifiers,
)
_notifications = st.builds(
    lambda kind, call, destination, code, message: sinch.notify(
        kind, callid=call, destination=destination, errorCode=code, errorMsg=message, user=PROBE
    ),
    st.sampled_from(_NOTIFICATIONS),
    _identifiers,
    weighted((1, st.just(f"s3://{PROBE}/x.mp3")), (2, _words)),
    weighted((1, st.just(40001)), (1, st.just(PROBE)), (1, values)),
    weighted((1, st.just(f"Illegal SVAML: {PROBE}")), (2, _words)),
)
_extras = st.fixed_dictionaries({}, optional={"conferenceId": _identifiers, "timestamp": st.sampled_from(_TIMES)})
_well_formed = st.builds(
    operator.or_,
    weighted(
        (6, _ices),
        (1, _identifiers.map(lambda call: sinch.ace(callid=call))),
        (2, _pies),
        (2, _identifiers.map(lambda call: sinch.dice(callid=call, reason=PROBE, result=PROBE))),
        (3, _notifications),
        (1, _identifiers.map(lambda call: {"event": PROBE, "callid": call, "said": PROBE})),
    ),
    weighted((3, st.just({})), (1, _extras)),
)
_readable, _broken = written(_well_formed), broken(_well_formed, 6144 * _KIB)


def _authorizations(right: str, text: str) -> tuple[str, ...]:
    """Return headers that are nearly right, or hard to read."""
    key, signature = sinch.APPLICATION, right.rpartition(":")[2]
    return (
        *("", " ", PROBE, f"Basic {PROBE}", "application", "application :", f"application {PROBE}", right[:-1]),
        *(f"{right}{PROBE}", f"{right} ", f"{right},{right}", right.replace("=", ""), right.swapcase(), "é" * 99),
        *(f"application {text}:{signature}", f"application {key}:{text}", f"application ../{key}:{signature}"),
        *(f"application {'a' * 9000}:{signature}", f"application\t{key}:{signature}", f"application {' ' * 9000}x"),
        *("\ud800", "\0", f"application {key}:", f"application {key}:ä{signature}", f"application \ud800:{signature}"),
        f"application {key}:\ud800{signature}",
    )


def _signed(body: bytes, delivery: tuple[str, timedelta, bool]) -> Json:
    content_type, age, encoded = delivery
    timestamp, encoded = sinch.stamp(sinch.NOW - age), encoded or not _is(bytes.decode, body)
    return sinch.signed(body, content_type=content_type, timestamp=timestamp, encoded=encoded)


@st.composite
def _odd(draw: st.DrawFn, body: bytes) -> Json:
    """Draw a signed event of a form that API Gateway hardly makes."""
    event = sinch.signed(body, encoded=not _is(bytes.decode, body))
    event |= {"rawPath": draw(texts), "requestContext": draw(values), PROBE: PROBE}
    event["headers"] |= {"x-forwarded-for": PROBE, "x-amzn-trace-id": draw(texts), PROBE: PROBE}
    if not _is(lambda raw: base64.b64decode(raw, validate=True), body):
        event["isBase64Encoded"] |= draw(st.booleans())
    return event | ({} if body else {"body": None})


def _is(read: Callable[[bytes], object], body: bytes) -> bool:
    try:
        read(body)
    except ValueError:
        return False
    return True


@st.composite
def _forged(draw: st.DrawFn, body: bytes) -> Json:
    """Draw an event that the application did not sign, or not in time, or that was changed afterwards."""
    encoded = not _is(bytes.decode, body)
    event = sinch.signed(body, encoded=encoded)
    headers = event["headers"]
    match draw(st.integers(0, 7)):
        case 0:
            secret = base64.b64encode(draw(st.binary(min_size=1, max_size=63))).decode()
            return sinch.signed(body, secret=secret, encoded=encoded)
        case 1:
            key = draw(st.sampled_from((sinch.APPLICATION.upper(), "nobody", "..", "a/b")))
            return sinch.signed(body, key=key, encoded=encoded)
        case 2:
            if draw(st.booleans()):
                return {name: value for name, value in event.items() if name != "headers"}
            return event | {"headers": draw(st.sampled_from((None, {}, *({name: headers[name]} for name in headers))))}
        case 3:
            headers["authorization"] = draw(st.sampled_from(_authorizations(headers["authorization"], draw(texts))))
        case 4:
            timestamp = draw(st.sampled_from((*_STALE, *_NO_TIMES)))
            return sinch.signed(body, timestamp=timestamp, encoded=encoded)
        case 5:
            return sinch.delivered(body + b" ", headers, encoded=encoded)
        case 6:
            path = draw(st.sampled_from(("/", "", "/callbacks/", "/Callbacks", "/callbacks/..", "//callbacks")))
            return sinch.signed(body, path=path, encoded=encoded) | {"rawPath": path}
        case _:
            kinds = [{"content-type": kind} for kind in ("", "text/plain", PROBE, "application/json ")]
            later = {"x-timestamp": sinch.stamp(sinch.NOW + timedelta(seconds=1))}
            return event | {"headers": headers | draw(st.sampled_from((later, *kinds)))}
    return event


@st.composite
def callbacks(draw: st.DrawFn) -> HostileCallback:
    """Draw a callback."""
    draws = draw(st.integers(0, 3 * 24 - 1))
    readable, sender = draws % 3 == 0, draws // 3
    body = draw(_readable if readable else _broken)
    if sender < 17:
        event = _signed(body, draw(st.sampled_from(_DELIVERIES)))
    else:
        event = draw(_odd(body) if sender == 17 else _forged(body))
    return HostileCallback(event, body, authentic=sender <= 17, readable=readable)


# Messages.


@dataclass(frozen=True, repr=False)
class Message(_Short):
    """A message on the queue. ``fact`` is the one that a good message holds; a hostile message has none."""

    body: str
    fact: QueueMessage | None = None

    @classmethod
    def of(cls, fact: QueueMessage) -> Message:
        """Return a good message: a fact as the functions write it, or an event of the bucket."""
        return cls(
            json.dumps(object_created(fact)) if isinstance(fact, ObjectStoredFact) else write_message(fact), fact
        )


def _in_own_bucket(fact: QueueMessage) -> QueueMessage:
    return read_message(write_message(fact).replace('"s3://bucket/', f'"s3://{BUCKET}/recordings/'))


def _key_created(key: str) -> UploaderKeyChangedFact:
    return UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key=key, step="created")


_about: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"recording_id": recording, "application_key": sinch.APPLICATION, "call_id": call}
        for recording in ("call-1", strategies.CONFERENCE)
        for call in ("call-1", "call-2")
    ]
)
_objects = strategies.objects.map(
    lambda stored: stored.model_copy(update={"url": stored.url.replace("bucket", f"{BUCKET}/recordings")})
)
_withdrawals = st.builds(
    lambda verified, about: CallDecidedFact(
        **about | {"conference_id": about["recording_id"]}, withdrawn=WithdrawnAnswer(at=sinch.NOW, verified=verified)
    ),
    st.booleans(),
    _about,
)
_facts: st.SearchStrategy[QueueMessage] = weighted(
    (10, strategies.facts_about().map(_in_own_bucket)),
    (2, _objects),
    (1, _withdrawals),
    (
        1,
        _about.map(
            lambda about: CheckRecording(
                at=sinch.NOW, recording_id=about["recording_id"], application_key=about["application_key"]
            )
        ),
    ),
    (1, _objects.map(lambda stored: CheckLocation(location=get_location(stored.url), at=stored.at))),
    (1, st.sampled_from(["…A", "…B"]).map(_key_created)),
)
_good = _facts.map(Message.of)
_hostile = broken(_good.map(lambda message: json.loads(message.body)), 250 * _KIB).map(
    lambda body: Message(body.decode("utf-8", "surrogateescape"))
)


def messages(number: int) -> st.SearchStrategy[list[Message]]:
    """Draw messages, about half of them hostile."""
    return st.lists(weighted((1, _good), (1, _hostile)), min_size=number, max_size=number)
