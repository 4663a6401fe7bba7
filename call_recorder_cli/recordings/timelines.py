"""The story of one recording: what happened when, and who reported it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Literal

from call_recorder.facts.call_details import CallStart, Consent
from call_recorder.tracking.published_events import find_due_events
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile
from call_recorder_cli.output import Output, Report
from call_recorder_cli.recordings.words import describe_outcome, describe_reason, describe_seconds, describe_size

Step = Literal[
    "called",
    "held",
    "asked",
    "consented",
    "refused",
    "answer awaited",
    "withdrawn",
    "requested",
    "answered",
    "ended",
    "failed",
    "finished",
    "stored",
    "transcribed",
    "notified",
    "passed on",
    "missing",
    "announced",
]
"""What may happen, in the order in which it is listed if it happens within one second."""

_STEPS: Final[tuple[Step, ...]] = Step.__args__  # type: ignore[attr-defined]

Reporter = Literal["callback", "notification", "storage", "watchdog", "recorder"]
"""Who reported it: a callback of the call, Sinch's notification, the stack's bucket, or the recorder itself."""


class Moment(Report):
    """One step of the story. ``estimated``: the time is computed from others."""

    at: datetime
    step: Step
    detail: str | None = None
    reported_by: Reporter
    call_id: str | None = None
    estimated: bool = False
    event_id: str | None = None


def make_timeline(recording: Recording, output: Output) -> tuple[Moment, ...]:
    """Return the story of a recording, by time.

    Args:
        recording: the recording.
        output: masks the numbers in it.
    """
    story = _Story(recording, output)
    moments = [*story.tell_calls(), *story.tell_decisions(), *story.tell_files(), *story.tell_events()]
    return tuple(sorted(moments, key=lambda moment: (moment.at, _STEPS.index(moment.step), moment.call_id or "")))


def describe_call(call: CallStart, output: Output) -> str:
    """Return who calls whom."""
    kind = f" ({output.text(call.to_type)})" if call.to_type else ""
    return f"{output.address(call.from_) or 'unknown'} to {output.address(call.to) or 'unknown'}{kind}"


class _Story:
    """Tells the parts of one recording's story."""

    def __init__(self, recording: Recording, output: Output) -> None:
        self._recording = recording
        self._output = output

    def tell_calls(self) -> Iterator[Moment]:
        """Yield how the calls began, were answered and ended."""
        for call_id, call in self._recording.calls.items():
            yield self._of_call(call_id, call.at, "called", describe_call(call, self._output))
        for call_id, end in self._recording.ends.items():
            result = ", ".join(filter(None, (end.result, end.reason)))
            lasted = f" after {describe_seconds(end.duration)}" if end.duration else ""
            yield self._of_call(call_id, end.at, "ended", self._output.text(f"{result or 'no result'}{lasted}"))
            yield from self._tell_answer(call_id, end.at, end.result, end.duration)
        for call_id, error in self._recording.calling_errors.items():
            detail = self._output.text(f"Sinch refused the answer: {error.code or '-'} {error.message or ''}".rstrip())
            yield self._of_call(call_id, error.at, "failed", detail)

    def _tell_answer(
        self, call_id: str, ended_at: datetime, result: str | None, duration: int | None
    ) -> Iterator[Moment]:
        request, awaited = self._recording.requests.get(call_id), self._recording.awaited.get(call_id)
        if request and awaited and request.at > awaited.at:
            yield self._of_call(call_id, request.at, "answered", "the recording began with the answer")
        elif result == "ANSWERED" and duration:
            at = ended_at - timedelta(seconds=duration)
            moment = self._of_call(call_id, at, "answered", "computed from the end and the duration")
            yield moment.model_copy(update={"estimated": True})

    def tell_decisions(self) -> Iterator[Moment]:
        """Yield what was asked of the callers, what they chose, and what Sinch was told."""
        recording, text = self._recording, self._output.text
        for call_id, asked in recording.asked.items():
            yield self._of_call(call_id, asked.at, "asked", text(f"by the menu of the rule {asked.rule}"))
        for call_id, consent in recording.consents.items():
            step: Step = "consented" if consent.given else "refused"
            yield self._of_call(call_id, consent.at, step, text(describe_consent(consent)))
        for call_id, awaited in recording.awaited.items():
            in_force = awaited.is_in_force(recording.asked.get(call_id), recording.withdrawn.get(call_id))
            doubt = "" if in_force else "; no longer in force"
            detail = text(f"to record from then on, by the rule {awaited.rule}{doubt}")
            yield self._of_call(call_id, awaited.at, "answer awaited", detail)
        for call_id, at in recording.withdrawn.items():
            yield self._of_call(call_id, at, "withdrawn", "a later answer to Sinch awaits nothing")
        for call_id, request in recording.requests.items():
            detail = text(f"Sinch was told to record ({request.format}), by the rule {request.rule}")
            yield self._of_call(call_id, request.at, "requested", detail)
        if recording.held_since:
            beside = self._output.id(recording.held_beside)
            detail = f"facts that name the conference {beside}, until there is a decision on the call"
            yield Moment(at=recording.held_since, step="held", detail=detail, reported_by="recorder")
        if recording.passed_on_at:
            detail = "the held facts belong to the conference"
            yield Moment(at=recording.passed_on_at, step="passed on", detail=detail, reported_by="recorder")

    def tell_files(self) -> Iterator[Moment]:
        """Yield what became of the recording."""
        recording = self._recording
        if recording.finished_at:
            stopped = "Sinch stopped recording"
            yield Moment(at=recording.finished_at, step="finished", detail=stopped, reported_by="notification")
        for file in recording.files.values():
            yield from self._tell_file("stored", file)
        for file in recording.transcripts.values():
            yield from self._tell_file("transcribed", file)
        for notice in recording.notifications.values():
            parts = (notice.type, notice.error_code, notice.error_message)
            detail = self._output.text(" ".join(filter(None, parts)))
            yield Moment(at=notice.at, step="notified", detail=detail, reported_by="notification")
        for missing in recording.missing.values():
            detail = describe_reason(missing.reason)
            yield Moment(at=missing.at, step="missing", detail=detail, reported_by="watchdog")

    def _tell_file(self, step: Step, file: StoredFile) -> Iterator[Moment]:
        name = self._output.id(file.name)
        if file.stored_at is not None:
            size = "" if file.size is None else f", {describe_size(file.size)}"
            yield Moment(at=file.stored_at, step=step, detail=f"{name}{size}", reported_by="storage")
        # The item keeps the earlier time. If it is not the bucket's, Sinch was first.
        if file.at != file.stored_at:
            yield Moment(at=file.at, step=step, detail=name, reported_by="notification")

    def tell_events(self) -> Iterator[Moment]:
        """Yield what was published. The item knows the ids and times only; the kinds are found by the ids."""
        unpublished = self._recording.model_copy(update={"published": {}})
        # A file that came late hides the event of the missing recording.
        former = unpublished.model_copy(update={"files": {}})
        kinds = {event.id: event.detail_type for each in (former, unpublished) for event in find_due_events(each)}
        for event_id, at in self._recording.published.items():
            detail = kinds.get(event_id, "an event of another version")
            yield Moment(at=at, step="announced", detail=detail, reported_by="recorder", event_id=event_id)

    def _of_call(self, call_id: str, at: datetime, step: Step, detail: str | None) -> Moment:
        return Moment(at=at, step=step, detail=detail, reported_by="callback", call_id=self._output.id(call_id))


def describe_consent(consent: Consent) -> str:
    """Return how a consent was asked for, and how it ended."""
    pressed = f", key {consent.key}" if consent.key else ""
    header = f", {consent.header}: {consent.header_value or 'absent'}" if consent.header else ""
    return f"{consent.kind} of the rule {consent.rule}: {describe_outcome(consent.outcome)}{pressed}{header}"
