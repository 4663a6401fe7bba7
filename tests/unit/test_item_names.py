"""No application writes into the items of another, or keeps it from its own, whatever ids it names."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.facts import Fact
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.item_names import list_item_names
from tests import sinch
from tests.facts import available, ended, finished, named, requested, stored
from tests.fakes import DEADLINES
from tests.unit.processor_under_test import ProcessorUnderTest, messages

IDS = st.text("ab@", min_size=1, max_size=6) | st.text(min_size=1, max_size=12)
KEYS = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True) | st.sampled_from(["one", "two", "-", "."])
TOO_LATE = DEADLINES.longest_call + DEADLINES.grace + timedelta(seconds=1)
EVENTS = ["Recording Available", "Recording Finished", "Recording Requested"]


@pytest.fixture
def processor() -> ProcessorUnderTest:
    return ProcessorUnderTest()


@given(st.tuples(IDS, KEYS), st.tuples(IDS, KEYS))
def test_two_applications_share_no_name_but_an_unqualified_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    shared = set(list_item_names(*one)) & set(list_item_names(*other))

    if one == other:
        assert shared == set(list_item_names(*one))
    else:
        assert shared <= {one[0]} & {other[0]}
        assert not any("@@" in name for name in shared)


@given(IDS, KEYS)
def test_a_qualified_name_has_the_id_and_the_application(identifier: str, key: str) -> None:
    assert tuple(list_item_names(identifier, key)[-1].rsplit("@@", 1)) == (identifier, key)


DECIDED, ENDED, FINISHED, AVAILABLE, STORED = requested(), ended(), finished(), available(), stored()


@pytest.mark.parametrize(
    ("before", "fact", "keys"),
    [
        ([], DECIDED, [4]),  # both names, the location of the file, and the tombstone
        ([DECIDED], ENDED, [3]),  # one name, and both of the bridge conference that the call may be part of
        ([DECIDED, ENDED], FINISHED, [1]),
        ([DECIDED, ENDED, FINISHED], AVAILABLE, [2]),  # one name and the location
        ([DECIDED, ENDED, FINISHED, AVAILABLE], STORED, [1, 1]),  # the location names the recording
        ([DECIDED, ENDED, FINISHED], STORED, [1, 1]),
        ([DECIDED, ENDED, FINISHED, STORED], AVAILABLE, [2]),
        ([], STORED, [1, 1]),  # the tombstone of the location
        ([], ENDED, [3, 2]),  # the call may have an item under its other name, or a tombstone
        ([], FINISHED, [1, 2]),
    ],
)
def test_a_fact_reads_the_names_that_it_may_be_about(
    processor: ProcessorUnderTest, before: list[QueueMessage], fact: QueueMessage, keys: list[int]
) -> None:
    for each in before:
        processor.take(each)
    processor.table.loads.clear()

    processor.take(fact)

    assert processor.table.loads == keys


def test_the_facts_of_one_batch_read_each_name_once(processor: ProcessorUnderTest) -> None:
    processor.take(DECIDED, ENDED, FINISHED, AVAILABLE, STORED)

    assert processor.table.loads == [6]


@pytest.mark.parametrize("fact", [ENDED, FINISHED, AVAILABLE, STORED])
def test_a_later_fact_finds_its_item_under_the_qualified_name(
    processor: ProcessorUnderTest, fact: QueueMessage
) -> None:
    processor.take(ended(named(key="other")))
    processor.take(DECIDED)
    del processor.table.items[sinch.CALL]

    processor.take(fact)

    assert set(processor.table.items) == {f"{sinch.CALL}@@app"}


def life(name: str, key: str, *, conference: bool) -> list[Fact]:
    """Return all facts about a call or a conference. The rule has the name of the application."""
    ids = named(f"call-of-{key}", name, key=key) if conference else named(name, key=key)
    url = f"s3://elsewhere/{key}.mp3"
    return [requested(ids, url, rule=key), ended(ids, key), finished(ids), available(ids, url)]


def rules_by_name(processor: ProcessorUnderTest, key: str) -> dict[str, set[str]]:
    """Return the rules in the recordings of an application, by the names of their items."""
    items = {name: processor.table.recording(name) for name in processor.recordings()}
    return {
        name: {request.rule for request in item.requests.values()}
        for name, item in items.items()
        if item.application_key == key
    }


HOSTILE_NAMES = ["standup", "standup@@two", "standup@two", "standup@@one", "standup@@two@@one", "@@", "standup@"]


@given(
    st.sets(st.tuples(st.sampled_from(HOSTILE_NAMES), st.sampled_from(["one", "two"])), min_size=1, max_size=6),
    st.booleans(),
    st.data(),
)
def test_each_application_has_its_own_items_whatever_the_ids(
    ids: set[tuple[str, str]], conference: bool, data: st.DataObject
) -> None:
    processor = ProcessorUnderTest()
    facts = [fact for name, key in sorted(ids) for fact in life(name, key, conference=conference)]

    processor.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, 10)))
    processor.drain(processor.watch(after=TOO_LATE))

    for key in ("one", "two"):
        rules = rules_by_name(processor, key)
        assert len(rules) == len([name for name, of in ids if of == key])
        assert all(each == {key} for each in rules.values())
    assert processor.announced_once() == sorted(EVENTS * len(ids))


def test_a_name_that_becomes_free_does_not_split_a_recording(processor: ProcessorUnderTest) -> None:
    """The end of an unrecorded call is kept for a day, so any signed DiCE takes a name for a day."""
    decision, *rest = life("standup", "two", conference=True)
    processor.take(ended(named("standup", key="one")))
    processor.take(decision)
    del processor.table.items["standup"]

    processor.take(*rest)
    processor.drain(processor.watch(after=TOO_LATE))

    assert rules_by_name(processor, "two") == {"standup@@two": {"two"}}
    assert processor.announced_once() == EVENTS


def test_held_facts_find_their_conference_under_its_qualified_name(processor: ProcessorUnderTest) -> None:
    processor.take(finished(named(conference_id="standup", key="two")))
    processor.take(ended(named("standup", key="one")))
    processor.take(requested(named("other", "standup", key="two")))
    del processor.table.items["standup"]

    processor.drain(processor.watch(after=DEADLINES.grace / 2))

    assert processor.recordings() == {"standup@@two"}
    assert processor.table.recording("standup@@two").status == "finished"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_end_of_a_bridged_call_finds_its_conference_under_any_name(
    processor: ProcessorUnderTest, order: tuple[int, ...]
) -> None:
    conference_id = bridge_conference_id(sinch.CALL)
    for name in (conference_id, sinch.CALL):
        processor.take(*life(name, "one", conference=False))
    ids = named(conference_id=conference_id, key="two")
    facts: list[Fact] = [requested(ids), available(ids), ended(named(key="two"), "two")]

    for place in order:
        processor.take(facts[place])
    processor.drain(processor.watch(after=DEADLINES.grace))

    item = processor.table.recording(f"{conference_id}@@two")
    assert (item.status, item.ends[sinch.CALL].result) == ("available", "two")


@pytest.mark.parametrize("conference_id", ["standup", "standup@@two", "standup@@one"])
def test_the_watchdog_checks_an_item_under_its_own_name(processor: ProcessorUnderTest, conference_id: str) -> None:
    for key in ("one", "two"):
        processor.take(life(conference_id, key, conference=True)[0])
    items = set(processor.table.items)

    processor.drain(processor.watch(after=TOO_LATE))

    assert set(processor.table.items) == items
    assert {processor.table.recording(name).status for name in items} == {"missing"}
    assert processor.watch(after=timedelta(days=9)) == []
