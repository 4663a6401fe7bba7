"""The uploader's access key: what is to be done about it next, and doing it so that a crash anywhere costs nothing.

Sinch gets the key in every answer that records and uses it when the call is over, hours later. So a key is
replaced in steps, hours apart: make a new one, hand it out, wait until the last call that began with the old one
has stored its file, switch the old one off, wait again, delete it. Nothing is remembered between two runs. Each
looks at what there is (the user's keys, the newest key with its secret, the credentials that applications have)
and takes the steps that are due by that, so a run that ends halfway is taken up by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from pydantic import SecretStr

from call_recorder.facts.errors import AccessKeysUnavailable, CallRecorderError, QueueUnavailable
from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.uploader_key.plan import (
    AccessKey,
    Adopt,
    Create,
    Deactivate,
    Delete,
    Due,
    HandOut,
    NewestKey,
    NewKey,
    Observation,
    Problem,
    RotationPolicy,
    Wait,
    mask_key,
    plan_steps,
)


class Uploader(Protocol):
    """The uploader's keys, and the parameters that hold them."""

    def observe(self) -> Observation:
        """Return what there is. Raises AccessKeysUnavailable or ParametersUnavailable."""

    def create(self) -> NewKey:
        """Make a key. Raises AccessKeysUnavailable, which does not mean that none was made."""

    def deactivate(self, key_id: str) -> None:
        """Switch a key off. Raises AccessKeysUnavailable."""

    def delete(self, key_id: str) -> None:
        """Delete a key. Raises AccessKeysUnavailable."""

    def keep(self, newest: NewestKey, *, over: bool) -> None:
        """Write the newest key. Raises ParametersUnavailable, also if there is one and it is not ``over`` it."""

    def hand_out(self, application: str, credentials: SecretStr) -> None:
        """Write an application's storage credentials. Raises ParametersUnavailable."""


class Announcements(Protocol):
    """Where steps are announced."""

    def send(self, fact: UploaderKeyChangedFact) -> None:
        """Announce a step. Raises QueueUnavailable."""


Announced = Literal["created", "handed-out", "deactivated", "deleted"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken, with what may be shown of the key's id."""

    step: Announced | Literal["adopted"]
    key: str
    application: str | None = None


@dataclass(slots=True)
class RotationReport:
    """What a run did and what it left: steps that failed, problems, and what is waited for."""

    taken: list[Taken] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    days_overdue: int | None = None


class Rotation:
    """Takes the steps that are due, each announced so that none goes unannounced.

    A step is announced before it is taken: if the announcement cannot be queued, the step is left for the next run,
    and if the process ends between the two, the next run announces it again, which makes the same event. A key is
    announced as created when it has been made and before anything depends on it; if it cannot be announced or its
    secret not be kept, it is deleted again. If the process ends in between, there is a key whose secret nobody
    knows, which goes the way of every key that no application has, announced.

    Args:
        uploader: the keys and the parameters that hold them.
        announcements: where steps are announced.
        policy: the rules.
        clock: the time in UTC.
    """

    def __init__(
        self,
        uploader: Uploader,
        announcements: Announcements,
        policy: RotationPolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._uploader = uploader
        self._announcements = announcements
        self._policy = policy
        self._clock = clock

    def run(self, *, order: bool = False) -> RotationReport:
        """Take every step that is due; one that fails does not stop the others.

        Args:
            order: whether to make a new key now, whatever the age of the newest. With two keys there is none.

        Raises:
            AccessKeysUnavailable: the user's keys could not be listed.
            ParametersUnavailable: the parameters could not be read.
        """
        # The time before the look: what changes meanwhile is later, and what waits for it waits long enough.
        now = self._clock()
        seen = self._uploader.observe()
        report = RotationReport(days_overdue=seen.days_overdue(now, self._policy))
        items = plan_steps(seen, now, self._policy, order=order)
        renewal = items[0] if items else None
        if isinstance(renewal, Create | Adopt):
            items = items[1:]
            try:
                seen = self._renewed(renewal, seen, now, report)
            except CallRecorderError as error:
                report.failures.append(str(error))
            else:
                items = plan_steps(seen, now, self._policy)
        self._take(items, seen, now, report)
        return report

    def _renewed(
        self, renewal: Create | Adopt, seen: Observation, now: datetime, report: RotationReport
    ) -> Observation:
        """Make or adopt a key and keep it; return what there is then."""
        if isinstance(renewal, Adopt):
            newest = self._newest(renewal.key, renewal.secret, seen, now)
            self._keep(newest, seen)
            report.taken.append(Taken("adopted", mask_key(newest.id)))
            return replace(seen, newest=newest)
        made = self._uploader.create()
        newest = self._newest(made.key, made.secret, seen, now)
        try:
            self._announce(newest.id, "created", seen, now)
            self._keep(newest, seen)
        except CallRecorderError:
            self._take_back(newest.id, seen, now)
            raise
        report.taken.append(Taken("created", mask_key(newest.id)))
        return replace(seen, newest=newest, keys=(*seen.keys, made.key))

    def _newest(self, key: AccessKey, secret: SecretStr, seen: Observation, now: datetime) -> NewestKey:
        replaces = frozenset(holder.key_id for holder in seen.concerned(self._policy)) - {"", key.id}
        return NewestKey(key.id, secret, seen.user, now, replaces)

    def _keep(self, newest: NewestKey, seen: Observation) -> None:
        # Where there was none, another stack with the same prefix may have written one meanwhile.
        self._uploader.keep(newest, over=seen.newest is not None)

    def _take_back(self, key_id: str, seen: Observation, now: datetime) -> None:
        """Delete a key that no application has been given yet. What fails is left to the runs that follow."""
        with suppress(QueueUnavailable):
            self._announce(key_id, "deleted", seen, now)
        with suppress(AccessKeysUnavailable):
            self._uploader.delete(key_id)

    def _take(self, items: Sequence[Due], seen: Observation, now: datetime, report: RotationReport) -> None:
        report.problems += [item.text for item in items if isinstance(item, Problem)]
        report.waits += [item for item in items if isinstance(item, Wait)]
        announced = seen.held()
        for item in items:
            try:
                match item:
                    case HandOut() if seen.newest:
                        if seen.newest.id not in announced:
                            self._announce(seen.newest.id, "handed-out", seen, now)
                            announced |= {seen.newest.id}
                        self._uploader.hand_out(item.application, item.credentials)
                        report.taken.append(Taken("handed-out", mask_key(seen.newest.id), item.application))
                    case Deactivate(key):
                        self._announce(key, "deactivated", seen, now)
                        self._uploader.deactivate(key)
                        report.taken.append(Taken("deactivated", mask_key(key)))
                    case Delete(key):
                        self._announce(key, "deleted", seen, now)
                        self._uploader.delete(key)
                        report.taken.append(Taken("deleted", mask_key(key)))
            except QueueUnavailable as error:
                report.failures.append(str(error))
                return
            except CallRecorderError as error:
                report.failures.append(str(error))

    def _announce(self, key_id: str, step: Announced, seen: Observation, now: datetime) -> None:
        self._announcements.send(UploaderKeyChangedFact(at=now, user=seen.user, key=mask_key(key_id), step=step))
