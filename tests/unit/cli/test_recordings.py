"""Recordings are found, and printed without what a terminal obeys and without whole phone numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import jsonschema
import pytest

from call_recorder.facts.call_details import AwaitedAnswer, CallStart, Consent
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.messages import QueueMessage
from call_recorder_cli.commands.list_recordings import RecordingsListReport
from tests import sinch
from tests.facts import after, ended, file_stored, named, requested
from tests.fakes import Bus, new_processor
from tests.tables import tables
from tests.unit.cli.conftest import Run
from tests.unit.processor_under_test import InTurn, messages

APP = "app"
DAY = ("--day", "2026-11-23")


def process(*facts: QueueMessage) -> None:
    processor = new_processor(tables(boto3.client("dynamodb")), Bus(), InTurn(), lambda: after(minutes=60))
    assert not processor.process(messages(facts)).failed


def record(
    name: str,
    *,
    caller: str = "alice",
    callee: str = "bob",
    key: str = APP,
    conference: str | None = None,
    at: datetime = sinch.NOW + timedelta(seconds=1),
) -> None:
    call = CallStart(at=at, from_=caller, to=callee)
    fact = requested(named(name, conference, key=key), f"s3://own/{name}.mp3", at=at)
    process(fact.model_copy(update={"call": call}))


def register(*keys: str) -> None:
    for key in keys:
        name = f"/call-recorder/{key}/application-secrets"
        boto3.client("ssm").put_parameter(Name=name, Value="secret", Type="SecureString")


def listed(run: Run, *words: str) -> list[Any]:
    printed = run("recordings", "list", "--json", *words)
    found: list[Any] = json.loads(printed.out)["recordings"] if printed.code == 0 else []
    return found


def test_a_list_is_a_table_or_json(run: Run) -> None:
    record("one")
    record("two", at=after(minutes=1))

    heads, *rows = run("recordings", "list", "--application", APP, "--callee", "bob").out.splitlines()
    assert heads.split() == ["REQUESTED", "(UTC)", "RECORDING", "STATUS", "FROM", "TO", "RULE"]
    assert rows[0].split() == ["2026-11-23", "09:30:01", "one", "requested", "alice", "bob", "all"]
    printed = json.loads(run("recordings", "list", "--application", APP, *DAY, "--json").out)
    jsonschema.validate(printed, RecordingsListReport.model_json_schema(mode="serialization"))
    assert [each["recordingId"] for each in printed["recordings"]] == ["one", "two"]


def test_all_registered_applications_are_searched_unless_one_is_named(run: Run) -> None:
    register("one", "two")
    record("b", key="two", at=after(minutes=2))
    record("a", key="one", at=after(minutes=1))
    record("c", key="unregistered")

    assert [each["recordingId"] for each in listed(run, *DAY)] == ["a", "b"]
    assert [each["recordingId"] for each in listed(run, *DAY, "--application", "two")] == ["b"]
    assert [line.split()[-1] for line in run("recordings", "list", *DAY).out.splitlines()[1:]] == ["one", "two"]


def test_nothing_found_says_what_was_searched(run: Run) -> None:
    printed = run("recordings", "list", "--application", APP, *DAY, "--caller", "+46701234567", "--missing")

    assert (printed.code, printed.out) == (3, "")
    assert printed.err == (
        "Nothing was found. Searched: from 2026-11-23 00:00:00 to 2026-11-24 00:00:00 UTC, +*********67, the status "
        "missing.\n"
    )
    assert run("recordings", "list", *DAY).err.startswith("The stack call-recorder has no application")


def test_the_last_seven_days_are_listed_by_default(run: Run) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    record("new", at=now)
    record("old", at=now - timedelta(days=7))

    assert [each["recordingId"] for each in listed(run, "--application", APP)] == ["new"]


def test_a_number_is_found_however_it_is_written_and_printed_masked(run: Run) -> None:
    record("one", caller="+46701234567")

    for written in ("+46 70-123 45 67", "0046701234567", "46701234567", "+46 (0)70 123 45 67"):
        for times in ((), DAY):
            found = listed(run, "--application", APP, "--caller", written, *times)
            assert [each["from"] for each in found] == ["+*********67"]
    assert (
        "+46701234567"
        in run("recordings", "list", "--application", APP, "--caller", "46701234567", "--show-numbers").out
    )


def test_with_a_range_every_participant_of_a_conference_is_found(run: Run) -> None:
    for call in (("call-1", "alice"), ("call-2", "+46701234567"), ("call-3", "carol")):
        record(call[0], caller=call[1], conference="standup")
    record("other", caller="zoe")

    for caller in ("alice", "0046701234567", "carol"):
        found = listed(run, "--application", APP, *DAY, "--caller", caller)
        assert [each["recordingId"] for each in found] == ["standup"]
    assert listed(run, "--application", APP, *DAY, "--caller", "alice", "--callee", "nobody") == []


def test_a_list_has_only_what_its_filters_let_through(run: Run) -> None:
    record("requested")
    record("stored", at=after(2))
    process(file_stored(named("stored", key=APP), url="s3://own/stored.mp3"))
    about = named("declined", key=APP)
    proof = Consent(at=after(3), kind="menu", rule="asked", outcome="declined", key="2")
    process(CallDecidedFact(**about, call=CallStart(at=after(3), from_="alice"), consent=proof))
    about = named("unanswered", key=APP)
    awaited = AwaitedAnswer(at=after(4), rule="outbound")
    process(CallDecidedFact(**about, call=CallStart(at=after(4), from_="alice"), awaited=awaited), ended(about))

    found = {status: listed(run, "--application", APP, *DAY, "--status", status) for status in STATUSES}

    assert {status: [each["recordingId"] for each in rows] for status, rows in found.items()} == STATUSES
    assert [each["consent"] for each in found["no-consent"]] == ["declined"]
    assert [each["recordingId"] for each in listed(run, "--application", APP, *DAY, "--rule", "asked")] == ["declined"]
    assert len(listed(run, "--application", APP, *DAY, "--limit", "3")) == 3


STATUSES = {
    "requested": ["requested"],
    "available": ["stored"],
    "no-consent": ["declined"],
    "outstanding": ["unanswered"],
    "missing": [],
}


@pytest.mark.parametrize("words", [("--missing", "--status", "available"), (*DAY, "--since", "2026-11-23")])
def test_options_that_contradict_each_other_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    assert run("recordings", "list", *words).code == 2


def test_a_callers_name_cannot_command_the_terminal(run: Run) -> None:
    record("one", caller="\x1b]0;owned\x07alice\u202e")

    for words in (("list", "--application", APP, *DAY), ("show", "one", "--application", APP)):
        printed = run("recordings", *words).out
        assert "]0;owned" in printed
        assert all(char.isprintable() or char == "\n" for char in printed)


def test_an_item_of_another_form_is_listed_and_does_not_end_the_list(run: Run) -> None:
    record("one")
    record("two", at=after(2))
    boto3.resource("dynamodb").Table("recordings").update_item(
        Key={"recordingId": "one"},
        UpdateExpression="SET requests = :odd",
        ExpressionAttributeValues={":odd": "odd"},
    )

    found = listed(run, "--application", APP, *DAY)
    assert [each["status"] for each in found] == ["unreadable", "requested"]
    assert "cannot be read: requests" in run("recordings", "show", "one", "--application", APP).err
