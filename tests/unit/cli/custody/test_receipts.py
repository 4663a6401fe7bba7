"""Receipts can be listed and compared with printed ones."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from call_recorder.custody.commands import Counts, Receipt
from call_recorder_cli.commands.receipts import make_digest
from tests import sinch
from tests.unit.cli.conftest import Run
from tests.unit.cli.custody.conftest import Calls
from tests.unit.cli.custody.recorded import COUNTS, Recorded
from tests.unit.cli.recorded_calls import ANNA, BELA


def test_receipts_are_listed_the_latest_first(run: Run, calls: Calls) -> None:
    for number, name in ((ANNA, "anna"), ("+46700000077", "dora")):
        Recorded.record(number, name)
        assert run("erase", "--caller", number, "--all-time", "--yes", "--note", name).code == 0

    listed = json.loads(run("receipts", "list", "--json").out)
    assert [each["receipt"]["note"] for each in listed["receipts"]] == ["dora", "anna"]
    assert [each["receipt"]["recordings"] for each in listed["receipts"]] == [1, 1]
    assert json.loads(run("receipts", "list", "--limit", "1", "--json").out)["more"] == 1
    assert run("receipts", "list", "--reason", "retention").err == "There is no receipt.\n"
    heads, *rows, more = run("receipts", "list", "--limit", "1").out.splitlines()
    assert (heads.split()[0], len(rows), more) == ("OPENED", 1, "Not shown: 1. Pass --limit to see them.")


def test_an_unknown_receipt_is_not_found(run: Run, calls: Calls) -> None:
    printed = run("receipts", "show", "0c4f6f0e-5b7c-4c39-9a53-6f2c1f6f3c11")

    assert (printed.code, printed.err) == (3, "There is no such receipt.\n")
    assert run("receipts", "show", "7").code == 2


def test_a_shown_receipt_is_a_table_with_its_digest(run: Run, calls: Calls) -> None:
    Recorded.record(ANNA, "anna")
    report = json.loads(run("erase", "--participant", ANNA, "--all-time", "--yes", "--json").out)

    shown = run("receipts", "show", report["receipt"]["receiptId"]).out
    assert "Files             2, and 1 transcripts: 6 versions" in shown
    assert report["digest"] in shown
    assert BELA not in shown
    assert report["counts"] == COUNTS


@given(st.builds(Counts, **dict.fromkeys(COUNTS, st.integers(0, 9))), st.none() | st.text(), st.integers(0, 3))
def test_the_digest_tells_receipts_apart(counts: Counts, note: str | None, recordings: int) -> None:
    first = Receipt(receipt_id="r", opened_by="me", opened_at=sinch.NOW, reason="request")
    other = first.model_copy(update={"counts": counts, "note": note, "recordings": recordings})

    read_again = Receipt.model_validate_json(other.model_dump_json(by_alias=True))
    assert make_digest(read_again) == make_digest(other)
    assert (make_digest(first) == make_digest(other)) == (first == other)
