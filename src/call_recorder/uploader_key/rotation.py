"""The rotation of the uploader's access key: each run takes the steps that are due. A crash at any point is harmless.

Sinch gets the key in every answer that records, and uses it hours later, when the call has ended. So a key is replaced
in steps that are hours apart: create a new key, hand it out, wait until the last call that began with the old key has
stored its file, deactivate the old key, wait again, delete it. Nothing is stored between two runs. Each run observes
the user's keys, the newest key with its secret, and the credentials of the applications, and takes the steps that are
due. So each run continues one that was interrupted.
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
    HandOut,
    NewestKey,
    NewKey,
    Observation,
    PlanItem,
    Problem,
    RotationPolicy,
    Wait,
    mask_key,
    plan_steps,
)


class Uploader(Protocol):
    """The uploader's keys, and the parameters that contain them."""

    def observe(self) -> Observation:
        """Return the observed state. Raises AccessKeysUnavailable or ParametersUnavailable."""

    def create(self) -> NewKey:
        """Create a key. Raises AccessKeysUnavailable, although a key may have been created."""

    def deactivate(self, key_id: str) -> None:
        """Deactivate a key. Raises AccessKeysUnavailable."""

    def delete(self, key_id: str) -> None:
        """Delete a key. Raises AccessKeysUnavailable."""

    def save_newest(self, newest: NewestKey, *, overwrite: bool) -> None:
        """Write the newest key. Raises ParametersUnavailable, also if one exists and must not be overwritten."""

    def hand_out(self, application: str, credentials: SecretStr) -> None:
        """Write an application's storage credentials. Raises ParametersUnavailable."""


class Queue(Protocol):
    """The recording queue, which announces steps."""

    def send(self, fact: UploaderKeyChangedFact) -> None:
        """Announce a step. Raises QueueUnavailable."""


AnnouncedStep = Literal["created", "handed-out", "deactivated", "deleted"]


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that was taken, with the masked id of its key."""

    step: AnnouncedStep | Literal["adopted"]
    key: str
    application: str | None = None


@dataclass(slots=True)
class RotationReport:
    """The result of a run.

    Attributes:
        taken: the steps that were taken.
        failures: the errors of the steps that failed.
        problems: the problems that an operator must solve.
        waits: the steps that are not due yet.
        days_overdue: by how many days the oldest active key exceeds its maximum age; ``None`` without an active key.
    """

    taken: list[TakenStep] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    days_overdue: int | None = None


class Rotation:
    """Takes the steps that are due, and announces each of them.

    A step is announced before it is taken. If the queue does not take the announcement, the step is left for the next
    run. If the process ends between the two, the next run announces the step again, with the same event.

    A key is announced as created after it is created and before anything depends on it. If the announcement fails, or
    the secret cannot be written, the key is deleted again. If the process ends in between, the key remains and its
    secret is lost. No application has it, so later runs deactivate and delete it, and announce that.

    Args:
        uploader: the keys and the parameters that contain them.
        queue: takes the announcements.
        policy: the rules.
        clock: the time in UTC.
    """

    def __init__(
        self,
        uploader: Uploader,
        queue: Queue,
        policy: RotationPolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._uploader = uploader
        self._queue = queue
        self._policy = policy
        self._clock = clock

    def run(self, *, force: bool = False) -> RotationReport:
        """Take every step that is due. If a step fails, the others are taken all the same.

        Args:
            force: whether to create a new key now, whatever the age of the newest one. With two keys, none is created.

        Raises:
            AccessKeysUnavailable: the user's keys could not be listed.
            ParametersUnavailable: the parameters could not be read.
        """
        # The time is taken before the observation: a change during the observation is later, so no wait is too short.
        now = self._clock()
        observed = self._uploader.observe()
        report = RotationReport(days_overdue=observed.count_days_overdue(now, self._policy))
        items = plan_steps(observed, now, self._policy, force=force)
        renewal = items[0] if items else None
        if isinstance(renewal, Create | Adopt):
            items = items[1:]
            try:
                observed = self._renew(renewal, observed, now, report)
            except CallRecorderError as error:
                report.failures.append(str(error))
            else:
                items = plan_steps(observed, now, self._policy)
        self._take_steps(items, observed, now, report)
        return report

    def _renew(
        self, renewal: Create | Adopt, observed: Observation, now: datetime, report: RotationReport
    ) -> Observation:
        """Create or adopt a key, keep it as the newest, and return the new state."""
        if isinstance(renewal, Adopt):
            newest = self._describe_newest(renewal.key, renewal.secret, observed, now)
            self._save_newest(newest, observed)
            report.taken.append(TakenStep("adopted", mask_key(newest.id)))
            return replace(observed, newest=newest)
        created = self._uploader.create()
        newest = self._describe_newest(created.key, created.secret, observed, now)
        try:
            self._announce(newest.id, "created", observed, now)
            self._save_newest(newest, observed)
        except CallRecorderError:
            self._delete_unused(newest.id, observed, now)
            raise
        report.taken.append(TakenStep("created", mask_key(newest.id)))
        return replace(observed, newest=newest, keys=(*observed.keys, created.key))

    def _describe_newest(self, key: AccessKey, secret: SecretStr, observed: Observation, now: datetime) -> NewestKey:
        replaces = frozenset(holder.key_id for holder in observed.find_recipients(self._policy)) - {"", key.id}
        return NewestKey(key.id, secret, observed.user, now, replaces)

    def _save_newest(self, newest: NewestKey, observed: Observation) -> None:
        # If none was observed, another stack with the same prefix may have written one since. It is not overwritten.
        self._uploader.save_newest(newest, overwrite=observed.newest is not None)

    def _delete_unused(self, key_id: str, observed: Observation, now: datetime) -> None:
        """Delete a key that no application has yet. If that fails, later runs delete it."""
        with suppress(QueueUnavailable):
            self._announce(key_id, "deleted", observed, now)
        with suppress(AccessKeysUnavailable):
            self._uploader.delete(key_id)

    def _take_steps(
        self, items: Sequence[PlanItem], observed: Observation, now: datetime, report: RotationReport
    ) -> None:
        report.problems += [item.text for item in items if isinstance(item, Problem)]
        report.waits += [item for item in items if isinstance(item, Wait)]
        announced = observed.held_key_ids
        for item in items:
            try:
                match item:
                    case HandOut() if observed.newest:
                        if observed.newest.id not in announced:
                            self._announce(observed.newest.id, "handed-out", observed, now)
                            announced |= {observed.newest.id}
                        self._uploader.hand_out(item.application, item.credentials)
                        report.taken.append(TakenStep("handed-out", mask_key(observed.newest.id), item.application))
                    case Deactivate(key):
                        self._announce(key, "deactivated", observed, now)
                        self._uploader.deactivate(key)
                        report.taken.append(TakenStep("deactivated", mask_key(key)))
                    case Delete(key):
                        self._announce(key, "deleted", observed, now)
                        self._uploader.delete(key)
                        report.taken.append(TakenStep("deleted", mask_key(key)))
            except QueueUnavailable as error:
                report.failures.append(str(error))
                return
            except CallRecorderError as error:
                report.failures.append(str(error))

    def _announce(self, key_id: str, step: AnnouncedStep, observed: Observation, now: datetime) -> None:
        self._queue.send(UploaderKeyChangedFact(at=now, user=observed.user, key=mask_key(key_id), step=step))
