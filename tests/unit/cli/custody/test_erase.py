"""Erase: everything of the chosen recordings goes, nothing of the others does, and the receipt says so."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from call_recorder.custody.commands import Receipt
from call_recorder.facts.call_details import CallStart
from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.messages import write_message
from call_recorder_cli.commands.receipts import make_digest
from tests.aws import object_created
from tests.facts import AZURE_URL, available, finished, named, requested, stored
from tests.sinch import NOW
from tests.unit.cli.conftest import Run
from tests.unit.cli.custody.conftest import Calls, put_file, refuse, scan
from tests.unit.cli.custody.recorded import COUNTS, OTHERS, Recorded, record_others
from tests.unit.cli.recorded_calls import ANNA, APP, BELA, CLEO, decide, locate, process

ALL = ("erase", "--participant", ANNA, "--all-time", "--yes")
RANGE = ("--since", "2026-11-23", "--until", "2026-11-23")
RECEIPT = re.compile(r"--resume ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


@pytest.fixture
def recorded(calls: Calls) -> Recorded:
    record_others()
    return Recorded.record(ANNA, "anna")


def erase(run: Run, *words: str, code: int = 0) -> Any:
    printed = run(*(words or ALL), "--json")
    assert printed.code == code, printed.err
    return json.loads(printed.out)


def send_dead_letters(outputs: dict[str, str], *bodies: str) -> None:
    for body in bodies:
        boto3.client("sqs").send_message(QueueUrl=outputs["RecordingDeadLetterQueueUrl"], MessageBody=body)


def find_file(name: str) -> str:
    return f'"Key": "recordings/{APP}/2026/11/23/{name}.mp3"'


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    terminal = io.StringIO(text)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)


def test_all_of_a_person_goes_and_the_rest_stays(run: Run, recorded: Recorded) -> None:
    report = erase(run)

    assert [each["recordingId"] for each in report["recordings"]] == [recorded.call, recorded.meeting]
    assert report["verified"]
    assert report["counts"] == report["receipt"]["counts"] == COUNTS
    left = scan()
    assert not any(each in left for each in (recorded.call, recorded.meeting, ANNA, "second-anna"))
    assert find_file(OTHERS) in left


def test_a_range_finds_what_began_in_it_and_says_if_nothing_did(run: Run, recorded: Recorded) -> None:
    printed = run("erase", "--participant", ANNA, "--since", "2026-11-24", "--until", "2026-11-30", "--yes")

    assert (printed.code, printed.out) == (3, "")
    assert printed.err == "There is no such recording, and no trace of such a call.\n"
    assert len(erase(run, "erase", "--participant", ANNA, *RANGE, "--yes")["recordings"]) == 2
    assert OTHERS in scan()


def test_a_preview_counts_and_erases_nothing(run: Run, recorded: Recorded) -> None:
    before = scan()

    report = erase(run, *ALL, "--preview")
    assert (report["preview"], report["counts"], report["receipt"]) == (True, COUNTS, None)
    *table, last = run(*ALL, "--preview").out.splitlines()
    assert [line.split()[2:] for line in table[1:]] == [
        [recorded.call, APP, "found", "2"],
        [recorded.meeting, APP, "found", "1"],
    ]
    assert last == (
        "2 recordings: 2 files and 1 transcript with 6 versions, 2 object locations. "
        "0 traces of unrecorded calls, 0 dead letters."
    )
    assert scan() == before
    assert recorded.call in before


@pytest.mark.parametrize(("typed", "code"), [("2\n", 0), ("yes\n", 1), ("\n", 1)])
def test_the_number_of_recordings_is_asked_for(
    run: Run, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    type_in(monkeypatch, typed)

    printed = run(*ALL[:-1])
    assert printed.code == code
    assert "1 conference with 2 participants: erased for all of them." in printed.err
    assert (recorded.call in scan()) == bool(code)


def test_without_a_terminal_nothing_is_erased(run: Run, recorded: Recorded) -> None:
    printed = run(*ALL[:-1])

    assert (printed.code, "pass --yes" in printed.err) == (1, True)
    assert recorded.call in scan()


def test_dead_letters_about_the_erased_go_and_others_stay(
    run: Run, recorded: Recorded, outputs: dict[str, str]
) -> None:
    """One of them is about a call of the person that never got an item, one about a file that is not named by an id."""
    own_name = f"{locate('a-name-of-its-own')}.mp3"
    process([requested(named("named", key=APP), own_name).model_copy(update={"call": CallStart(at=NOW, from_=ANNA)})])
    about = [
        write_message(CheckLocation(location=locate("a-name-of-its-own"), at=NOW)),
        write_message(finished(named(recorded.call, key=APP))),
        write_message(finished(named("second-anna", recorded.meeting, key=APP))),
        json.dumps(object_created(stored(f"{locate(recorded.call)}-transcript.json"))),
        write_message(decide("lost", BELA, ANNA.removeprefix("+"))),
        json.dumps({"fact": "of a later version", "callId": recorded.call}),
    ]
    others = [
        write_message(finished(named(recorded.call, key="other"))),
        json.dumps(object_created(stored(f"{locate(recorded.call)}-2.mp3"))),
        write_message(decide("lost", BELA, CLEO)),
        "no fact",
    ]
    send_dead_letters(outputs, *about, *others)

    assert run(*ALL, "--preview").out.rstrip().endswith("6 dead letters.")
    assert erase(run)["deadLetters"] == 6
    url = outputs["RecordingDeadLetterQueueUrl"]
    received = boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(each["Body"] for each in received) == sorted(others)


def test_a_repetition_says_what_was_erased_before(run: Run, recorded: Recorded) -> None:
    words = ("erase", "--recording", recorded.call, "--yes")
    first = erase(run, *words)

    again = erase(run, *words)
    assert (again["erasedBefore"], again["receipt"], again["counts"]) == (1, None, first["counts"])
    assert run(*words).out.splitlines()[-1] == "1 recording erased before."


def test_the_call_of_a_participant_is_no_recording(run: Run, recorded: Recorded) -> None:
    erase(run)

    printed = run("erase", "--recording", "second-anna", "--yes")
    assert (printed.code, printed.out) == (3, ""), printed.out + printed.err


def test_an_interrupted_erasure_goes_on_under_its_receipt(run: Run, recorded: Recorded, calls: Calls) -> None:
    calls.fails, calls.error = "PutEvents", lambda _operation: KeyboardInterrupt()

    printed = run(*ALL)
    assert (printed.code, printed.err.splitlines()[-1]) == (130, "Interrupted.")
    [receipt_id] = RECEIPT.findall(printed.err)
    report = erase(run, *ALL, "--resume", receipt_id)
    assert (report["receipt"]["receiptId"], report["receipt"]["counts"]) == (receipt_id, COUNTS)
    assert (report["receipt"]["recordings"], report["receipt"]["unfinished"]) == (2, 0)
    assert erase(run, *ALL, "--resume", receipt_id)["receipt"] == report["receipt"]


def test_a_held_recording_stays_and_is_named(run: Run, recorded: Recorded) -> None:
    assert run("hold", "--recording", recorded.call).code == 0

    printed = run(*ALL)
    assert printed.code == 6
    assert "1 recording under a legal hold, not erased: release them first." in printed.out
    left = scan()
    assert find_file(recorded.call) in left
    assert recorded.meeting not in left
    assert run("erase", "--recording", recorded.call, "--yes").code == 6
    assert run("release", "--recording", recorded.call).code == 0
    assert erase(run)["verified"]


def test_what_comes_back_meanwhile_is_noticed(run: Run, recorded: Recorded, calls: Calls) -> None:
    """No event about this upload reaches CustodyFunction here."""
    calls.meanwhile["PutEvents"] = lambda: put_file(f"{locate(recorded.call)}.mp3")

    printed = run(*ALL)
    assert printed.code == 5
    assert "Something came back meanwhile: repeat the command with --resume" in printed.err
    assert "Verified" not in printed.out


def test_files_in_other_stores_are_named(run: Run, calls: Calls) -> None:
    ids = named("call", key=APP)
    process([requested(ids, AZURE_URL), available(ids, AZURE_URL)])

    printed = run("erase", "--recording", "call", "--yes")
    assert printed.code == 6
    assert "1 file in other stores, not erased: delete them there." in printed.out
    assert f"Not erased: {AZURE_URL}" in printed.out


def test_what_fails_once_is_repeated_at_once(run: Run, recorded: Recorded, calls: Calls) -> None:
    calls.fails = "DeleteObjects"

    assert erase(run)["verified"]
    assert calls.fails is None


def test_a_crash_of_the_function_is_a_sentence(
    run: Run, recorded: Recorded, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("call_recorder.custody.eraser.make_erased_event", lambda *_: 1 / 0)

    printed = run(*ALL)
    assert printed.code == 5
    assert "stack-custody failed at erase, and its log has the reason: try again." in printed.out
    assert f"--recording {recorded.call} --recording {recorded.meeting} --resume" in printed.err
    assert "secret.py" not in printed.out + printed.err
    monkeypatch.undo()


def test_without_the_right_to_erase_the_policy_is_named(run: Run, recorded: Recorded, calls: Calls) -> None:
    calls.fails, calls.error = "Invoke", lambda operation: refuse(operation, "AccessDenied")

    printed = run("erase", "--recording", recorded.call, "--yes")
    assert (printed.code, printed.out) == (4, "")
    assert "ask for the stack's PrivacyOfficerPolicy." in printed.err


def test_the_written_receipt_names_no_recording_and_has_its_digest(
    run: Run, recorded: Recorded, tmp_path: Path
) -> None:
    path = tmp_path / "receipt.json"
    erase(run, *ALL, "--note", "DSR-17", "--receipt", str(path))

    written = json.loads(path.read_text())
    assert recorded.call not in path.read_text()
    receipt = Receipt.model_validate(written["receipt"])
    assert (receipt.note, make_digest(receipt)) == ("DSR-17", written["digest"])
    shown = json.loads(run("receipts", "show", receipt.receipt_id, "--json").out)
    assert shown == {"receipt": written["receipt"], "digest": written["digest"]}


def test_a_receipt_that_cannot_be_written_is_printed_and_stored(run: Run, recorded: Recorded, tmp_path: Path) -> None:
    printed = run(*ALL, "--receipt", str(tmp_path / "no-such-folder" / "receipt.json"))

    assert printed.code == 1
    assert "The receipt is stored: print it with call-recorder receipts show" in printed.err
    assert "Verified" in printed.out


def test_traces_of_unrecorded_calls_go_too(run: Run, calls: Calls, outputs: dict[str, str]) -> None:
    outputs["UnrecordedCallsTableName"] = "unrecorded"
    calls.traces.left[APP, ANNA] = 3

    words = ("erase", "--participant", ANNA, *RANGE, "--yes")
    assert run(*words, "--preview").out.endswith("3 traces of unrecorded calls, 0 dead letters.\n")
    report = erase(run, *words)
    assert (report["counts"]["traces"], report["receipt"]["counts"]["traces"]) == (3, 3)
    assert calls.traces.times == {
        (datetime.fromisoformat("2026-11-23T00:00Z"), datetime.fromisoformat("2026-11-24T00:00Z"))
    }


def test_traces_whose_erasure_fails_are_erased_and_counted_by_the_repetition(
    run: Run, calls: Calls, outputs: dict[str, str]
) -> None:
    outputs["UnrecordedCallsTableName"] = "unrecorded"
    calls.traces.left[APP, ANNA], calls.traces.fails = 3, True

    printed = run(*ALL)
    assert (printed.code, printed.out) == (5, "")
    assert "Traces of unrecorded calls are left. DeleteItem: InternalServerError. Repeat the command." in printed.err
    [receipt_id] = RECEIPT.findall(printed.err)
    report = erase(run, *ALL, "--resume", receipt_id)
    assert (report["receipt"]["counts"]["traces"], report["receipt"]["unfinished"]) == (3, 0)
    assert run(*ALL, "--resume", "0c4f6f0e-5b7c-4c39-9a53-6f2c1f6f3c11").err == "There is no such receipt.\n"


def test_nothing_printed_or_logged_has_a_whole_number(run: Run, recorded: Recorded, calls: Calls) -> None:
    process([decide("46701234567", ANNA, "bob\x1b[2J")])
    lines = [run(*words) for words in ((*ALL, "--preview"), (*ALL, "--note", f"of {ANNA}"), ("receipts", "list"))]
    printed = "".join(each.out + each.err for each in lines) + calls.log.getvalue()

    assert recorded.call in printed
    assert "*********67" in printed
    assert ANNA.removeprefix("+") not in re.sub(r"[\s().+_-]", "", printed)
    assert all(char.isprintable() or char == "\n" for char in printed)
