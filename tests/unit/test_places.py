"""What the bucket says finds its recording, whoever comes first, and nothing that is there is passed over."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallEnd, CallStart, RecordingRequest
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.fact_processor import Delivery
from call_recorder.tracking.object_locations import MAX_OBJECTS, ObjectLocation, Owner, find_owner
from call_recorder.tracking.published_events import RecordingAvailableEvent as AvailableEvent
from call_recorder.tracking.published_events import RecordingUnattributedEvent, due_events
from tests import sinch
from tests.fakes import BUCKET, PATIENCE, RETENTION, Crash
from tests.strategies import objects, owners, times
from tests.unit.books import BATCH, VISIBILITY_TIMEOUT, Books, InterleavedTables, InTurn, facts_of, messages

PLACE = f"s3://{BUCKET}/recordings/day/{sinch.CALL}"
URL = f"{PLACE}.mp3"
TRANSCRIPT_URL = f"{PLACE}-transcript.json"
CALL: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}
CONFERENCE = CALL | {"recording_id": "standup", "conference_id": "standup"}
A_GRACE = PATIENCE.grace + timedelta(seconds=1)


def requested(about: dict[str, Any] = CALL, url: str = URL) -> CallDecidedFact:
    request = RecordingRequest(
        at=sinch.NOW, rule="all", destination_url=url, format="mp3", notification_events=True, transcription=True
    )
    return CallDecidedFact(**about, call=CallStart(at=sinch.NOW, from_="+46700000001"), request=request)


def stored(url: str = URL, size: int = 50, seconds: float = 60) -> ObjectStoredFact:
    return ObjectStoredFact(url=url, at=sinch.NOW + timedelta(seconds=seconds), size=size, checksum="etag")


def told(about: dict[str, Any] = CALL, url: str | None = URL) -> RecordingAvailableFact:
    return RecordingAvailableFact(**about, at=sinch.NOW + timedelta(seconds=61), destination=url)


def told_of_transcript(about: dict[str, Any] = CALL) -> TranscriptionAvailableFact:
    return TranscriptionAvailableFact(**about, at=sinch.NOW + timedelta(seconds=71), destination=TRANSCRIPT_URL)


def ended(about: dict[str, Any] = CALL) -> CallEndedFact:
    return CallEndedFact(**about, end=CallEnd(at=sinch.NOW + timedelta(seconds=55), result="ANSWERED", duration=50))


def finished(about: dict[str, Any] = CALL) -> RecordingFinishedFact:
    return RecordingFinishedFact(**about, at=sinch.NOW + timedelta(seconds=56))


def whole_call(about: dict[str, Any] = CALL) -> list[QueueMessage]:
    """Return all that is heard of a call, from Sinch and from the bucket."""
    return [
        requested(about),
        ended(about),
        finished(about),
        stored(),
        told(about),
        stored(TRANSCRIPT_URL, seconds=70),
        told_of_transcript(about),
    ]


WHOLE = ["Recording Available", "Recording Finished", "Recording Requested", "Transcription Available"]


@pytest.fixture
def books() -> Books:
    return Books(InTurn())


def undisturbed(facts: Sequence[QueueMessage]) -> Books:
    books = Books(InTurn())
    books.drain(messages(facts))
    return books


def recording_id_of(about: dict[str, Any]) -> str:
    name: str = about["recording_id"]
    return name


def assert_same_outcome(books: Books, other: Books) -> None:
    assert set(books.bus.ids()) == set(other.bus.ids())
    assert books.recordings() == other.recordings()
    for name in books.recordings():
        assert books.said(name) == other.said(name)
    for name in books.table.items:
        assert not books.table.recording(name).claims
    assert set(books.table.places) == set(other.table.places)
    for name in books.table.places:
        place, others = books.table.place(name), other.table.place(name)
        assert (place.owner, place.objects) == (others.owner, others.objects)
        assert not place.claims
    # Whatever is still due is so in both: what is outstanding, and no claim that was left behind.
    horizon = sinch.NOW + timedelta(days=9)
    assert {type(each) for each in books.table.due(horizon)} == {type(each) for each in other.table.due(horizon)}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("about", [CALL, CONFERENCE], ids=["call", "conference"])
def test_request_notification_and_object_make_one_recording_in_any_order_and_batch(
    books: Books, about: dict[str, Any], order: tuple[int, ...], size: int
) -> None:
    facts: list[QueueMessage] = [requested(about), told(about), stored()]

    books.drain(messages([facts[place] for place in order]), size=size)

    assert books.announced_once() == ["Recording Available", "Recording Requested"]
    assert_same_outcome(books, undisturbed(facts))
    [file] = books.table.recording(recording_id_of(about)).files.values()
    assert (file.url, file.size, file.checksum) == (URL, 50, "etag")


@given(st.data(), st.sampled_from([CALL, CONFERENCE]))
def test_a_whole_call_ends_alike_in_any_order_batch_and_repetition(data: st.DataObject, about: dict[str, Any]) -> None:
    books, facts = Books(InTurn()), whole_call(about)
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))

    books.drain(data.draw(st.permutations(messages([*facts, *repeats]))), size=data.draw(st.integers(1, BATCH)))

    assert books.announced_once() == WHOLE
    assert_same_outcome(books, undisturbed(facts))


@pytest.mark.parametrize("order", list(permutations(range(2))))
@pytest.mark.parametrize("size", [1, 2])
def test_without_any_notification_the_object_is_enough(books: Books, order: tuple[int, ...], size: int) -> None:
    facts: list[QueueMessage] = [requested(), stored()]

    books.drain(messages([facts[place] for place in order]), size=size)

    assert books.table.recording().status == "available"
    assert books.announced_once() == ["Recording Available", "Recording Requested"]


def test_the_same_object_again_does_nothing_twice(books: Books) -> None:
    books.drain(messages(whole_call()))
    writes, calls = books.table.writes, books.bus.calls

    books.take(stored(), stored(TRANSCRIPT_URL, seconds=70))

    assert (books.table.writes, books.bus.calls) == (writes, calls)


@given(st.data())
def test_a_transcript_and_an_empty_file_find_their_recording_too(data: st.DataObject) -> None:
    books = Books(InTurn())
    facts: list[QueueMessage] = [requested(), stored(size=0), stored(TRANSCRIPT_URL)]

    books.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, 3)))

    recording = books.table.recording()
    assert recording.status == "requested"
    assert recording.transcripts["transcript"].size == 50
    assert recording.files["recording"].empty
    assert books.announced_once() == ["Recording Requested", "Transcription Available"]


def test_a_later_version_that_has_content_makes_the_recording_available(books: Books) -> None:
    books.take(requested())
    books.take(stored(size=0))
    books.take(stored(size=70, seconds=90))

    assert books.table.recording().files["recording"].size == 70
    assert books.announced_once() == ["Recording Available", "Recording Requested"]


def test_the_object_of_a_call_to_an_app_user_after_a_menu_is_its_conferences(books: Books) -> None:
    name = bridge_conference_id(sinch.CALL)

    books.take(stored())
    books.take(requested(CALL | {"recording_id": name, "conference_id": name}), ended())

    assert books.table.recording(name).status == "available"
    assert list(books.table.items) == [name]


class Deliveries:
    """Two functions at work on the same tables, one of them in the middle of the other's work."""

    def __init__(self) -> None:
        self.table = InterleavedTables()
        self.books = Books(InTurn(), self.table)

    def meet(self, first: Sequence[QueueMessage], other: Sequence[QueueMessage], *, at: int) -> None:
        """Deliver ``first``, and ``other`` right before the ``at``-th call to the tables that it makes."""
        waiting = [messages(first, "first"), messages(other, "other")]
        failed: list[Delivery] = []

        def deliver(batch: Sequence[Delivery]) -> None:
            report = self.books.processor.process(batch)
            failed.extend(message for message in batch if message.id in report.failed)

        self.table.meanwhile[self.table.calls + at] = lambda: deliver(waiting[1])
        deliver(waiting[0])
        self.table.meanwhile.clear()
        self.books.clock.advance(VISIBILITY_TIMEOUT)
        self.books.drain([*failed, *waiting[1]])


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([requested()], [stored()]),
        ([requested()], [stored(), told()]),
        ([requested(), told()], [stored()]),
        ([requested(), stored(TRANSCRIPT_URL)], [stored()]),
        ([told()], [requested(), stored()]),
        ([requested(), ended(), told()], [finished(), stored(), stored(TRANSCRIPT_URL)]),
        ([stored()], [stored()]),
    ],
)
def test_request_and_object_at_the_same_time_find_each_other(
    one: list[QueueMessage], other: list[QueueMessage], turned: bool, at: int
) -> None:
    deliveries = Deliveries()

    deliveries.meet(*((other, one) if turned else (one, other)), at=at)

    assert_same_outcome(deliveries.books, undisturbed([*one, *other]))
    deliveries.books.announced_once()


def test_everything_twenty_five_times_in_parallel_makes_one_recording_and_each_event_once() -> None:
    delivered = messages(whole_call() * 25)
    with ThreadPoolExecutor(10) as executor, ThreadPoolExecutor(16) as deliveries:
        books = Books(executor)
        reports = list(deliveries.map(lambda message: books.processor.process([message]), delivered))
        failed = {message_id for report in reports for message_id in report.failed}
        books.clock.advance(VISIBILITY_TIMEOUT)
        books.drain([message for message in delivered if message.id in failed])

    assert books.announced_once() == WHOLE
    assert_same_outcome(books, undisturbed(whole_call()))


@pytest.mark.parametrize("at", range(1, 7))
def test_a_request_at_the_same_time_as_a_place_is_given_up_gets_its_file(at: int) -> None:
    deliveries = Deliveries()
    deliveries.books.take(stored())
    [overdue] = [message.message for message in deliveries.books.watch(after=A_GRACE)]

    deliveries.meet([overdue], [requested()], at=at)

    books = deliveries.books
    assert books.table.recording().status == "available"
    assert {"Recording Available", "Recording Requested"} <= set(books.announced_once())
    assert books.watch(after=timedelta(days=1)) == []


def test_what_is_stored_before_its_place_can_be_written_comes_again_and_harms_no_other(books: Books) -> None:
    books.table.refuses = {PLACE}
    other = CALL | {"recording_id": "other", "call_id": "other"}

    report = books.record(stored(), requested(), requested(other, URL.replace(sinch.CALL, "other")))

    assert report.failed == dict.fromkeys(["message-0", "message-1"], "PutItem: ValidationException")
    assert list(books.table.items) == ["other"]
    books.table.refuses = set()
    books.drain(messages([stored(), requested()]))
    assert books.table.recording().status == "available"


def test_an_object_whose_recording_cannot_be_written_comes_again(books: Books) -> None:
    books.take(requested())
    books.table.refuses = {sinch.CALL}

    assert books.record(stored()).failed == {"message-0": "PutItem: ValidationException"}

    books.table.refuses = set()
    books.drain(messages([stored()]))
    assert books.table.recording().status == "available"


def test_with_the_tables_out_of_reach_an_object_comes_again(books: Books) -> None:
    books.table.down = True

    assert books.record(stored()).failed == {"message-0": "BatchGetItem: InternalServerError"}


@pytest.mark.parametrize(
    "url",
    [
        "s3://another-bucket/recordings/a.mp3",
        f"s3://{BUCKET}-2/recordings/a.mp3",
        "azure://account/container/a.mp3",
        "gs://bucket/a.mp3",
    ],
)
def test_what_goes_to_another_store_writes_no_place(books: Books, url: str) -> None:
    books.take(requested(url=url), told(url=url))

    assert books.table.places == {}


@pytest.mark.parametrize("destination", [None, "https://storage.example/a.mp3", "s3://another-bucket/a.mp3"])
def test_a_notification_that_names_no_place_of_ours_writes_none(books: Books, destination: str | None) -> None:
    books.take(told(url=destination))

    assert books.table.places == {}


@pytest.mark.parametrize("order", list(permutations(range(2))))
@pytest.mark.parametrize("size", [1, 2])
def test_if_the_request_was_lost_the_notification_says_whose_the_object_is(
    books: Books, order: tuple[int, ...], size: int
) -> None:
    facts: list[QueueMessage] = [told(), stored()]

    books.drain(messages([facts[place] for place in order]), size=size)

    assert books.table.recording().files["recording"].size == 50
    assert books.announced_once() == ["Recording Available"]
    assert books.watch(after=timedelta(days=1)) == []


def test_a_transcripts_notification_says_so_too(books: Books) -> None:
    books.take(stored(TRANSCRIPT_URL))
    books.take(told_of_transcript())

    assert books.table.recording().transcripts["transcript"].size == 50


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_another_application_cannot_take_the_place_of_a_request(books: Books, order: tuple[int, ...]) -> None:
    """What it says before anything was asked is all that is known, but the request is right from then on."""
    foreign = {"recording_id": "theirs", "application_key": "other", "call_id": "theirs"}
    facts: list[QueueMessage] = [requested(), told(foreign), stored()]

    books.drain(messages([facts[place] for place in order]), size=1)

    owner = books.table.place(PLACE).owner
    assert owner is not None
    assert (owner.recording_id, owner.application_key, owner.requested) == (sinch.CALL, "app", True)
    assert books.table.recording().files["recording"].size == 50
    assert books.table.recording().status == "available"
    if order.index(0) < 2:
        assert books.table.recording("theirs").files["recording"].size is None


def test_of_two_requests_for_one_place_the_first_has_it(books: Books) -> None:
    late = requested(CALL | {"recording_id": "late", "call_id": "late"})
    assert late.request is not None
    late = late.model_copy(update={"request": late.request.model_copy(update={"at": sinch.NOW + timedelta(hours=1)})})

    books.take(late)
    books.take(requested())
    books.take(stored())

    assert books.table.recording().status == "available"
    assert books.table.recording("late").status == "requested"


def test_where_another_application_took_the_conferences_name_the_file_goes_beside_it(books: Books) -> None:
    books.take(requested(CONFERENCE | {"application_key": "first"}, URL.replace(sinch.CALL, "first")))
    books.take(requested(CONFERENCE))
    books.take(stored())

    assert books.table.recording("standup").status == "requested"
    assert books.table.recording("standup@@app").status == "available"


def unattributed(books: Books) -> list[RecordingUnattributedEvent]:
    return [event for event in books.bus.out if isinstance(event, RecordingUnattributedEvent)]


def test_what_is_nobodys_is_kept_and_announced_once_after_the_grace_and_not_before(books: Books) -> None:
    books.take(stored())
    assert books.table.place(PLACE).objects == {URL: stored()}
    assert books.table.items == {}
    assert books.watch(after=PATIENCE.grace - timedelta(seconds=1)) == []

    overdue = books.watch(after=timedelta(seconds=1))
    assert [message.message for message in overdue] == [CheckLocation(location=PLACE, at=books.clock())]
    books.drain(overdue)
    books.drain([Delivery("again", message.message) for message in overdue])
    books.take(CheckLocation(location=PLACE, at=books.clock()))

    [event] = unattributed(books)
    assert event.model_dump(mode="json", exclude_none=True)["data"] == {
        "storedAt": "2026-11-23T09:31:00Z",
        "file": {
            "url": URL,
            "storage": "s3",
            "bucket": BUCKET,
            "key": f"recordings/day/{sinch.CALL}.mp3",
            "size": 50,
            "checksum": "etag",
        },
    }
    assert books.announced_once() == ["Recording Unattributed"]
    assert books.watch(after=timedelta(days=9)) == []


def test_each_object_of_a_place_that_is_nobodys_is_announced(books: Books) -> None:
    books.take(stored(), stored(TRANSCRIPT_URL))

    books.drain(books.watch(after=A_GRACE))

    assert [event.data.file.url for event in unattributed(books)] == [URL, TRANSCRIPT_URL]


def test_what_comes_later_does_not_put_off_what_is_said_of_what_is_there(books: Books) -> None:
    books.take(stored())
    books.clock.advance(PATIENCE.grace.total_seconds() - 1)
    books.take(stored(TRANSCRIPT_URL))

    books.drain(books.watch(after=timedelta(seconds=1)))

    assert len(unattributed(books)) == 2


def test_what_comes_to_a_place_that_was_given_up_and_is_somebodys_now_is_theirs(books: Books) -> None:
    books.take(stored())
    books.drain(books.watch(after=A_GRACE))
    books.take(requested())

    books.take(stored(TRANSCRIPT_URL))

    assert [event.data.file.url for event in unattributed(books)] == [URL]
    assert books.table.recording().transcripts["transcript"].url == TRANSCRIPT_URL


def test_what_comes_to_a_place_that_was_given_up_is_announced_at_once(books: Books) -> None:
    books.take(stored())
    books.drain(books.watch(after=A_GRACE))

    books.take(stored(TRANSCRIPT_URL))
    books.take(stored(seconds=90))

    assert [event.data.file.url for event in unattributed(books)] == [URL, TRANSCRIPT_URL]
    assert books.table.place(PLACE).objects[URL].at == sinch.NOW + timedelta(seconds=90)


def test_when_the_request_comes_at_last_the_recording_is_available_and_announced(books: Books) -> None:
    books.take(stored())
    books.drain(books.watch(after=A_GRACE))

    books.take(requested())

    assert books.announced_once() == ["Recording Available", "Recording Requested", "Recording Unattributed"]
    assert books.table.recording().status == "available"
    assert books.watch(after=timedelta(days=9)) == []


def test_what_found_its_recording_in_time_is_never_nobodys(books: Books) -> None:
    books.take(stored())
    books.clock.advance(PATIENCE.grace.total_seconds() - 1)
    books.take(requested())

    assert books.watch(after=timedelta(days=9)) == []
    books.take(CheckLocation(location=PLACE, at=books.clock()))
    assert unattributed(books) == []


@pytest.mark.parametrize("early", [timedelta(), PATIENCE.grace - timedelta(seconds=1)])
def test_a_place_whose_time_has_not_come_is_left_as_it_is(books: Books, early: timedelta) -> None:
    books.take(stored())
    writes = books.table.writes

    books.take(CheckLocation(location=PLACE, at=sinch.NOW + early))

    assert books.table.writes == writes
    assert books.bus.out == []


def test_a_place_that_is_gone_is_not_made_again_by_the_watchdog(books: Books) -> None:
    books.take(CheckLocation(location=PLACE, at=sinch.NOW))

    assert books.table.places == {}
    assert books.table.writes == 0


def test_a_place_is_kept_as_long_as_others_from_the_last_that_was_heard_of_it() -> None:
    place = ObjectLocation(location=PLACE).with_object(stored(seconds=60), sinch.NOW + timedelta(seconds=65))
    given_up = place.mark_unattributed(sinch.NOW + timedelta(days=1), PATIENCE)

    assert place.expires_at(RETENTION) == sinch.NOW + timedelta(seconds=65) + RETENTION
    assert given_up.expires_at(RETENTION) == sinch.NOW + timedelta(days=1) + RETENTION


def test_of_too_many_objects_at_one_place_the_same_ones_stay_in_whatever_order() -> None:
    many = [stored(f"{PLACE}{'.mp3' * number}") for number in range(MAX_OBJECTS + 5)]

    def holding(several: Sequence[ObjectStoredFact]) -> ObjectLocation:
        place = ObjectLocation(location=PLACE)
        for each in several:
            place = place.with_object(each, sinch.NOW)
        return place

    assert holding(many) == holding(many[::-1])
    assert len(holding(many).objects) == MAX_OBJECTS


@given(st.lists(objects, max_size=4), st.lists(owners, max_size=3), times, st.data())
def test_a_place_is_the_same_in_whatever_order_it_is_written(
    stored: list[ObjectStoredFact], claimants: list[Owner], seen_at: Any, data: st.DataObject
) -> None:
    def written(steps: Sequence[ObjectStoredFact | Owner]) -> ObjectLocation:
        place = ObjectLocation(location="s3://bucket/a")
        for step in steps:
            place = place.with_object(step, seen_at) if isinstance(step, ObjectStoredFact) else place.with_owner(step)
        return place

    steps: list[ObjectStoredFact | Owner] = [*stored, *claimants]
    one = written(data.draw(st.permutations([*steps, *steps[:2]])))
    other = written(data.draw(st.permutations(steps)))

    assert (one.owner, one.objects) == (other.owner, other.objects)
    assert one.overdue_at(PATIENCE) == other.overdue_at(PATIENCE)
    assert sorted(map(repr, one.files())) == sorted(map(repr, other.files()))


@given(st.lists(owners, min_size=1, max_size=4))
def test_a_request_outweighs_a_notification_and_then_the_earlier_counts(claimants: list[Owner]) -> None:
    place = ObjectLocation(location="s3://bucket/a")
    for claimant in claimants:
        place = place.with_owner(claimant)

    assert place.owner in claimants
    assert place.owner is not None
    assert place.owner.requested == any(claimant.requested for claimant in claimants)
    alike = [claimant for claimant in claimants if claimant.requested == place.owner.requested]
    assert place.owner.at == min(claimant.at for claimant in alike)


@pytest.mark.parametrize(
    ("fact", "requested_there"),
    [(requested(), True), (told(), False), (told_of_transcript(), False)],
)
def test_who_says_whose_a_place_is(fact: QueueMessage, requested_there: bool) -> None:
    found = find_owner(fact, BUCKET)

    assert found is not None
    assert found[0] == PLACE
    assert found[1].requested is requested_there


@pytest.mark.parametrize(
    "fact",
    [
        ended(),
        finished(),
        told(url=None),
        stored(),
        CallDecidedFact(**CALL, call=CallStart(at=sinch.NOW)),
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=sinch.NOW),
        CheckLocation(location=PLACE, at=sinch.NOW),
    ],
)
def test_who_says_nothing_of_whose_a_place_is(fact: QueueMessage) -> None:
    assert find_owner(fact, BUCKET) is None


class Faults:
    """Ends the process at chosen points of the work, counted over all deliveries."""

    def __init__(self, books: Books, at: set[tuple[str, int]]) -> None:
        self._at, self._published = set(at), 0
        books.table.before_save = lambda write: self._crash("before the write", write)
        books.table.after_save = lambda write: self._crash("after the write", write)
        books.bus.before = self._before_publish
        books.bus.after = lambda: self._crash("after the publish", self._published)

    def _before_publish(self) -> None:
        self._published += 1
        self._crash("before the publish", self._published)

    def _crash(self, where: str, number: int) -> None:
        if (where, number) in self._at:
            self._at.remove((where, number))
            raise Crash


POINTS = st.tuples(
    st.sampled_from(["before the write", "after the write", "before the publish", "after the publish"]),
    st.integers(1, 12),
)


@pytest.mark.parametrize(
    "point",
    [(where, number) for where in ("before the write", "after the write") for number in range(1, 7)]
    + [(where, 1) for where in ("before the publish", "after the publish")],
)
@pytest.mark.parametrize("facts", [whole_call(), [stored(), requested()], [stored()], [told(), stored()]])
def test_after_a_crash_anywhere_everything_ends_as_if_there_had_been_none(
    books: Books, facts: list[QueueMessage], point: tuple[str, int]
) -> None:
    Faults(books, {point})

    books.drain(messages(facts))

    assert_same_outcome(books, undisturbed(facts))


@given(st.data(), st.sets(POINTS, max_size=4))
def test_after_crashes_in_any_order_of_things_everything_ends_as_if_there_had_been_none(
    data: st.DataObject, points: set[tuple[str, int]]
) -> None:
    books, facts = Books(InTurn()), whole_call()
    Faults(books, points)

    books.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, BATCH)))

    assert_same_outcome(books, undisturbed(facts))


def a_life_in_which_everything_goes_wrong(books: Books) -> None:
    """Lose a file, then find it; and find another that is nobody's, then whose it is."""
    late = CALL | {"recording_id": "late", "call_id": "late"}
    late_url = URL.replace(sinch.CALL, "late")
    books.drain(messages([requested(), ended(), stored(late_url)]))
    books.drain(books.watch(after=timedelta(hours=5)))
    books.drain(messages([stored(seconds=90), requested(late, late_url)], "at last"))
    books.drain(books.watch(after=timedelta(hours=5)))


@given(st.sets(POINTS, max_size=4))
def test_crashes_while_something_is_given_up_and_found_again_change_nothing(points: set[tuple[str, int]]) -> None:
    calm, disturbed = Books(InTurn()), Books(InTurn())
    a_life_in_which_everything_goes_wrong(calm)
    Faults(disturbed, points)

    a_life_in_which_everything_goes_wrong(disturbed)

    assert calm.announced_once() == [
        *["Recording Available"] * 2,
        "Recording Missing",
        *["Recording Requested"] * 2,
        "Recording Unattributed",
    ]
    assert set(disturbed.bus.ids()) == set(calm.bus.ids())
    for name in calm.table.items:
        said = [
            facts_of(each.table.recording(name)) | {"missing": set(each.table.recording(name).missing)}
            for each in (calm, disturbed)
        ]
        assert said[0] == said[1]
    assert disturbed.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("refused", ["Recording Requested", "Recording Available", "Recording Unattributed"])
def test_a_bus_that_refuses_one_kind_brings_back_what_it_is_about(books: Books, refused: str) -> None:
    books.take(stored(URL.replace(sinch.CALL, "nobodys")))
    waiting = [*messages([requested(), stored()]), *books.watch(after=A_GRACE)]
    books.bus.refuses = lambda event: event.detail_type == refused

    report = books.processor.process(waiting)

    assert set(report.failed.values()) == {"the bus refused the event"}
    books.bus.refuses = lambda event: False
    books.clock.advance(VISIBILITY_TIMEOUT)
    books.drain([message for message in waiting if message.id in report.failed])
    assert books.announced_once() == ["Recording Available", "Recording Requested", "Recording Unattributed"]


def test_events_of_a_place_and_of_a_recording_go_out_in_one_call(books: Books) -> None:
    books.take(stored(URL.replace(sinch.CALL, "nobodys")))

    books.processor.process([*messages([requested(), stored()]), *books.watch(after=A_GRACE)])

    assert books.bus.calls == 1
    assert len(books.announced_once()) == 3


def available_event(facts: Sequence[QueueMessage]) -> AvailableEvent:
    books = undisturbed(facts)
    [event] = [event for event in books.bus.out if isinstance(event, AvailableEvent)]
    return event


def test_the_event_is_the_same_whether_the_notification_or_the_object_brought_it() -> None:
    by_notification = available_event([requested(), told()])
    books = undisturbed([requested(), stored()])

    assert by_notification.id in books.bus.ids()
    assert due_events(books.table.recording()) == []
