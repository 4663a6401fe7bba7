"""Searches recordings by time, caller, callee, rule and status, and says which rule and status one has."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from call_recorder.adapters.dynamodb_items import UnreadableItem
from call_recorder.tracking.recording import Recording
from call_recorder_cli.output import Output
from call_recorder_cli.recordings.lists import CALLEE, CALLER, ListKey, RecordingLists, Row, parse_row
from call_recorder_cli.time_ranges import TimeRange

NO_CONSENT: Final = "no-consent"
OUTSTANDING: Final = "outstanding"


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        application_keys: the applications.
        times: the times of the requests. Without them, all times are searched.
        caller: the caller, in every spelling.
        callee: the callee, in every spelling.
        rule: the rule that decided.
        status: the status.
    """

    application_keys: Collection[str]
    times: TimeRange | None
    caller: Collection[str]
    callee: Collection[str]
    rule: str | None
    status: str | None

    def find(self, lists: RecordingLists) -> Iterator[tuple[Row, Recording | None]]:
        """Yield what matches, by the time of its request; without a recording if the item cannot be read."""
        for row in self._read(lists):
            try:
                recording = parse_row(row)
            except UnreadableItem:
                recording = None
            if self._matches(recording):
                yield row, recording

    def _read(self, lists: RecordingLists) -> Iterator[Row]:
        if self.times:
            return lists.search_days(self.application_keys, self.times, self._may_match)
        kind, spellings = (CALLER, self.caller) if self.caller else (CALLEE, self.callee)
        return lists.search([ListKey(kind, key, each) for key in self.application_keys for each in spellings])

    def _may_match(self, entry: Row) -> bool:
        """Tell by the entry of a list whether its item has to be read. An entry has a conference's first caller."""
        if "conferenceId" in entry:
            return True
        return all(
            not wanted or entry.get(name) in wanted for name, wanted in (("from", self.caller), ("to", self.callee))
        )

    def _matches(self, recording: Recording | None) -> bool:
        if recording is None:
            return not (self.rule or self.status or self.caller or self.callee)
        calls = recording.calls.values()
        return (
            (not self.caller or any(call.from_ in self.caller for call in calls))
            and (not self.callee or any(call.to in self.callee for call in calls))
            and self.rule in (None, find_rule(recording))
            and self.status in (None, find_status(recording))
        )

    def describe(self, output: Output, names: Collection[str]) -> str:
        """Return what was searched, in words.

        Args:
            output: masks the numbers in it.
            names: the caller and the callee as the user wrote them.
        """
        parts = [str(self.times) if self.times else "all times"]
        parts.append(f"{len(self.application_keys)} applications" if len(self.application_keys) > 1 else "")
        parts += [str(output.address(name)) for name in names]
        parts += [f"the rule {self.rule}" if self.rule else "", f"the status {self.status}" if self.status else ""]
        hint = "" if self.times or not names else " Pass --since to search all participants of conferences too."
        return f"Nothing was found. Searched: {', '.join(filter(None, parts))}.{hint}"


def find_status(recording: Recording) -> str | None:
    """Return the status of a recording. Items without one have a reason to be listed."""
    if recording.status:
        return recording.status
    if recording.answers_missed:
        return OUTSTANDING
    consent = recording.first_consent
    return NO_CONSENT if consent and not consent.given else None


def find_rule(recording: Recording) -> str | None:
    """Return the rule that decided."""
    decided = recording.first_request or recording.first_consent or next(iter(recording.awaited.values()), None)
    return decided.rule if decided else None
