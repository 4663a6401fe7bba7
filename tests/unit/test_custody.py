"""An erased recording is gone and stays gone, a held one stays, and a receipt adds up."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.custody.commands import CommandRefused, Counts, read_command
from call_recorder.custody.custodian import TIME_IS_UP
from call_recorder.custody.eraser import EXPIRED, HELD
from call_recorder.custody.holder import ELSEWHERE, NO_OBJECT_LOCK
from call_recorder.facts.call_details import AskedConsent
from call_recorder.facts.facts import CallDecidedFact, Fact, FileStoredFact
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.tracking.published_events import RecordingErasedEvent
from call_recorder.tracking.recording import ITEM_KEPT
from tests import sinch
from tests.custody import BY, RECEIPT, CustodyUnderTest, DeletingTables
from tests.facts import (
    AZURE_URL,
    CALL,
    CONFERENCE,
    LOCATION,
    TRANSCRIPT_URL,
    URL,
    after,
    available,
    ended,
    finished,
    named,
    notifications,
    requested,
    stored,
    transcribed,
)
from tests.fakes import BUCKET, DEADLINES
from tests.strategies import facts_about


@pytest.fixture
def stack() -> CustodyUnderTest:
    """A stack with one recording in its bucket: two versions of the file, a delete marker, and a transcript."""
    stack = CustodyUnderTest()
    for url, marker in ((URL, False), (URL, True), (URL, False), (TRANSCRIPT_URL, False)):
        stack.bucket.put(url, marker=marker)
    stack.take(requested(), *notifications(), stored(), stored(TRANSCRIPT_URL))
    return stack


ALL = Counts(files=1, transcripts=1, versions=4, locations=1)


def test_an_erasure_leaves_only_a_tombstone_and_an_event(stack: CustodyUnderTest) -> None:
    stack.bucket.put(URL.replace(".mp3", "-of-another.mp3"))
    assert (found := stack.erase(sinch.CALL, preview=True)).counts == ALL
    assert found.state == "found"
    assert stack.tables.items

    erased = stack.erase(sinch.CALL)

    assert (erased.state, erased.counts, erased.problems) == ("erased", ALL, ())
    assert stack.erase(sinch.CALL) == erased
    assert (stack.tables.items, stack.tables.places) == ({}, {})
    assert stack.bucket.urls == {URL.replace(".mp3", "-of-another.mp3")}
    [event] = [event for event in stack.bus.out if isinstance(event, RecordingErasedEvent)]
    assert (event.data.recording_id, event.data.receipt_id, event.data.reason) == (sinch.CALL, RECEIPT, "request")
    assert sinch.CALL not in str([each.model_dump_json() for each in stack.records.erasures.values()])
    assert sinch.CALL not in str(stack.records.marks)


def test_a_recording_that_was_never_there_leaves_no_tombstone(stack: CustodyUnderTest) -> None:
    assert stack.erase("another call").state == "not-found"
    assert stack.erase(sinch.CALL, "another application").state == "not-found"
    assert stack.tables.tombstones == {}


LATE: list[Fact] = [
    requested(),
    ended(),
    finished(),
    available(),
    transcribed(),
    available(url=LOCATION + "-again.mp3"),
]


@pytest.mark.parametrize("at_once", [True, False])
def test_late_facts_and_a_late_file_bring_nothing_back(stack: CustodyUnderTest, at_once: bool) -> None:
    stack.erase(sinch.CALL)
    stack.bucket.put(URL)

    stack.take(stored(at=after(minutes=5)), *LATE, ended(named(conference_id="standup")), at_once=at_once)
    stack.erase_late_files()

    assert (stack.tables.items, stack.tables.places, stack.bucket.urls) == ({}, {}, set())
    assert stack.command("read-receipt", receiptId=RECEIPT).counts == ALL + Counts(versions=1)


@given(st.data())
def test_no_fact_in_any_order_brings_an_erased_recording_back(data: st.DataObject) -> None:
    conference = data.draw(st.booleans())
    facts: list[Fact] = data.draw(st.lists(facts_about(conference=conference), min_size=2, max_size=10))
    facts = [fact for fact in facts if not isinstance(fact, FileStoredFact)]
    stack, split = CustodyUnderTest(), data.draw(st.integers(0, len(facts)))
    stack.take(*facts[:split], at_once=data.draw(st.booleans()))
    recording_id = facts[0].recording_id if facts else sinch.CALL
    if stack.erase(recording_id, sinch.APPLICATION).state == "not-found":
        assert stack.tables.tombstones == {}
        return
    before = dict(stack.tables.items)

    stack.take(*data.draw(st.permutations(facts)), at_once=data.draw(st.booleans()))

    # A participant of whose decision the conference did not know has an item of its own, for a day.
    assert stack.tables.items.keys() <= before.keys()
    assert conference or before == {}


def test_a_conference_is_erased_with_its_files_and_participants() -> None:
    stack, bridge = CustodyUnderTest(), bridge_conference_id(sinch.CALL)
    ids, url = named(conference_id=bridge), URL.replace(sinch.CALL, "second")
    stack.take(ended(), requested(ids), requested(named("second", bridge), url), *notifications(ids), stored(url))
    assert stack.tables.items.keys() == {sinch.CALL, bridge}
    for each in (URL, url):
        stack.bucket.put(each)

    assert stack.erase(bridge).counts == Counts(files=2, versions=2, locations=2)
    stack.take(ended(), ended(named("second")), finished(ids), requested(ids), stored(url))
    stack.erase_late_files()

    assert (stack.tables.items, stack.tables.places, stack.bucket.urls) == ({}, {}, set())


def test_an_item_that_expires_during_an_erasure_is_not_called_erased(stack: CustodyUnderTest) -> None:
    locked = next(iter(stack.bucket.versions))
    stack.bucket.set_legal_hold(locked, on=True)
    assert stack.erase(sinch.CALL).state == "incomplete"

    del stack.tables.items[sinch.CALL]

    assert (stack.erase(sinch.CALL).state, stack.erase(sinch.CALL).problems) == ("incomplete", (EXPIRED,))
    assert stack.command("read-receipt", receiptId=RECEIPT).state == "incomplete"


def test_more_participants_than_one_read_returns_are_erased() -> None:
    stack, load = CustodyUnderTest(), DeletingTables.load
    for number in range(120):
        fact = (requested if number % 2 else ended)(named(f"call-{number:03}", "standup"))
        stack.take(requested(CONFERENCE), fact)

    def load_some(names: Collection[str], *others: Any) -> Any:
        assert len(names) <= 100
        return load(stack.tables, names, *others)

    stack.tables.load = load_some  # type: ignore[assignment,method-assign]

    assert stack.erase("standup").state == "erased"
    assert not stack.tables.items.keys() & {f"call-{number:03}" for number in range(30)}


def test_a_later_meeting_under_the_same_name_is_recorded_again() -> None:
    stack = CustodyUnderTest()
    stack.take(requested(CONFERENCE), *notifications(CONFERENCE))
    stack.erase("standup")
    stack.take(available(CONFERENCE))
    assert stack.tables.items == {}

    later = stack.clock() + timedelta(minutes=1)
    decision = requested(named("later call", "standup"), LOCATION + "-later.mp3", at=later)
    stack.take(decision)

    assert stack.tables.recording("standup").status == "requested"
    stack.clock.advance(120)
    assert stack.erase("standup").state == "erased"
    stack.take(decision, requested(named("third call", "standup"), LOCATION + "-third.mp3", at=later))
    assert stack.tables.items == {}
    read = stack.command("read-receipt", receiptId=RECEIPT)
    assert (read.state, read.receipt and read.receipt.recordings, read.counts.locations) == ("complete", 1, 2)


def test_facts_that_a_call_held_do_not_bring_its_conference_back() -> None:
    stack = CustodyUnderTest()
    stack.take(finished(named("undecided", "standup")), requested(CONFERENCE))
    assert stack.tables.recording("undecided").held
    stack.erase("standup")

    stack.clock.advance(DEADLINES.grace.total_seconds())
    stack.take(*stack.tables.due(stack.clock()))

    assert stack.tables.items.keys() == {"undecided"}


def test_late_witnesses_of_an_erased_meeting_do_not_enter_the_next() -> None:
    stack, url = CustodyUnderTest(), LOCATION + "-later.mp3"
    stack.take(requested(CONFERENCE))
    stack.erase("standup")
    later = stack.clock() + timedelta(minutes=1)
    stack.take(requested(named("later call", "standup"), url, at=later))
    before = stack.tables.recording("standup")

    for url_again in (URL, TRANSCRIPT_URL):
        stack.bucket.put(url_again)
    stack.take(requested(CONFERENCE), ended(CONFERENCE), available(CONFERENCE), transcribed(CONFERENCE))
    stack.take(stored(), stored(TRANSCRIPT_URL))
    stack.take(available(named("later call", "standup")))  # The new meeting's call, and the erased meeting's file.
    stack.erase_late_files()

    assert stack.tables.recording("standup") == before
    assert (set(stack.tables.places), stack.bucket.urls) == ({LOCATION + "-later"}, set())


def test_a_decision_after_the_erasure_makes_a_recording_that_can_be_erased() -> None:
    stack, later = CustodyUnderTest(), after(minutes=60 * 24 * 2 + 5)
    asked = CallDecidedFact(**CALL, asked=AskedConsent(at=sinch.NOW, rule="menu", question="q"))
    stack.take(asked)
    assert stack.erase(sinch.CALL).state == "erased"
    stack.take(asked)
    assert stack.tables.items == {}

    stack.take(requested(at=later), stored(at=later + timedelta(minutes=1)))
    stack.take(asked)
    stack.bucket.put(URL)
    assert (stack.tables.recording().asked, stack.tables.place(LOCATION).owner is None) == ({}, False)
    assert stack.eraser.erase_late_file(URL) == 0  # An event that was made up or replayed erases nothing.

    assert stack.erase(sinch.CALL).counts.files == 1
    assert (stack.tables.items, stack.tables.places, stack.bucket.urls) == ({}, {}, set())


def test_a_decision_during_an_interrupted_erasure_does_not_come_back() -> None:
    stack = CustodyUnderTest()
    stack.take(requested(CONFERENCE))
    stack.bus.down = True
    assert stack.erase("standup").state == "incomplete"
    later = requested(named("later call", "standup"), at=stack.clock() + timedelta(hours=1))
    stack.bus.down = False
    stack.take(later)
    assert stack.erase("standup").state == "erased"

    stack.take(later)

    assert (stack.tables.items, stack.tables.places) == ({}, {})


def test_a_notification_cannot_have_another_recordings_file_erased(stack: CustodyUnderTest) -> None:
    thief, own = named("thief"), LOCATION + "-of-the-thief.mp3"
    stack.bucket.put(own)
    stack.take(requested(thief, own), available(thief, URL))

    erased = stack.erase("thief")

    assert (erased.state, erased.counts.files) == ("erased", 1)
    assert len(erased.problems) == 1
    assert stack.bucket.urls == {URL, TRANSCRIPT_URL}
    assert stack.tables.place(LOCATION).owner is not None


def test_a_notification_of_a_file_out_of_reach_blocks_no_command() -> None:
    stack = CustodyUnderTest()
    stack.take(available(url=f"s3://{BUCKET}/backups/of-a-database.mp3"))

    assert stack.hold(sinch.CALL).problems == (ELSEWHERE,)
    stack.hold(sinch.CALL, "release")
    erased = stack.erase(sinch.CALL)
    assert (erased.state, erased.counts) == ("erased", Counts(locations=1, elsewhere=1))
    assert (stack.tables.items, stack.tables.places) == ({}, {})


def test_a_file_in_another_store_is_counted_and_named(stack: CustodyUnderTest) -> None:
    elsewhere = named("elsewhere")
    stack.take(requested(elsewhere, AZURE_URL), available(elsewhere, AZURE_URL))

    erased = stack.erase("elsewhere")

    assert (erased.state, erased.counts) == ("erased", Counts(elsewhere=1))
    assert erased.problems == ("Erase 1 file in azure://account/container yourself: the stack has no access there.",)


def test_facts_that_arrive_during_an_erasure_are_erased_too(stack: CustodyUnderTest) -> None:
    publish, late = stack.bus.publish, [stored(at=after(minutes=9), checksum="another")]

    def publish_late(events: Any) -> set[str]:
        if late:
            stack.bucket.put(URL)
            stack.take(late.pop())
        return publish(events)

    stack.bus.publish = publish_late  # type: ignore[method-assign]

    assert stack.erase(sinch.CALL).state == "erased"
    stack.erase_late_files()
    assert (stack.tables.items, stack.tables.places, stack.bucket.urls) == ({}, {}, set())


def test_a_held_recording_survives_erasure_retention_and_expiry() -> None:
    stack = CustodyUnderTest()
    stack.bucket.put(URL)
    stack.take(requested(retention_days=30), available(), stored())
    assert stack.hold(sinch.CALL).state == "held"

    stack.clock.advance(timedelta(days=400).total_seconds())
    stack.take(ended())

    assert (stack.erase(sinch.CALL).state, stack.erase(sinch.CALL).problems) == ("held", (HELD,))
    assert stack.erase(sinch.CALL, preview=True).state == "held"
    assert stack.round().erased == 0
    assert "expiresAt" not in stack.tables.items[sinch.CALL]
    assert stack.tables.tombstones == {}
    assert list(stack.bucket.versions.values()) == [True]

    assert stack.hold(sinch.CALL, "release").state == "released"
    assert list(stack.bucket.versions.values()) == [False]
    assert stack.round().erased == 1
    assert (stack.tables.items, stack.bucket.urls) == ({}, set())


def test_the_next_round_holds_a_file_that_came_after_the_hold() -> None:
    stack = CustodyUnderTest()
    stack.take(requested())
    stack.hold(sinch.CALL)
    assert list(stack.find(stack.clock())) == []

    stack.clock.advance(60)
    stack.bucket.put(URL)
    stack.take(stored(at=stack.clock()))

    assert stack.round().covered == 1
    assert list(stack.bucket.versions.values()) == [True]
    assert stack.round().covered == 0


def test_a_bucket_without_object_lock_refuses_a_hold(stack: CustodyUnderTest) -> None:
    stack.bucket.object_lock = False

    refused = stack.hold(sinch.CALL)

    assert (refused.state, refused.problems) == ("refused", (NO_OBJECT_LOCK,))
    assert "hold" not in stack.tables.items[sinch.CALL]


def test_a_hold_that_comes_after_the_tombstone_is_refused(stack: CustodyUnderTest) -> None:
    publish, answers = stack.bus.publish, list[str]()

    def hold_first(events: Any) -> set[str]:
        if not answers:
            answers.append(stack.hold(sinch.CALL).state)
        return publish(events)

    stack.bus.publish = hold_first  # type: ignore[method-assign]

    assert stack.erase(sinch.CALL).state == "erased"
    assert (answers, stack.tables.items) == (["refused"], {})


def test_a_hold_that_comes_before_the_tombstone_ends_the_erasure(stack: CustodyUnderTest) -> None:
    find = stack.eraser.find
    seen_before = [find(sinch.CALL, "app")]
    stack.hold(sinch.CALL)
    stack.eraser.find = lambda *about: seen_before.pop() if seen_before else find(*about)  # type: ignore[method-assign]

    assert stack.erase(sinch.CALL).state == "held"
    assert (stack.tables.tombstones, len(stack.bucket.versions)) == ({}, 4)


def test_an_erasure_that_was_interrupted_before_a_hold_is_forgotten(stack: CustodyUnderTest) -> None:
    stack.hold(sinch.CALL)
    held = stack.tables.recording()
    stack.records.save_erasure(stack.eraser._begin(held, RECEIPT, BY))

    assert stack.erase(sinch.CALL).state == "held"
    assert stack.tables.tombstones == {}


def test_the_retention_of_a_rule_ends_the_file_before_the_item() -> None:
    stack = CustodyUnderTest()
    stack.bucket.put(URL)
    stack.take(requested(retention_days=30), available(), stored(), requested(named("forever")))
    item = stack.tables.items[sinch.CALL]
    ends_at = after(60) + timedelta(days=30)
    assert int(item["expiresAt"]["N"]) == int((ends_at + ITEM_KEPT).timestamp())

    stack.clock.now = ends_at - timedelta(minutes=1)
    assert stack.round().erased == 0
    stack.clock.advance(3600 + 60)
    report = stack.round()

    assert (report.erased, report.counts.files, report.problems) == (1, 1, ())
    assert stack.tables.items.keys() == {"forever"}
    [receipt] = [each for each in stack.records.receipts.values() if each.reason == "retention"]
    read = stack.command("read-receipt", receiptId=receipt.custody_id.removeprefix("receipt:"))
    assert (read.state, read.counts.files) == ("complete", 1)


def test_the_retention_of_a_file_elsewhere_is_no_problem_of_a_round() -> None:
    stack = CustodyUnderTest()
    stack.take(requested(url=AZURE_URL, retention_days=1), available(url=AZURE_URL))
    stack.clock.advance(timedelta(days=3).total_seconds())

    report = stack.round()

    assert (report.erased, report.counts.elsewhere, report.problems) == (1, 1, ())


def test_a_round_ends_when_its_time_is_nearly_up() -> None:
    stack = CustodyUnderTest()
    stack.take(*(requested(named(name), f"{LOCATION}-{name}.mp3", retention_days=1) for name in "abc"))
    stack.clock.advance(timedelta(days=3).total_seconds())
    left = [True, True, False]

    report = stack.round(lambda: left.pop(0))

    assert (report.erased, report.complete, report.problems) == (2, False, (TIME_IS_UP,))
    last = stack.round()
    assert (last.erased, last.complete, last.problems) == (1, True, ())


def test_a_problem_with_one_recording_leaves_the_others_to_the_round(stack: CustodyUnderTest) -> None:
    for name in "ab":
        url = f"{LOCATION}-{name}.mp3"
        stack.bucket.put(url)
        stack.take(requested(named(name), url, retention_days=1))
    stack.clock.advance(timedelta(days=3).total_seconds())
    held = next(version for version in stack.bucket.versions if version.url.endswith("-a.mp3"))
    stack.bucket.set_legal_hold(held, on=True)

    report = stack.round()

    refused = "S3 refuses to delete a file (AccessDenied); a lock or the policy of the bucket may keep it."
    assert (report.erased, report.problems) == (1, (refused,))
    assert "a" in stack.tables.items


def test_traces_are_counted_once_even_if_an_erasure_was_interrupted(stack: CustodyUnderTest) -> None:
    stack.unrecorded.numbers = ["+46700000001"] * 3 + ["+46700000002"]
    about = {"applicationKey": "app", "number": "+46700000001", "receiptId": RECEIPT, "by": BY}
    about |= {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}
    assert stack.command("erase-traces", **about, preview=False).state == "refused"
    stack.command("open-receipt", receiptId=RECEIPT, by=BY, reason="request")
    assert stack.command("erase-traces", **about, preview=True).counts == Counts(traces=3)

    stack.unrecorded.crashes = True
    assert stack.command("erase-traces", **about, preview=False).state == "incomplete"
    assert stack.command("read-receipt", receiptId=RECEIPT).state == "incomplete"
    assert stack.command("erase-traces", **about, preview=False).counts == Counts(traces=3)

    assert stack.unrecorded.numbers == ["+46700000002"]
    read = stack.command("read-receipt", receiptId=RECEIPT)
    assert (read.state, read.counts) == ("complete", Counts(traces=3))
    assert "467" not in str(stack.records.traces)
    assert stack.command("erase-traces", **about, preview=False).state == "not-found"


def test_an_erasure_needs_an_open_receipt_and_keeps_the_first(stack: CustodyUnderTest) -> None:
    about = {"recordingId": sinch.CALL, "applicationKey": "app", "receiptId": RECEIPT, "by": BY, "preview": False}
    assert stack.command("erase", **about).state == "refused"
    assert stack.tables.items

    first = stack.command("open-receipt", receiptId=RECEIPT, by=BY, reason="request", note="ticket 1")
    again = stack.command("open-receipt", receiptId=RECEIPT, by="somebody else", reason="request")

    assert first == again
    assert again.receipt
    assert (again.state, again.receipt.opened_by, again.receipt.note) == ("opened", BY, "ticket 1")
    assert (
        stack.command("read-receipt", receiptId=RECEIPT[::-1].replace("-", "a")[:8] + RECEIPT[8:]).state == "not-found"
    )


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({"command": "erase", "recordingId": "a", "applicationKey": "k", "by": BY, "receiptId": RECEIPT}, "preview: "),
        ({"command": "hold", "recordingId": "", "applicationKey": "k", "by": BY}, "recordingId: "),
        ({"command": "hold", "recordingId": "a", "applicationKey": "k", "by": BY, "more": 1}, "more: "),
        ({"command": "read-receipt", "receiptId": "secret"}, "receiptId: write a UUID in lower case."),
        ({"command": "secret"}, "command: write one of erase, hold, "),
        ({"commmand": "erase"}, "command: write one of "),
    ],
)
def test_a_wrong_command_is_refused_with_its_field(event: dict[str, Any], problem: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        read_command(event)

    assert str(refused.value).startswith(problem)
    assert "secret" not in str(refused.value)
