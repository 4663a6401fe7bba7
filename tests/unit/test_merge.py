"""The laws of merging: facts in any order, however often, make the same recording."""

from collections.abc import Iterator
from datetime import timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.call_details import CallEnd, CallingError
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    Fact,
    RecordingAvailableFact,
    RecordingFinishedFact,
)
from call_recorder.facts.messages import read_message, write_message
from call_recorder.tracking import recording as recording_module
from call_recorder.tracking.outbox_item import Claim
from call_recorder.tracking.published_events import due_events
from call_recorder.tracking.recording import Recording, WrongApplication
from call_recorder.tracking.stored_file import StoredFile
from tests import sinch
from tests.strategies import empty, fact_lists, facts_about, recordings

ABOUT: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": sinch.APPLICATION, "call_id": sinch.CALL}


@pytest.fixture(params=["limits as they are", "limits that bite"], scope="module", autouse=True)
def _limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check the laws again where there is always more than is kept."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "limits that bite":
            for limit in ("MAX_CALLS", "MAX_AWAITED", "MAX_FILES", "MAX_NOTIFICATIONS", "MAX_CALLING_ERRORS"):
                patch.setattr(recording_module, limit, 1)
        yield


@given(st.data(), st.booleans())
def test_merging_is_commutative(data: st.DataObject, conference: bool) -> None:
    one, other, earlier = (data.draw(facts_about(conference=conference)) for _ in range(3))
    known = empty(earlier).merge(earlier)

    assert known.merge(one).merge(other) == known.merge(other).merge(one)


@given(recordings, st.data())
def test_merging_is_idempotent(known: Recording, data: st.DataObject) -> None:
    fact = data.draw(facts_about(conference=known.conference_id is not None))
    merged = known.merge(fact)

    assert merged.merge(fact) is merged


@given(fact_lists(), st.data())
def test_any_order_with_any_repeats_makes_the_same_recording(facts: list[Fact], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))
    shuffled = data.draw(st.permutations(facts + repeats))

    assert empty(facts[0]).merge_all(shuffled) == empty(facts[0]).merge_all(facts)


@given(st.lists(facts_about(conference=False), min_size=1), st.data())
def test_memory_and_table_come_to_the_same_decision(facts: list[Fact], data: st.DataObject) -> None:
    """A function remembers some decisions, the table has some, and both may have the same; that makes no difference."""
    decisions = [fact for fact in facts if isinstance(fact, CallDecidedFact)]
    merged = empty(facts[0]).merge_all(facts)
    split = [data.draw(st.sampled_from(["memory", "table", "both"])) for _ in decisions]

    known = KnownCall()
    for place in ("memory", "table"):
        here = [decision for decision, where in zip(decisions, split, strict=True) if where in (place, "both")]
        known = known.join(reduce(KnownCall.join, map(KnownCall.of, data.draw(st.permutations(here))), KnownCall()))

    assert known == KnownCall(
        start=merged.calls.get(sinch.CALL),
        asked=merged.asked.get(sinch.CALL),
        decided=merged.awaited.get(sinch.CALL),
        withdrawn_at=merged.withdrawn.get(sinch.CALL),
    )


@given(fact_lists(), st.data())
def test_any_order_calls_for_the_same_events(facts: list[Fact], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(facts))

    def announced(facts: list[Fact]) -> set[tuple[str, str]]:
        return {(event.id, event.detail()) for event in due_events(empty(facts[0]).merge_all(facts))}

    assert announced(shuffled) == announced(facts)


@given(fact_lists())
def test_status_only_goes_forward(facts: list[Fact]) -> None:
    """Only a file that turns out to be empty was never there."""
    order = [None, "requested", "finished", "missing", "available"]
    known = empty(facts[0])

    for fact in facts:
        later = known.merge(fact)
        emptied = any(file.empty for file in later.files.values())
        assert order.index(later.status) >= order.index(known.status) or emptied
        known = later


@given(fact_lists())
def test_what_was_published_or_claimed_survives_merging(facts: list[Fact]) -> None:
    first, *rest = facts
    claim = Claim(by="message", until=sinch.NOW)
    known = empty(first).merge(first).with_published(["out"], sinch.NOW).with_claims(["claimed"], claim)

    merged = known.merge_all(rest)

    assert merged.published == {"out": sinch.NOW}
    assert merged.claims == {"claimed": claim}


@given(facts_about())
def test_a_fact_survives_the_queue(fact: Fact) -> None:
    assert read_message(write_message(fact)) == fact
    assert write_message(fact).isascii()


@given(facts_about())
def test_a_fact_of_another_application_is_refused(fact: Fact) -> None:
    foreign = Recording(recording_id=fact.recording_id, application_key="other")

    with pytest.raises(WrongApplication):
        foreign.merge(fact)


def test_a_finish_that_overtook_the_file_or_came_after_it_is_no_step_back() -> None:
    available = RecordingAvailableFact(**ABOUT, at=sinch.NOW, destination="s3://bucket/a.mp3")
    finished = RecordingFinishedFact(**ABOUT, at=sinch.NOW - timedelta(seconds=9))

    assert empty(available).merge(available).merge(finished).status == "available"


@pytest.mark.parametrize("conference_id", [None, "standup"])
def test_the_same_file_under_two_forms_of_url_is_one_file(conference_id: str | None) -> None:
    urls = ["s3://bucket/day/a.mp3", "https://storage.example/day/a.mp3?signature=x/y"]
    about = ABOUT | {"conference_id": conference_id}
    facts = [RecordingAvailableFact(**about, at=sinch.NOW, destination=url) for url in urls]

    merged = empty(facts[0]).merge_all(facts)

    assert list(merged.files) == ["a.mp3" if conference_id else "recording"]
    assert len(due_events(merged)) == 1


@pytest.mark.parametrize("url", [None, "", "s3://bucket/"])
def test_a_file_without_a_name_is_a_file(url: str | None) -> None:
    file = StoredFile.at_url(url, sinch.NOW) if url is not None else StoredFile(at=sinch.NOW)

    assert file.name == "unnamed"


def test_the_end_of_a_call_that_nobody_asked_to_record_is_soon_forgotten() -> None:
    fact = CallEndedFact(**ABOUT, end=CallEnd(at=sinch.NOW))
    retention = timedelta(days=30)
    ended = empty(fact).merge(fact)

    assert ended.status is None
    assert ended.expires_at(retention) == sinch.NOW + timedelta(days=1)
    finished = ended.merge(RecordingFinishedFact(**ABOUT, at=sinch.NOW))
    assert finished.expires_at(retention) == sinch.NOW + retention


def refused(call_id: str | None, at: timedelta = timedelta(), code: str = "40001") -> AnswerRefusedFact:
    about: dict[str, Any] = {"recording_id": "standup", "application_key": sinch.APPLICATION}
    return AnswerRefusedFact(
        **about, conference_id="standup", call_id=call_id, error=CallingError(at=sinch.NOW + at, code=code)
    )


def test_the_first_calling_error_of_each_call_is_kept_for_as_long_as_a_recording() -> None:
    later = timedelta(seconds=1)
    facts = [refused("a", later, "50000"), refused("a"), refused("b", later), refused(None, later)]

    known = empty(facts[0]).merge_all(facts)

    kept = known.calling_errors
    if recording_module.MAX_CALLING_ERRORS > 1:
        assert {name: (error.code, error.at) for name, error in kept.items()} == {
            "a": ("40001", sinch.NOW),
            "b": ("40001", sinch.NOW + later),
            "standup": ("40001", sinch.NOW + later),
        }
    assert len(kept) <= recording_module.MAX_CALLING_ERRORS
    assert known.status is None
    assert due_events(known) == []
    assert known.expires_at(timedelta(days=30)) == max(error.at for error in kept.values()) + timedelta(days=30)
