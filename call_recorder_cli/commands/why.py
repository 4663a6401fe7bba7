"""Say why a call was recorded or not: ``call-recorder why``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import click
from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.adapters.boto_clients import BotoService
from call_recorder.adapters.dynamodb_items import batch_get, parse_items
from call_recorder.adapters.dynamodb_unrecorded_calls import UnrecordedCalls
from call_recorder.adapters.number_hash_key import NumberHashKey
from call_recorder.facts.errors import CallRecorderError, TableUnavailable
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.tracking.item_names import list_item_names
from call_recorder.tracking.recording import Recording
from call_recorder_cli.applications.parameters import list_application_keys
from call_recorder_cli.errors import CommandFailed, NotFound, TryAgain
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Output, Report, format_time, print_sentences
from call_recorder_cli.phone_numbers import list_spellings
from call_recorder_cli.recordings.lists import CALLEE, CALLER, ListKey, RecordingLists
from call_recorder_cli.recordings.reasons import Reason, find_reason
from call_recorder_cli.time_ranges import DurationOption, TimeOption, TimeRange

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.stack import Stack

_MAX_CALLS: Final = 50
"""Maximum number of calls of one number that are shown: those nearest to the time."""

_MAX_KEYS: Final = 100  # in one BatchGetItem

_LONGEST: Final = timedelta(days=365)
"""Longest time between a call and the time at which it is looked for."""


class ConsentSummary(Report):
    """How a consent was asked for, and how it ended."""

    kind: str
    rule: str
    outcome: str
    at: datetime


class ExplainedCall(Report):
    """Why a call was recorded, or why not. ``recorded`` is absent while that is not known."""

    call_id: str
    application_key: str
    recorded: bool | None = None
    outcome: str
    rule: str | None = None
    at: datetime | None = None
    from_: str | None = None
    to: str | None = None
    consent: ConsentSummary | None = None
    problem: str | None = None
    sentences: tuple[str, ...]


class WhyReport(Report):
    """Why calls were recorded or not, by time."""

    calls: tuple[ExplainedCall, ...]


@click.command("why")
@click.argument("call_id", required=False)
@click.option("--number", metavar="ADDRESS", help="Caller or callee in any spelling, instead of a call id.")
@click.option("--at", type=TimeOption(), metavar="TIME", help="Time of the call: 2026-11-23T10:15 is in UTC.")
@click.option(
    "--within",
    type=DurationOption(longest=_LONGEST),
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="How far the call may be from that time.",
)
@application_option(required=False, help_text="Only this Sinch application. Default: all.")
@stack_command(INVESTIGATOR, WhyReport)
def why(
    invocation: Invocation,
    call_id: str | None,
    number: str | None,
    at: datetime | None,
    within: timedelta,
    application_key: str | None,
) -> None:
    """Say why a call was recorded or not: the rule, the consent and the problem.

    What the stack knows of a call that it did not record depends on its parameter UnrecordedCalls.
    """
    if (call_id is None) == (number is None) or (number is None) != (at is None):
        raise click.UsageError("Pass a call id, or --number with --at.")
    stack, output = invocation.stack, invocation.output
    calls = _Calls(stack, application_key)
    try:
        if number and at:
            found = list(calls.find_by_number(number, at, within))
        else:
            found = [(call_id or "", *each) for each in calls.find_by_id(call_id or "")]
    except CallRecorderError as error:
        raise _find_cause(error) from None
    if not found:
        raise NotFound(_describe_absence(stack.parameters, by_number=number is not None))
    report = WhyReport(calls=tuple(_explain(output, *each) for each in found))
    output.emit(report, lambda console: _render(report, console))


def _find_cause(error: CallRecorderError) -> Exception:
    """Return boto3's error behind an error, which the command line turns into a sentence, or else a sentence."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, ClientError | BotoCoreError):
            return cause
        cause = cause.__cause__
    if isinstance(error, TableUnavailable):
        return TryAgain(f"DynamoDB did not return everything ({error}): try again.")
    return CommandFailed(f"The number cannot be looked up ({error}).")


class _Calls:
    """Finds the reasons for calls of a stack.

    Args:
        stack: the stack.
        application_key: the application, or ``None`` for all that are registered.
    """

    def __init__(self, stack: Stack, application_key: str | None) -> None:
        self._stack = stack
        self._chosen = application_key
        self._applications = [application_key] if application_key else list_application_keys(stack)
        self._dynamodb = BotoService(stack.session.client("dynamodb"))
        self._table = stack.outputs["RecordingsTableName"]
        self._left = self._open_unrecorded_calls()

    def _open_unrecorded_calls(self) -> UnrecordedCalls | None:
        table = self._stack.outputs.get("UnrecordedCallsTableName")
        if table is None:
            return None
        hashes = self._stack.parameters.get("UnrecordedCalls") == "hashes"
        key = NumberHashKey(BotoService(self._stack.session.client("ssm")), self._stack.outputs["ParameterPrefix"])
        return UnrecordedCalls(self._dynamodb, table, read_key=key.read if hashes else None)

    def find_by_id(self, call_id: str) -> Iterator[tuple[str, Reason]]:
        """Yield the reason for a call or conference in each application that knows it."""
        recordings = self._read_recordings(call_id)
        # An application may be gone, and its recordings still there.
        keys = dict.fromkeys([*self._applications, *(each.application_key for each in recordings if not self._chosen)])
        for key in keys:
            own = [each for each in recordings if each.application_key == key]
            # A call that an app user joins after a menu is recorded as its conference.
            recording = max(own, key=lambda each: (bool(each.decided_calls), each.recording_id), default=None)
            left = self._left.find(key, call_id) if self._left else []
            if reason := find_reason(call_id, recording, left):
                yield key, reason

    def find_by_number(self, number: str, at: datetime, within: timedelta) -> Iterator[tuple[str, str, Reason]]:
        """Yield the reasons for the calls from or to a number about a time, by time."""
        since, until = at - within, at + within
        times = TimeRange(since, until + timedelta(seconds=1))
        lists = RecordingLists.open(self._stack)
        for key in self._applications:
            list_keys = [
                ListKey(each, key, spelling) for each in (CALLER, CALLEE) for spelling in list_spellings(number)
            ]
            ids = [
                str(row.get("callId") or row.get("conferenceId") or row["recordingId"])
                for row in lists.search(list_keys, times)
            ]
            ids += self._left.find_call_ids(key, number, since, until) if self._left else []
            found = [
                (call_id, key, reason)
                for call_id in dict.fromkeys(ids)
                for own, reason in self.find_by_id(call_id)
                if own == key
            ]
            nearest = sorted(found, key=lambda each: abs((each[2].at or at) - at))[:_MAX_CALLS]
            yield from sorted(nearest, key=lambda each: each[2].at or at)

    def _read_recordings(self, call_id: str) -> list[Recording]:
        ids = (call_id, bridge_conference_id(call_id))
        names = {name: None for each in ids for key in self._applications for name in list_item_names(each, key)}
        names |= dict.fromkeys(ids)
        recordings: list[Recording] = []
        remaining = iter(names)
        while chunk := [{"recordingId": {"S": name}} for name in islice(remaining, _MAX_KEYS)]:
            items = batch_get(self._dynamodb, {self._table: chunk})
            recordings += parse_items(Recording, items.get(self._table, ()))
        return recordings


def _explain(output: Output, call_id: str, application_key: str, reason: Reason) -> ExplainedCall:
    consent, start = reason.consent, reason.start
    return ExplainedCall(
        call_id=str(output.id(call_id)),
        application_key=application_key,
        recorded=reason.recorded,
        outcome=reason.outcome,
        rule=output.text(reason.rule),
        at=reason.at,
        from_=output.address(start.from_) if start else None,
        to=output.address(start.to) if start else None,
        consent=ConsentSummary(kind=consent.kind, rule=consent.rule, outcome=consent.outcome, at=consent.at)
        if consent
        else None,
        problem=output.text(reason.problem),
        sentences=tuple(str(output.text(sentence)) for sentence in reason.sentences),
    )


def _describe_absence(parameters: Mapping[str, str], *, by_number: bool) -> str:
    """Return what it means that nothing is known of a call."""
    which = "No call from or to this number at this time is known" if by_number else "This call is unknown"
    kept = parameters.get("UnrecordedCalls", "nothing")
    days = parameters.get("RetentionDays", "some")
    if kept == "nothing":
        return (
            f"{which}: it was not recorded, or its item has expired ({days} days), or it was a call of another stack. "
            "The stack keeps nothing of calls that it does not record: set its parameter UnrecordedCalls."
        )
    return (
        f"{which}: it came before UnrecordedCalls was set to {kept}, or more than "
        f"{parameters.get('UnrecordedCallsDays', 'some')} days ago, or to another stack. A conference is found by its "
        "own id."
    )


def _render(report: WhyReport, console: Console) -> None:
    print_sentences(console, *_describe_all(report.calls))


def _describe_all(calls: Sequence[ExplainedCall]) -> Iterator[str]:
    for index, call in enumerate(calls):
        if index:
            yield ""
        parties = f", from {call.from_ or 'unknown'} to {call.to or 'unknown'}" if call.from_ or call.to else ""
        moment = f", {format_time(call.at)}" if call.at else ""
        yield f"Call {call.call_id} of {call.application_key}{moment}{parties}"
        yield from call.sentences
