"""Conducts a trial: puts each profile in force, asks for its calls, and waits until all that they cause has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from call_recorder_cli.recordings.lists import DAY, RecordingLists
from call_recorder_cli.trial.calls import RULE_PREFIX, Batch, Line, TrialCall, make_profile
from call_recorder_cli.trial.observations import (
    CallRecord,
    Evidence,
    Heard,
    StoredFile,
    Window,
    read_lines,
    sort_by_call,
)

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

    from call_recorder_cli.trial.kept_profile import KeptProfile

_POLL_SECONDS: Final = 3.0
_CLOCK_DIFFERENCE: Final = timedelta(seconds=10)  # between this machine and Lambda
_MARGIN_SECONDS: Final = 2.0  # for a callback that read the parameters just before they changed


class CallbackLog:
    """CallbackFunction's log, as far as it is about one application and a trial.

    Args:
        logs: CloudWatch Logs.
        group: the function's log group.
        application_key: the application.
        since: the beginning of the trial.
    """

    def __init__(self, logs: CloudWatchLogsClient, group: str, application_key: str, since: datetime) -> None:
        self._logs = logs
        self._group = group
        self._application_key = application_key
        self._since = since - _CLOCK_DIFFERENCE

    def read(self) -> Heard:
        """Return everything that was heard so far."""
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._group,
            startTime=int(self._since.timestamp() * 1000),
            # A term with a hyphen needs double quotes: "Filter pattern syntax" in CloudWatch Logs' user guide, read in
            # November 2026.
            filterPattern=f'"{self._application_key}"',
        )
        return read_lines((event["message"] for page in pages for event in page["events"]), self._application_key)


class _Log(Protocol):
    def read(self) -> Heard: ...


@dataclass(frozen=True)
class Times:
    """How long a trial waits, in seconds.

    Attributes:
        in_force: until a profile is in force everywhere.
        call: for a call to begin and end.
        late: after the last callback, if others are still to come.
        quiet: after the last callback, if all have come: a repeated one may follow.
    """

    in_force: float
    call: float = 600.0
    late: float = 120.0
    quiet: float = 6.0


@dataclass
class Trial:
    """A trial that is being conducted.

    Attributes:
        line: its numbers.
        log: what CallbackFunction says.
        times: how long to wait.
        tell: prints a sentence for the operator.
        ask: asks the operator a question; returns ``None`` without an answer.
        sleep: waits for some seconds, with some sign of it.
        clock: the time in UTC.
    """

    line: Line
    log: _Log
    times: Times
    tell: Callable[[str], None]
    ask: Callable[[str], bool | None]
    sleep: Callable[[float, str], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    windows: list[Window] = field(default_factory=list)
    answers: dict[str, bool | None] = field(default_factory=dict)

    def run(self, batches: Sequence[Batch], profile: KeptProfile) -> None:
        """Make all calls of a trial, one after the other."""
        own = profile.read()
        texts = [make_profile(batch, self.line, own) for batch in batches]  # All are checked before the first change.
        for batch, text in zip(batches, texts, strict=True):
            profile.lend(text)
            seconds = self.times.in_force + _MARGIN_SECONDS
            self.tell(f"The trial's profile is stored, and in force in {seconds:.0f} s. Do not call before.")
            self.sleep(seconds, "waiting for the profile")
            for call, number in batch.calls:
                self._wait_for_call(call, number)

    def collect(self) -> Evidence:
        """Return all that was seen until now, also what came late for an earlier call."""
        evidence = sort_by_call(self.log.read(), self.windows)
        records = {name: replace(each, answer=self.answers.get(name)) for name, each in evidence.calls.items()}
        return replace(evidence, calls=records)

    def _wait_for_call(self, call: TrialCall, number: str) -> None:
        start = self.clock()
        self.windows.append(Window(call.name, start - _CLOCK_DIFFERENCE))
        self.tell(f"Call {call.name}: {call.instruction.format(number=number, callee=self.line.callee)}")
        ends = start + timedelta(seconds=self.times.call)
        while True:
            record = self.collect().call(call.name)
            over = is_over(record, call, self.clock(), self.times)
            if over or self.clock() >= ends:
                break
            self.sleep(_POLL_SECONDS, f"waiting for the call {call.name}")
        self.windows[-1] = replace(self.windows[-1], end=self.clock())
        self.tell(f"Call {call.name}: {_describe_end(record, over=over)}")
        if call.question and record.callbacks:
            self.answers[call.name] = self.ask(call.question)


def is_over(record: CallRecord, call: TrialCall, now: datetime, times: Times) -> bool:
    """Tell whether nothing more is to be waited for: all has come, or the rest is late."""
    if not record.has("ice") or not (record.has("dice") or record.notifications):
        return False
    silent = (now - record.callbacks[-1].received_at).total_seconds()
    return silent >= (times.quiet if record.has("dice", *call.expects) else times.late)


def read_files(
    lists: RecordingLists, application_key: str, since: datetime, until: datetime
) -> Mapping[str, StoredFile]:
    """Return what the table says of the recording of each call of a trial, by the name of the call."""
    files = {}
    for day in _list_days(since, until):
        for row in lists.read(DAY, application_key, day):
            rule = str(row.get("rule", ""))
            if rule.startswith(RULE_PREFIX) and datetime.fromisoformat(str(row["requestedAt"])) >= since - timedelta(
                seconds=_POLL_SECONDS
            ):
                files[rule.removeprefix(RULE_PREFIX)] = _read_file(row)
    return files


def _read_file(row: Mapping[str, Any]) -> StoredFile:
    sizes = [each.get("size") for each in dict(row.get("files", {})).values()]
    known = [int(each) for each in sizes if each is not None]
    return StoredFile(row.get("status"), min(known) if known else None)


def _list_days(since: datetime, until: datetime) -> Iterator[str]:
    day = since.date()
    while day <= until.date():
        yield day.isoformat()
        day += timedelta(days=1)


def _describe_end(record: CallRecord, *, over: bool) -> str:
    if not record.callbacks:
        return "it did not come, and the trial goes on."
    kinds = ", ".join(each.kind for each in record.callbacks)
    return f"{kinds}." if over else f"it has not ended in time ({kinds}), and the trial goes on."
