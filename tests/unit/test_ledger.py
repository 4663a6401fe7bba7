"""Nothing lost, nothing announced twice: the promises of the item as the outbox."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallEnd, CallStart, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.tracking.fact_processor import CLAIM, BatchReport, Delivery
from call_recorder.tracking.published_events import due_events
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile
from tests import sinch
from tests.fakes import PATIENCE, Bus, Crash, InMemoryTables, new_processor
from tests.strategies import empty, fact_lists
from tests.unit.books import BATCH, VISIBILITY_TIMEOUT, Books, messages


def life_of_a_call(call_id: str = sinch.CALL, *, conference: str | None = None, key: str = "app") -> list[Fact]:
    about: dict[str, Any] = {
        "recording_id": conference or call_id,
        "application_key": key,
        "call_id": call_id,
        "conference_id": conference,
    }
    url = f"s3://bucket/{conference or call_id}.mp3"
    request = RecordingRequest(
        at=sinch.NOW, rule="all", destination_url=url, format="mp3", notification_events=True, transcription=True
    )
    return [
        CallDecidedFact(**about, call=CallStart(at=sinch.NOW, from_="+46700000001"), request=request),
        CallEndedFact(**about, end=CallEnd(at=sinch.NOW)),
        RecordingFinishedFact(**about, at=sinch.NOW),
        RecordingAvailableFact(**about, at=sinch.NOW, destination=url),
        TranscriptionAvailableFact(**about, at=sinch.NOW, destination=url.replace(".mp3", "-transcript.json")),
    ]


KINDS = ["Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"]


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(10) as pool:
        yield pool


@pytest.fixture
def books(executor: ThreadPoolExecutor) -> Books:
    return Books(executor)


def test_a_whole_call_in_one_batch_is_one_item_one_publish_and_one_event_of_each_kind(books: Books) -> None:
    report = books.record(*life_of_a_call())

    assert not report.failed
    assert sorted(event.detail_type for event in report.published) == sorted(KINDS)
    assert books.announced_once() == sorted(KINDS)
    assert books.bus.calls == 1
    assert books.table.recording().status == "available"
    assert not books.table.recording().claims
    assert books.table.writes == 2


def test_a_fact_that_says_nothing_new_writes_and_publishes_nothing(books: Books) -> None:
    books.record(*life_of_a_call())
    writes, calls = books.table.writes, books.bus.calls

    report = books.record(*life_of_a_call())

    assert report == BatchReport((), {})
    assert (books.table.writes, books.bus.calls) == (writes, calls)


def test_a_batch_about_many_calls_takes_one_publish(books: Books) -> None:
    books.record(*(life_of_a_call(f"call-{number}")[0] for number in range(BATCH)))

    assert books.bus.calls == 1
    assert len(books.bus.out) == BATCH


def test_an_empty_batch_is_nothing_to_do(books: Books) -> None:
    assert books.record() == BatchReport((), {})


def emptied(recording: Recording) -> list[StoredFile]:
    return [file for file in (*recording.files.values(), *recording.transcripts.values()) if file.empty]


@given(facts=fact_lists(named=True), data=st.data())
def test_any_order_repeats_and_batches_make_one_item_and_each_event_once(
    executor: ThreadPoolExecutor, facts: list[Fact], data: st.DataObject
) -> None:
    books = Books(executor)
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))
    delivered = data.draw(st.permutations(messages(facts + repeats)))

    books.drain(delivered, size=data.draw(st.integers(1, BATCH)))
    undecided = bool(books.table.items) and any(books.table.recording(name).held for name in books.table.items)
    books.drain(books.watch(after=PATIENCE.grace / 2))

    facts = [fact for fact in facts if not (isinstance(fact, CallEndedFact) and ended_apart(fact, facts))]
    expected = empty(facts[0]).merge_all(facts) if facts else None
    assert books.recordings() == ({expected.recording_id} if expected and expected.status else set())
    if expected is None or expected.status is None:
        return
    stored = books.table.recording(expected.recording_id)
    assert stored.merge_all(facts) is stored
    assert set(books.bus.ids().values()) <= {1}
    assert set(stored.published) == set(books.bus.ids()) >= {event.id for event in due_events(expected)}
    announced_too_early = set(books.bus.ids()) - {event.id for event in due_events(expected)}
    assert not announced_too_early or emptied(stored) or undecided


def ended_apart(end: CallEndedFact, facts: list[Fact]) -> bool:
    """Tell whether the end of a call may stay with the call, as nothing was decided on it."""
    return end.conference_id is not None and not any(
        isinstance(fact, CallDecidedFact) and fact.call_id == end.call_id for fact in facts
    )


def test_every_notification_fifty_times_in_parallel_makes_one_item_and_each_event_once(books: Books) -> None:
    delivered = messages(life_of_a_call() * 25 + life_of_a_call()[::-1] * 25)

    with ThreadPoolExecutor(16) as deliveries:
        reports = list(deliveries.map(lambda message: books.processor.process([message]), delivered))
    failed = {message_id for report in reports for message_id in report.failed}
    books.clock.advance(VISIBILITY_TIMEOUT)
    books.drain([message for message in delivered if message.id in failed])

    assert books.announced_once() == sorted(KINDS)
    assert list(books.table.items) == [sinch.CALL]


def test_one_message_delivered_fifty_times_at_once_is_published_once(books: Books) -> None:
    message = Delivery("the one", life_of_a_call()[3])

    with ThreadPoolExecutor(16) as deliveries:
        reports = list(deliveries.map(lambda _: books.processor.process([message]), range(50)))
    books.clock.advance(VISIBILITY_TIMEOUT)

    assert not books.processor.process([message]).failed
    assert books.announced_once() == ["Recording Available"]
    assert sum(len(report.published) for report in reports) == 1


def test_with_the_bus_down_nothing_is_lost_and_after_it_everything_goes_out_once(books: Books) -> None:
    waiting = messages(life_of_a_call())
    books.bus.down = True
    for _ in range(3):
        report = books.processor.process(waiting)
        assert set(report.failed) == {message.id for message in waiting}
        assert set(report.failed.values()) == {"PutEvents: AccessDeniedException"}
        books.clock.advance(VISIBILITY_TIMEOUT)

    assert books.table.recording().status == "available"
    books.bus.down = False
    assert books.drain(waiting) == 1
    assert books.announced_once() == sorted(KINDS)


@given(st.data())
def test_a_bus_that_refuses_at_random_loses_nothing_and_repeats_nothing(
    executor: ThreadPoolExecutor, data: st.DataObject
) -> None:
    books = Books(executor)
    facts = [fact for number in range(3) for fact in life_of_a_call(f"call-{number}")]
    refusals = iter(data.draw(st.lists(st.booleans(), max_size=30)))
    books.bus.refuses = lambda event: next(refusals, False)

    books.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, BATCH)))

    assert books.announced_once() == sorted(KINDS * 3)


def test_an_event_refused_inside_an_answer_brings_back_its_own_messages_only(books: Books) -> None:
    one, other = life_of_a_call("one")[0], life_of_a_call("other")[0]
    books.bus.refuses = lambda event: "other" in event.detail()

    report = books.record(one, other)

    assert report.failed == {"message-1": "the bus refused the event"}
    assert [event.detail_type for event in report.published] == ["Recording Requested"]
    assert books.table.recording("one").published
    assert not books.table.recording("other").published


def test_a_write_that_fails_brings_back_its_own_messages_only(books: Books) -> None:
    books.table.refuses = {"other"}

    report = books.record(life_of_a_call("one")[0], *life_of_a_call("other")[:2])

    assert report.failed == dict.fromkeys(["message-1", "message-2"], "PutItem: ValidationException")
    assert list(books.table.items) == ["one"]
    assert books.announced_once() == ["Recording Requested"]


def test_with_the_table_out_of_reach_the_whole_batch_comes_back(books: Books) -> None:
    books.table.down = True

    report = books.record(*life_of_a_call())

    assert set(report.failed.values()) == {"BatchGetItem: InternalServerError"}
    assert len(report.failed) == 5
    assert not books.bus.out


def test_a_mark_that_fails_brings_the_messages_back(books: Books) -> None:
    def fail(write: int) -> None:
        if write == 2:
            books.table.refuses = {sinch.CALL}

    books.table.before_save = fail
    waiting = messages(life_of_a_call())
    assert len(books.processor.process(waiting).failed) == 5
    books.table.refuses = set()

    books.clock.advance(VISIBILITY_TIMEOUT)
    books.drain(waiting)

    assert set(books.bus.ids().values()) == {2}
    assert len(books.bus.ids()) == len(KINDS)


def crash(*_: object) -> None:
    raise Crash


def crash_at(number: int) -> Callable[[int], None]:
    def crash_there(write: int) -> None:
        if write == number:
            raise Crash

    return crash_there


def before_the_claim(books: Books) -> None:
    books.table.before_save = crash_at(1)


def after_the_claim(books: Books) -> None:
    books.table.after_save = crash_at(1)


def before_the_publish(books: Books) -> None:
    books.bus.before = crash


def after_the_publish(books: Books) -> None:
    books.bus.after = crash


def before_the_mark(books: Books) -> None:
    books.table.before_save = crash_at(2)


def after_the_mark(books: Books) -> None:
    books.table.after_save = crash_at(2)


def mended(books: Books) -> None:
    books.bus.before = books.bus.after = lambda: None


PUBLISHED_BY_THEN = (after_the_publish, before_the_mark, after_the_mark)
CRASHES = (before_the_claim, after_the_claim, before_the_publish, *PUBLISHED_BY_THEN)


@pytest.mark.parametrize("crashes", CRASHES)
def test_after_a_crash_anywhere_every_event_goes_out_under_the_same_id(
    books: Books, executor: ThreadPoolExecutor, crashes: Callable[[Books], None]
) -> None:
    undisturbed = Books(executor)
    undisturbed.record(*life_of_a_call())
    crashes(books)
    with pytest.raises(Crash):
        books.record(*life_of_a_call())
    mended(books)
    books.clock.advance(VISIBILITY_TIMEOUT)

    assert books.drain(messages(life_of_a_call())) == 1

    assert set(books.bus.ids()) == set(undisturbed.bus.ids())
    twice = crashes in PUBLISHED_BY_THEN and crashes is not after_the_mark
    assert set(books.bus.ids().values()) == {2 if twice else 1}
    assert set(books.table.recording().published) == set(books.bus.ids())
    assert not books.table.recording().claims


def test_while_a_claim_holds_its_own_message_waits_and_others_leave_the_event_to_it(books: Books) -> None:
    fact = life_of_a_call()[3]
    books.bus.before = crash
    with pytest.raises(Crash):
        books.processor.process([Delivery("first", fact)])
    mended(books)

    again = books.processor.process([Delivery("first", fact)])
    duplicate = books.processor.process([Delivery("second", fact)])

    assert again.failed == {"first": "another delivery of the same message is under way"}
    assert duplicate == BatchReport((), {})
    assert not books.bus.out

    books.clock.advance(CLAIM.total_seconds() + 1)
    assert [event.detail_type for event in books.processor.process([Delivery("first", fact)]).published] == [
        "Recording Available"
    ]


def test_another_fact_is_published_beside_what_is_claimed(books: Books) -> None:
    requested, _, finished, *_ = life_of_a_call()
    books.bus.before = crash
    with pytest.raises(Crash):
        books.processor.process([Delivery("first", requested)])
    mended(books)

    books.processor.process([Delivery("second", finished)])

    assert books.announced_once() == ["Recording Finished"]


def test_a_claim_outlives_the_function_and_ends_before_the_message_comes_again() -> None:
    assert 10 < CLAIM.total_seconds() < VISIBILITY_TIMEOUT


def test_an_item_that_keeps_changing_brings_the_message_back(books: Books) -> None:
    finished, available = life_of_a_call()[2:4]
    books.record(finished)

    def change_behind_its_back(_: int) -> None:
        item = books.table.items[sinch.CALL]
        item["revision"] = {"N": str(int(item["revision"]["N"]) + 1)}

    books.table.before_save = change_behind_its_back

    assert books.record(available).failed == {"message-0": "the item kept changing"}


def test_an_item_that_vanished_between_publish_and_mark_is_no_endless_loop(books: Books) -> None:
    def vanish(write: int) -> None:
        if write == 2:
            del books.table.items[sinch.CALL]

    books.table.before_save = vanish

    assert books.record(life_of_a_call()[3]).failed == {"message-0": "the item kept changing"}


@pytest.mark.parametrize("together", [True, False])
def test_two_applications_with_a_conference_of_the_same_name_have_a_recording_each(
    books: Books, together: bool
) -> None:
    one, other = (life_of_a_call(f"call-of-{key}", conference="standup", key=key) for key in ("one", "other"))

    if together:
        books.drain(messages([*one, *other]), size=len(one + other))
    else:
        books.drain(messages(one))
        books.drain([Delivery(f"other-{message.id}", message.message) for message in messages(other)])

    assert books.announced_once() == sorted(KINDS * 2)
    keys = {id_: books.table.recording(id_).application_key for id_ in books.table.items}
    assert sorted(keys.values()) == ["one", "other"]
    [taken_first] = [id_ for id_ in keys if id_ == "standup"]
    [beside] = [id_ for id_ in keys if id_ != "standup"]
    assert beside == f"standup@@{keys[beside]}"
    for id_, key in keys.items():
        assert list(books.table.recording(id_).calls) == [f"call-of-{key}"]
    assert not together or taken_first


def facts_of_a_call_to_an_app_user_after_a_menu() -> list[Fact]:
    conference = bridge_conference_id(sinch.CALL)
    about: dict[str, Any] = {"application_key": sinch.APPLICATION, "call_id": sinch.CALL}
    in_conference = about | {"recording_id": conference, "conference_id": conference}
    request = RecordingRequest(
        at=sinch.NOW,
        rule="asked",
        destination_url=f"s3://bucket/{sinch.CALL}.mp3",
        format="mp3",
        notification_events=True,
        transcription=False,
    )
    return [
        CallDecidedFact(**in_conference, call=CallStart(at=sinch.NOW, from_="+46700000001")),
        CallDecidedFact(**in_conference, request=request),
        CallEndedFact(**about, recording_id=sinch.CALL, end=CallEnd(at=sinch.NOW, result="ANSWERED", duration=42)),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("together", [True, False])
def test_the_end_of_a_call_to_an_app_user_after_a_menu_is_on_the_item_of_its_conference(
    order: tuple[int, ...], together: bool
) -> None:
    facts = facts_of_a_call_to_an_app_user_after_a_menu()
    table, bus = InMemoryTables(), Bus()
    messages = [Delivery(str(index), facts[index]) for index in order]

    with ThreadPoolExecutor(2) as executor:
        processor = new_processor(table, bus, executor)
        for batch in [messages] if together else [[message] for message in messages]:
            assert not processor.process(batch).failed

    recording = table.recording(bridge_conference_id(sinch.CALL))
    assert recording.ends[sinch.CALL].duration == 42
    assert set(bus.ids().values()) == {1}
