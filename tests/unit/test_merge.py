"""The laws of merging: facts in any order, however often, make the same recording."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.call_details import CallingError
from call_recorder.facts.facts import AnswerRefusedFact, CallDecidedFact, Fact
from call_recorder.facts.messages import read_message, write_message
from call_recorder.tracking import recording as recording_module
from call_recorder.tracking.outbox_item import Claim
from call_recorder.tracking.published_events import find_due_events
from call_recorder.tracking.recording import Recording, WrongApplication
from tests import sinch
from tests.facts import CONFERENCE, after, ended, finished, known
from tests.fakes import RETENTION
from tests.strategies import empty, fact_lists, facts_about, recordings


@pytest.fixture(params=["limits as they are", "limits that bite"], scope="module", autouse=True)
def _limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check the laws again with maximums that are always exceeded."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "limits that bite":
            for limit in ("MAX_CALLS", "MAX_AWAITED", "MAX_FILES", "MAX_NOTIFICATIONS", "MAX_CALLING_ERRORS"):
                patch.setattr(recording_module, limit, 1)
        yield


@given(recordings, st.data())
def test_merging_is_idempotent(recording: Recording, data: st.DataObject) -> None:
    fact = data.draw(facts_about(conference=recording.conference_id is not None))
    merged = recording.merge(fact)

    assert merged.merge(fact) is merged


def events(recording: Recording) -> set[tuple[str, str]]:
    return {(event.id, event.detail()) for event in find_due_events(recording)}


@given(fact_lists(), st.data())
def test_any_order_and_repeats_make_the_same_recording_and_events(facts: list[Fact], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))
    shuffled = empty(facts[0]).merge_all(data.draw(st.permutations(facts + repeats)))

    assert shuffled == known(*facts)
    assert events(shuffled) == events(known(*facts))


@given(st.lists(facts_about(conference=False), min_size=1), st.data())
def test_memory_and_table_make_the_same_decision(facts: list[Fact], data: st.DataObject) -> None:
    """A function remembers some decisions, the table has some, and both may have the same. The result is the same."""
    decisions = [fact for fact in facts if isinstance(fact, CallDecidedFact)]
    merged = known(*facts)
    split = [data.draw(st.sampled_from(["memory", "table", "both"])) for _ in decisions]

    call = KnownCall()
    for place in ("memory", "table"):
        here = [decision for decision, where in zip(decisions, split, strict=True) if where in (place, "both")]
        call = call.join(reduce(KnownCall.join, map(KnownCall.of, data.draw(st.permutations(here))), KnownCall()))

    assert call == KnownCall(
        start=merged.calls.get(sinch.CALL),
        asked=merged.asked.get(sinch.CALL),
        decided=merged.awaited.get(sinch.CALL),
        withdrawn_at=merged.withdrawn.get(sinch.CALL),
    )


@given(fact_lists())
def test_status_only_goes_forward(facts: list[Fact]) -> None:
    """The exception is a file that turns out to be empty."""
    order = [None, "requested", "finished", "missing", "available"]
    recording = empty(facts[0])

    for fact in facts:
        later = recording.merge(fact)
        emptied = any(file.empty for file in later.files.values())
        assert order.index(later.status) >= order.index(recording.status) or emptied
        recording = later


@given(fact_lists())
def test_published_and_claimed_events_survive_merging(facts: list[Fact]) -> None:
    claim = Claim(by="message", until=sinch.NOW)
    first = known(facts[0]).with_published(["out"], sinch.NOW).with_claims(["claimed"], claim)

    merged = first.merge_all(facts)

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


def test_the_end_of_an_unrecorded_call_is_kept_for_a_day() -> None:
    call_ended = known(ended(at=sinch.NOW))

    assert call_ended.status is None
    assert call_ended.expires_at(RETENTION) == sinch.NOW + timedelta(days=1)
    assert call_ended.merge(finished(at=sinch.NOW)).expires_at(RETENTION) == sinch.NOW + RETENTION


def refused(call_id: str | None, at: datetime, code: str = "40001") -> AnswerRefusedFact:
    return AnswerRefusedFact(**CONFERENCE | {"call_id": call_id}, error=CallingError(at=at, code=code))


def test_the_first_calling_error_of_each_call_is_kept_for_the_retention() -> None:
    facts = [refused("a", after(1), "50000"), refused("a", after()), refused("b", after(1)), refused(None, after(1))]

    recording = known(*facts)

    kept = recording.calling_errors
    if recording_module.MAX_CALLING_ERRORS > 1:
        errors = {name: (error.code, error.at) for name, error in kept.items()}
        assert errors == {"a": ("40001", after()), "b": ("40001", after(1)), "standup": ("40001", after(1))}
    assert len(kept) <= recording_module.MAX_CALLING_ERRORS
    assert recording.status is None
    assert find_due_events(recording) == []
    assert recording.expires_at(RETENTION) == max(error.at for error in kept.values()) + RETENTION
