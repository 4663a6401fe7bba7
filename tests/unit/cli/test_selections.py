"""The recordings of a person are found wherever the person took part, and those of nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder_cli.custody.selections import Party, SelectionReader, Side
from call_recorder_cli.stack import Stack
from call_recorder_cli.time_ranges import TimeRange
from tests import sinch
from tests.facts import AZURE_URL, available, named, notifications, requested
from tests.fakes import BUCKET
from tests.unit.cli.conftest import OUTPUTS, Run
from tests.unit.cli.recorded_calls import ANNA, APP, BELA, CLEO, after, decide, locate, process, register

DAY = timedelta(days=1)


@pytest.fixture
def reader(aws: boto3.Session) -> SelectionReader:
    register(APP, "other")
    return open_reader(aws)


def open_reader(aws: boto3.Session, *applications: str) -> SelectionReader:
    return SelectionReader(Stack("x", aws, OUTPUTS, {}, "CREATE_COMPLETE", "https://x"), applications)


def find(reader: SelectionReader, party: Party) -> list[str]:
    return [target.recording_id for target in reader.find_by_party(party)]


def join(side: Side, *numbers: str, since: datetime | None = sinch.NOW, until: datetime | None = None) -> Party:
    return Party(side, numbers, TimeRange(since, until or since + DAY / 24) if since else None)


@pytest.mark.parametrize("spelling", ["+46 70-765 43 21", "0046707654321", "46707654321"])
@pytest.mark.parametrize(
    ("side", "found"), [("caller", ["two"]), ("callee", ["one"]), ("participant", ["one", "two", "meeting"])]
)
def test_a_party_is_found_on_its_side_however_it_is_written(
    reader: SelectionReader, side: Side, found: list[str], spelling: str
) -> None:
    process(
        [
            decide("one", ANNA, BELA),
            decide("two", BELA, CLEO, key="other", at=after(seconds=1)),
            decide("three", ANNA, CLEO, at=after(seconds=2)),
            decide("a", ANNA, CLEO, conference="meeting", at=after(seconds=3)),
            decide("b", "46700000009", BELA.removeprefix("+"), conference="meeting", at=after(seconds=4)),
        ]
    )
    if side == "callee":
        found = [*found, "meeting"]

    assert find(reader, join(side, spelling)) == found


def test_a_participant_who_joins_after_midnight_is_found(reader: SelectionReader) -> None:
    """The list of days has the day of the first participant."""
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    process([decide("a", ANNA, conference="meeting", at=midnight - DAY / 24)])
    process([decide("b", CLEO, conference="meeting", at=midnight + DAY / 24)])

    assert find(reader, join("caller", CLEO, since=midnight, until=midnight + DAY)) == ["meeting"]


def test_a_range_has_its_beginning_and_not_its_end(reader: SelectionReader) -> None:
    process([decide(f"call-{day}", at=sinch.NOW + day * DAY) for day in range(4)])

    assert find(reader, join("caller", ANNA, since=sinch.NOW + DAY, until=sinch.NOW + 3 * DAY)) == ["call-1", "call-2"]


def test_all_times_have_applications_that_are_no_longer_registered(reader: SelectionReader, aws: boto3.Session) -> None:
    process([decide("old", key="former"), decide("new", at=after(seconds=1))])

    assert find(reader, join("caller", ANNA)) == ["new"]
    assert find(reader, join("caller", ANNA, since=None)) == ["old", "new"]
    assert find(open_reader(aws, "former"), join("caller", ANNA)) == ["old"]


def test_an_id_finds_the_items_of_every_application(reader: SelectionReader) -> None:
    """The second application has its item under a name with its key."""
    process([decide("meeting")])
    process([decide("meeting", key="other")])
    process([decide("old", key="former")])

    found = [(each.recording_id, each.application_key) for each in reader.find_by_id(["meeting", "old", "meeting"])]
    assert found == [("meeting", APP), ("meeting@@other", "other"), ("old", "former")]
    assert [each.recording_id for each in reader.find_by_id(["meeting@@other"])] == ["meeting@@other"]


def test_an_id_without_an_item_stays_with_each_application(reader: SelectionReader) -> None:
    """The call may have been recorded in a conference that connected it."""
    found = [(each.recording_id, each.application_key, each.row) for each in reader.find_by_id(["gone"])]

    assert found == [(name, key, {}) for key in (APP, "other") for name in ("gone", "recorder-call-gone")]


def test_a_call_is_found_that_a_conference_connects(reader: SelectionReader) -> None:
    process([decide("call", conference=bridge_conference_id("call"))])

    assert [each.recording_id for each in reader.find_by_id(["call"])] == ["recorder-call-call"]


def test_a_target_tells_its_files_in_other_stores(reader: SelectionReader) -> None:
    process([decide("one"), *notifications(named("one", key=APP), f"{locate('one')}.mp3")])
    process([requested(named("two", key=APP), AZURE_URL), available(named("two", key=APP), AZURE_URL)])

    one, two = reader.find_by_id(["one", "two"])
    assert [list(each) for each in (one.list_locations(BUCKET), one.list_elsewhere(BUCKET))] == [[locate("one")], []]
    assert [list(each) for each in (two.list_locations(BUCKET), two.list_elsewhere(BUCKET))] == [[], [AZURE_URL]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Pass one of --recording"),
        (["--recording", "x", "--caller", ANNA], "Pass one of --recording"),
        (["--caller", ANNA, "--callee", BELA, "--all-time"], "Pass one of --recording"),
        (["--recording", "x", "--all-time"], "belong to a number"),
        (["--caller", ANNA], "Pass --since and --until"),
        (["--caller", ANNA, "--since", "2026-11-23"], "Pass --since and --until"),
        (["--caller", ANNA, "--since", "2026-11-23", "--all-time"], "Pass --since and --until"),
        (["--caller", ANNA, "--since", "2026-11-24", "--until", "2026-11-23"], "--since is not before --until"),
        (["--recording", ""], "write 1 to 1300 bytes"),
        (["--caller", "x" * 300, "--all-time"], "write 1 to 256 bytes"),
    ],
)
@pytest.mark.parametrize("command", ["erase", "hold", "release"])
def test_a_choice_that_is_not_clear_is_wrong_usage(run: Run, command: str, words: list[str], says: str) -> None:
    printed = run(command, *words)

    assert (printed.code, printed.out) == (2, "")
    assert says in printed.err
