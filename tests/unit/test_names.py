"""No application writes into another's items, or keeps it from its own, whatever ids it names."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallEnd, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    RecordingAvailableFact,
    RecordingFinishedFact,
)
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.tracking.item_names import item_names
from tests import sinch
from tests.fakes import PATIENCE
from tests.unit.books import Books, InTurn, messages

IDS = st.text("ab@", min_size=1, max_size=6) | st.text(min_size=1, max_size=12)
KEYS = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True) | st.sampled_from(["one", "two", "-", "."])
TOO_LATE = PATIENCE.longest_call + PATIENCE.grace + timedelta(seconds=1)


@given(st.tuples(IDS, KEYS), st.tuples(IDS, KEYS))
def test_no_two_applications_share_a_name_but_an_id_that_says_of_neither(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    shared = set(item_names(*one)) & set(item_names(*other))

    if one == other:
        assert shared == set(item_names(*one))
    else:
        assert shared <= {one[0]} & {other[0]}
        assert not any("@@" in name for name in shared)


@given(IDS, KEYS)
def test_the_name_of_its_own_tells_the_id_and_the_application(identifier: str, key: str) -> None:
    assert tuple(item_names(identifier, key)[-1].rsplit("@@", 1)) == (identifier, key)


@pytest.mark.parametrize("call_id", [sinch.CALL, "abc@193.45.63.102", "+46700000001@sip.example", "@", "a@b@c"])
def test_a_call_id_as_they_are_is_stored_as_it_is(call_id: str) -> None:
    assert item_names(call_id, "app")[0] == call_id


def life(name: str, key: str, *, conference: bool) -> list[Fact]:
    call_id = f"call-of-{key}" if conference else name
    about: dict[str, Any] = {
        "recording_id": name,
        "application_key": key,
        "call_id": call_id,
        "conference_id": name if conference else None,
    }
    url = f"s3://elsewhere/{key}.mp3"
    request = RecordingRequest(
        at=sinch.NOW, rule=key, destination_url=url, format="mp3", notification_events=True, transcription=False
    )
    return [
        CallDecidedFact(**about, request=request),
        CallEndedFact(**about, end=CallEnd(at=sinch.NOW, reason=key)),
        RecordingFinishedFact(**about, at=sinch.NOW),
        RecordingAvailableFact(**about, at=sinch.NOW, destination=url),
    ]


def own_items(books: Books, key: str) -> dict[str, set[str]]:
    """Return the rules that an application's recordings name, by the items' names."""
    items = {name: books.table.recording(name) for name in books.recordings()}
    return {
        name: {request.rule for request in item.requests.values()}
        for name, item in items.items()
        if item.application_key == key
    }


HOSTILE_NAMES = ["standup", "standup@@two", "standup@two", "standup@@one", "standup@@two@@one", "@@", "standup@"]


@given(
    st.lists(st.tuples(st.sampled_from(HOSTILE_NAMES), st.sampled_from(["one", "two"])), min_size=1, max_size=6),
    st.booleans(),
    st.data(),
)
def test_whatever_two_applications_call_their_own_each_ends_with_its_own_items(
    named: list[tuple[str, str]], conference: bool, data: st.DataObject
) -> None:
    books = Books(InTurn())
    facts = [fact for name, key in dict.fromkeys(named) for fact in life(name, key, conference=conference)]

    books.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, 10)))
    books.drain(books.watch(after=TOO_LATE))

    for key in ("one", "two"):
        mine = {name for name, of in named if of == key}
        items = own_items(books, key)
        assert len(items) == len(mine)
        assert all(rules == {key} for rules in items.values())
    kinds = ["Recording Requested", "Recording Finished", "Recording Available"]
    assert books.announced_once() == sorted(kinds * len(set(named)))


@pytest.mark.parametrize("conference", [True, False])
def test_an_application_that_takes_every_name_takes_nothing_of_anothers(conference: bool) -> None:
    books = Books(InTurn())
    for name in ("standup", "standup@two", "standup@@two", "standup@@two@@two"):
        books.take(life(name, "hostile", conference=conference)[0])

    books.take(*life("standup", "two", conference=conference))
    books.drain(books.watch(after=TOO_LATE))

    assert own_items(books, "two") == {"standup@@two": {"two"}}
    assert books.table.recording("standup@@two").status == "available"


def test_a_name_that_was_taken_and_becomes_free_does_not_split_a_recording() -> None:
    """The end of a call that nobody recorded is kept for a day: whoever signs one may so take any name for a day."""
    books = Books(InTurn())
    requested, ended, finished, available = life("standup", "two", conference=True)
    books.take(
        CallEndedFact(recording_id="standup", application_key="one", call_id="standup", end=CallEnd(at=sinch.NOW))
    )
    books.take(requested)
    del books.table.items["standup"]

    books.take(ended, finished, available)
    books.drain(books.watch(after=TOO_LATE))

    assert own_items(books, "two") == {"standup@@two": {"two"}}
    assert books.announced_once() == ["Recording Available", "Recording Finished", "Recording Requested"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_end_of_a_call_finds_its_conference_whose_names_another_application_took(order: tuple[int, ...]) -> None:
    books = Books(InTurn())
    conference = bridge_conference_id(sinch.CALL)
    for name in (conference, sinch.CALL):
        books.take(*life(name, "one", conference=False))
    decided = [
        each.model_copy(update={"call_id": sinch.CALL, "conference_id": conference})
        for each in life(conference, "two", conference=False)
    ]
    facts = [decided[0], decided[3], life(sinch.CALL, "two", conference=False)[1]]

    for place in order:
        books.take(facts[place])
    books.drain(books.watch(after=PATIENCE.grace))

    item = books.table.recording(f"{conference}@@two")
    assert (item.status, item.ends[sinch.CALL].reason) == ("available", "two")


@pytest.mark.parametrize("conference_id", ["standup", "standup@@two", "standup@@one"])
def test_the_watchdog_looks_at_an_item_by_the_name_that_it_has(conference_id: str) -> None:
    books = Books(InTurn())
    for key in ("one", "two"):
        books.take(life(conference_id, key, conference=True)[0])
    items = set(books.table.items)

    books.drain(books.watch(after=TOO_LATE))

    assert set(books.table.items) == items
    assert {books.table.recording(name).status for name in items} == {"missing"}
    assert books.watch(after=timedelta(days=9)) == []
