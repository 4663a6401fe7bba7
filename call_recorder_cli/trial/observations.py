"""What CallbackFunction's log says of the callbacks during a trial, sorted by the calls of the trial."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from call_recorder_cli.trial.calls import CALLS, RULE_PREFIX

OBSERVED: Final = "callback observed"
"""The message of a log line with the shape of a callback."""

_SUMMARY: Final = "callback"
_RESULT_HUNG_UP: Final = "hung-up"


class _Logged(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, extra="ignore")


class MenuShape(_Logged):
    """Which of our menus ended, and whether its value came back whole."""

    id: str
    value: str


class DestinationShape(_Logged):
    """The form of the URL in a notification."""

    scheme: str
    host: str = "other"
    names_id: bool = False
    ending: str = "other"


class Observation(_Logged):
    """The shape of one callback, as CallbackFunction logs it (``answering/observation.py``)."""

    received_at: datetime
    event: str
    recording_id: str | None = None
    call: str | None = None
    conference: str | None = None
    outcome: str
    rule: str | None = None
    action: str | None = None
    instructions: tuple[str, ...] = ()
    records: bool = False
    fields: frozenset[str]
    spelled: Mapping[str, str]
    forms: Mapping[str, str]
    offset_ms: int
    content_type: str
    user_agent: str | None = None
    hash: str
    menu: MenuShape | None = None
    destination: DestinationShape | None = None
    error_code: str | None = None

    @property
    def kind(self) -> str:
        """The event, or for a notification its type."""
        return self.spelled.get("type", "notify").lower() if self.event == "notify" else self.event


class Problem(_Logged):
    """A callback that CallbackFunction refused, or answered in spite of a problem."""

    event: str
    outcome: str
    problem: str


@dataclass(frozen=True)
class Heard:
    """All that the log says of the callbacks during a trial, in order."""

    observations: tuple[Observation, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class StoredFile:
    """What the table says of a recording. ``size`` is in bytes."""

    status: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class CallRecord:
    """One call of a trial: its callbacks in order, its file, and what the operator heard."""

    name: str
    callbacks: tuple[Observation, ...] = ()
    file: StoredFile | None = None
    answer: bool | None = None

    def of(self, *kinds: str) -> tuple[Observation, ...]:
        """Return the callbacks of these kinds."""
        return tuple(each for each in self.callbacks if each.kind in kinds)

    def has(self, *kinds: str) -> bool:
        """Tell whether there is a callback of each of these kinds."""
        return all(self.of(kind) for kind in kinds)

    @property
    def notifications(self) -> tuple[Observation, ...]:
        """The notifications, in order."""
        return tuple(each for each in self.callbacks if each.event == "notify")


@dataclass(frozen=True)
class Evidence:
    """Everything that a trial has seen. ``strays`` are callbacks that belong to none of its calls."""

    calls: Mapping[str, CallRecord]
    strays: tuple[Observation, ...] = ()
    problems: tuple[Problem, ...] = ()

    def call(self, name: str) -> CallRecord:
        """Return what was seen of a call; nothing, if it was not made."""
        return self.calls.get(name, CallRecord(name))

    @property
    def callbacks(self) -> tuple[Observation, ...]:
        """The callbacks of all calls."""
        return tuple(each for record in self.calls.values() for each in record.callbacks)


def read_lines(lines: Iterable[str], application_key: str) -> Heard:
    """Return what the lines of a log say of an application's callbacks. Other lines, and broken ones, are ignored."""
    observations, problems = [], []
    for line in lines:
        fields = _parse(line)
        if fields.get("applicationKey") != application_key:
            continue
        try:
            if fields.get("message") == OBSERVED:
                observations.append(Observation.model_validate(fields))
            elif fields.get("message") == _SUMMARY and fields.get("problem"):
                problems.append(Problem.model_validate(fields))
        except ValidationError:  # a line of another version
            continue
    return Heard(tuple(sorted(observations, key=lambda each: each.received_at)), tuple(problems))


@dataclass(frozen=True)
class Window:
    """The time in which the operator was asked to make a call."""

    name: str
    start: datetime
    end: datetime | None = None

    def contains(self, at: datetime) -> bool:
        """Tell whether a time is in it."""
        return self.start <= at and (self.end is None or at <= self.end)


def sort_by_call(heard: Heard, windows: Sequence[Window]) -> Evidence:
    """Sort callbacks by the calls of a trial.

    The rule that decided names the call. An ICE that met no rule of the trial belongs to the call that the operator was
    asked for then. The other callbacks of a call have its id, or that of its conference.
    """
    ids: dict[str, set[str]] = {window.name: set() for window in windows}
    for ice in heard.observations:
        name = _find_name(ice, windows) if ice.event == "ice" else None
        if name in ids:
            ids[name] |= {each for each in (ice.call, ice.recording_id) if each}
    sorted_: dict[str, list[Observation]] = {name: [] for name in ids}
    strays: list[Observation] = []
    for each in heard.observations:
        own = next(
            (name for name, known in ids.items() if {each.call, each.recording_id, each.conference} & known), None
        )
        (sorted_[own] if own else strays).append(each)
    return Evidence(
        {name: CallRecord(name, tuple(callbacks)) for name, callbacks in sorted_.items()}, tuple(strays), heard.problems
    )


def _find_name(ice: Observation, windows: Sequence[Window]) -> str | None:
    if ice.rule and ice.rule.startswith(RULE_PREFIX):
        return ice.rule.removeprefix(RULE_PREFIX)
    fits = [each.name for each in windows if each.contains(ice.received_at)]
    if ice.outcome == _RESULT_HUNG_UP:
        return next((name for name in fits if CALLS[name].rule is None), None)
    return fits[-1] if fits and ice.rule is None else None


def _parse(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
