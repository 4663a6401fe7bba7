"""Recordings are found, and printed without what a terminal obeys and without whole phone numbers."""

from __future__ import annotations

import json
from datetime import timedelta

import boto3

from call_recorder.facts.call_details import CallStart
from tests import sinch
from tests.facts import named, requested
from tests.fakes import Bus, new_processor
from tests.tables import tables
from tests.unit.cli.conftest import Run
from tests.unit.processor_under_test import InTurn, messages

APP = "app"


def record(name: str, *, caller: str = "alice", callee: str = "bob") -> None:
    call = CallStart(at=sinch.NOW + timedelta(seconds=1), from_=caller, to=callee)
    fact = requested(named(name, key=APP), at=call.at).model_copy(update={"call": call})
    assert not new_processor(tables(boto3.client("dynamodb")), Bus(), InTurn()).process(messages([fact])).failed


def test_a_list_is_a_table_or_json(run: Run) -> None:
    record("one")

    heads, row = run("recordings", "list", "--application", APP, "--callee", "bob").out.splitlines()
    assert heads.split() == ["REQUESTED", "RECORDING", "STATUS", "FROM", "TO", "RULE"]
    assert row.split() == ["2026-11-23", "09:30:01", "one", "requested", "alice", "bob", "all"]
    printed = json.loads(run("recordings", "list", "--application", APP, "--day", "2026-11-23", "--json").out)
    assert printed["recordings"][0]["recordingId"] == "one"


def test_nothing_found_has_a_sentence_and_an_exit_code(run: Run) -> None:
    printed = run("recordings", "list", "--application", APP, "--day", "2026-11-23")

    assert (printed.code, printed.out, printed.err) == (3, "", "There is no such recording.\n")


def test_a_number_is_found_however_it_is_written_and_printed_masked(run: Run) -> None:
    record("one", caller="+46701234567")

    for written in ("+46 70-123 45 67", "0046701234567", "46701234567"):
        printed = run("recordings", "list", "--application", APP, "--caller", written, "--json").out
        assert [each["from"] for each in json.loads(printed)["recordings"]] == ["+*********67"]
    assert (
        "+46701234567"
        in run("recordings", "list", "--application", APP, "--caller", "46701234567", "--show-numbers").out
    )


def test_a_callers_name_cannot_command_the_terminal(run: Run) -> None:
    record("one", caller="\x1b]0;owned\x07alice\u202e")

    printed = run("recordings", "list", "--application", APP, "--day", "2026-11-23").out
    assert "]0;owned" in printed
    assert all(char.isprintable() or char == "\n" for char in printed)
