"""A lone surrogate, such as a cut emoji leaves, costs the field that it is in, and nothing else."""

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any

import pytest

from call_recorder.sinch.callbacks import MalformedCallback, parse
from tests import sinch
from tests.fakes import Front

LONE = "hi \ud83d"
EVERYWHERE = {"conferenceId": "standup", "unknown": {"this": ["one", {"two": "three"}]}}
BODIES: list[dict[str, Any]] = [
    sinch.ice(user="alice", callHeaders=[{"key": "consent", "value": "yes"}, {"key": "purpose", "value": "support"}]),
    sinch.ace(),
    sinch.pie("key.1"),
    sinch.dice(),
    sinch.notify("recording_available", destination="s3://bucket/a.mp3", errorCode=1, errorMsg="a"),
    {"event": "weather", "sun": "shines"},
]
EVENTS = {body["event"]: body | EVERYWHERE for body in BODIES}


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value in an object of JSON but its event."""
    for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if (*before, name) != ("event",):
            yield (*before, name)
        if isinstance(inner, dict | list):
            yield from places(inner, (*before, name))


def spoilt_and_without(body: dict[str, Any], place: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a body with a lone surrogate in the place of one value, and one without the value."""
    spoilt, rest = deepcopy(body), deepcopy(body)
    holder: Any = reduce(getitem, place[:-1], spoilt)
    holder[place[-1]] = LONE
    del reduce(getitem, place[:-1], rest)[place[-1]]
    return spoilt, rest


def written(body: dict[str, Any], *, escaped: bool) -> bytes:
    """Write JSON with the surrogate as an escape, or as the bytes that it would have in UTF-8."""
    return json.dumps(body, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


PLACES = [pytest.param(event, place, id=f"{event} {place}") for event, body in EVENTS.items() for place in places(body)]


@pytest.mark.parametrize("escaped", [True, False], ids=["escape", "bytes"])
@pytest.mark.parametrize(("event", "place"), PLACES)
def test_a_callback_with_a_lone_surrogate_is_answered_as_without_the_field(
    event: str, place: tuple[Any, ...], escaped: bool
) -> None:
    spoilt, rest = spoilt_and_without(EVENTS[event], place)
    one, other = Front(), Front()

    answer = one(sinch.signed(written(spoilt, escaped=escaped)))

    assert answer == other(sinch.signed(rest))
    assert answer["statusCode"] == 200
    assert one.facts.sent == other.facts.sent
    # A callback that names neither call nor conference is kept under a name made of its bytes.
    named = bool({"callid", "conferenceId"} & rest.keys())
    assert one.notifications.sent == other.notifications.sent or not named


@pytest.mark.parametrize("event", EVENTS)
def test_a_field_whose_name_has_a_lone_surrogate_counts_as_missing(event: str) -> None:
    body = EVENTS[event]
    named = body | {LONE: "x", "to": body.get("to", {}) | {LONE: {"deep": LONE}}}

    assert parse(written(named, escaped=True)) == parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body", [b'{"event":"ice\\ud83d"}', b'{"event":"\\udc00"}', b'{"\\ud83devent":"ice"}', b'"\\ud83d"']
)
def test_an_event_with_a_lone_surrogate_is_a_bad_request(body: bytes) -> None:
    assert Front().status(sinch.signed(body)) == 400


ODD = [
    *('{"event":"ice","cli":%s', '{"event":"ice","event":"dice","cli":%s}', '\ufeff{"event":"ice","cli":%s}', "[%s]"),
    *('{"event":"ice","x":NaN,"y":[Infinity,-Infinity,1e999],"cli":%s}', '{"event":"ice","x":-NaN,"cli":%s}'),
    *('{"event":"ice","x":"\x01","cli":%s}', '{"event":"ice","custom":"\\ud83d\\ude00","cli":%s}'),
    *('{"event":"ice","cli":%s,"x":' + "9" * digits + "}" for digits in (4300, 4301)),
    *('{"event":"ice","cli":%s,"x":' + "[" * depth + "]" * depth + "}" for depth in (199, 200, 201, 100_000)),
]


@pytest.mark.parametrize("text", ODD, ids=[f"{text[:40]} ({len(text)})" for text in ODD])
def test_a_surrogate_does_not_change_whether_a_body_is_refused(text: str) -> None:
    def outcome(value: str) -> Any:
        try:
            return parse((text % value).encode())
        except MalformedCallback:
            return None

    assert outcome('"\\ud83d"') == outcome("null")
