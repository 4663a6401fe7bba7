"""The custodian: carries out the commands, and makes the rounds in which the retention of rules ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from call_recorder.custody.commands import (
    Answer,
    Command,
    Counts,
    Erase,
    EraseTraces,
    Hold,
    OpenReceipt,
    ReadReceipt,
    Release,
)
from call_recorder.custody.eraser import MAX_CONFLICTS, Eraser
from call_recorder.custody.erasure import ErasedTraces, OpenedReceipt, summarize
from call_recorder.custody.holder import Holder
from call_recorder.custody.ports import Due, Records, Traces
from call_recorder.facts.errors import CallRecorderError
from call_recorder.tracking.fact_processor import Conflict

RETENTION: Final = "retention"
TIME_IS_UP: Final = "More recordings are due than one round can erase."
_NAMESPACE: Final = uuid.UUID("5c8a1b0e-2d64-5f0b-9a57-0d7f4f3c9e11")
_NO_RECEIPT: Final = "receiptId: no such receipt is open. Open it first."
_BUSY: Final = "The recording changes at the moment: repeat the command."


@dataclass(slots=True)
class Round:
    """The result of a round: what it did, what is left to the next one, and what failed."""

    erased: int = 0
    covered: int = 0
    counts: Counts = field(default_factory=Counts)
    problems: tuple[str, ...] = ()
    complete: bool = True


class Custodian:
    """Carries out commands and rounds.

    Args:
        eraser: erases recordings.
        holder: holds recordings.
        records: the table of receipts.
        due: finds what is due in a round.
        traces: the traces of unrecorded calls.
        clock: the time in UTC.
    """

    def __init__(
        self,
        *,
        eraser: Eraser,
        holder: Holder,
        records: Records,
        due: Due,
        traces: Traces,
        clock: Callable[[], datetime],
    ) -> None:
        self._eraser = eraser
        self._holder = holder
        self._records = records
        self._due = due
        self._traces = traces
        self._clock = clock

    def carry_out(self, command: Command) -> Answer:
        """Carry out a command. A failure is a problem in the answer, since a person waits for it."""
        try:
            for _ in range(MAX_CONFLICTS):
                with suppress(Conflict):
                    return self._carry_out(command)
        except CallRecorderError as error:
            return Answer(state="incomplete", problems=(f"{error}. Repeat the command.",))
        return Answer(state="incomplete", problems=(_BUSY,))

    def _carry_out(self, command: Command) -> Answer:
        match command:
            case OpenReceipt():
                return self._open(command)
            case ReadReceipt():
                return self._read(command.receipt_id)
            case Hold():
                return self._holder.hold(command.recording_id, command.application_key, command.by)
            case Release():
                return self._holder.release(command.recording_id, command.application_key)
            case Erase() | EraseTraces() if not command.preview and not self._is_open(command.receipt_id):
                return Answer(state="refused", problems=(_NO_RECEIPT,))
            case Erase():
                return self._erase(command)
            case EraseTraces():
                return self._erase_traces(command)

    def _erase(self, command: Erase) -> Answer:
        about = (command.recording_id, command.application_key)
        if command.preview:
            return self._eraser.preview(*about)
        return self._eraser.erase(*about, command.receipt_id, command.by, "request")

    def _erase_traces(self, command: EraseTraces) -> Answer:
        """Erase traces. Their number is noted before and after, so that it is counted once if this is interrupted."""
        about = (command.application_key, command.number, command.since, command.until)
        found = self._traces.count(*about)
        if command.preview:
            return Answer(state="found" if found else "not-found", counts=Counts(traces=found))
        custody_id = f"traces:{command.receipt_id}"
        entry = self._records.find_traces(custody_id) or ErasedTraces(
            custody_id=custody_id, receipt_id=command.receipt_id, at=self._clock()
        )
        if not (found or entry.pending):
            return Answer(state="not-found")
        begun = {"pending": max(found, entry.pending), "by": tuple(sorted({*entry.by, command.by}))}
        entry = self._records.save_traces(entry.model_copy(update=begun))
        erased = max(self._traces.erase(*about), entry.pending)
        done = {"traces": entry.traces + erased, "pending": 0, "done_at": self._clock()}
        self._records.save_traces(entry.model_copy(update=done))
        return Answer(state="erased", counts=Counts(traces=erased))

    def _open(self, command: OpenReceipt) -> Answer:
        self._records.open_receipt(
            OpenedReceipt(
                custody_id=_name_receipt(command.receipt_id),
                opened_by=command.by,
                opened_at=self._clock(),
                reason=command.reason,
                note=command.note,
            )
        )
        return self._read(command.receipt_id).model_copy(update={"state": "opened"})

    def _read(self, receipt_id: str) -> Answer:
        opened = self._records.find_receipt(_name_receipt(receipt_id))
        if opened is None:
            return Answer(state="not-found")
        receipt = summarize(receipt_id, opened, self._records.list_entries(receipt_id))
        return Answer(state="incomplete" if receipt.unfinished else "complete", counts=receipt.counts, receipt=receipt)

    def _is_open(self, receipt_id: str) -> bool:
        return self._records.find_receipt(_name_receipt(receipt_id)) is not None

    def make_round(self, has_time: Callable[[], bool]) -> Round:
        """Erase the recordings whose retention has ended, and put legal holds on new files.

        A failure is reported, and the next round tries again.

        Raises:
            TableUnavailable: the index cannot be read.
        """
        report = Round()
        now = self._clock()
        for name, application_key in self._due.find(now):
            if not has_time():
                report.complete = False
                report.problems += (TIME_IS_UP,)  # Lambda repeats the round soon, and an alarm tells if it goes on.
                break
            try:
                self._attend(name, application_key, now, report)
            except Conflict:
                report.complete = False
            except CallRecorderError as error:
                report.problems += (f"{error}.",)
        return report

    def _attend(self, name: str, application_key: str, now: datetime, report: Round) -> None:
        """Do what is due with one recording. The index may be older than the item."""
        recording = self._eraser.find(name, application_key)
        if recording is None or not recording.custody_due_at or recording.custody_due_at > now:
            return
        if recording.legal_hold:
            self._holder.cover(recording)
            report.covered += 1
            return
        receipt_id = self._open_for_retention(now)
        answer = self._eraser.erase(name, application_key, receipt_id, RETENTION, "retention")
        report.erased += answer.state == "erased"
        report.counts += answer.counts  # Its problems are of no round: files elsewhere, and a hold that came meanwhile.

    def _open_for_retention(self, now: datetime) -> str:
        """Open the receipt of the day, and return its id."""
        receipt_id = str(uuid.uuid5(_NAMESPACE, f"{now:%Y-%m-%d}"))
        self._records.open_receipt(
            OpenedReceipt(custody_id=_name_receipt(receipt_id), opened_by=RETENTION, opened_at=now, reason="retention")
        )
        return receipt_id


def _name_receipt(receipt_id: str) -> str:
    return f"receipt:{receipt_id}"
