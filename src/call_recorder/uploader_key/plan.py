"""The plan of the rotation: the steps that are due for the uploader's access key. It calls nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr

from call_recorder.answering.application import is_recorded_into

MAX_KEYS = 2
"""Maximum number of access keys that IAM allows a user."""

SETTLE_TIME = timedelta(seconds=60)
"""How long IAM, which is eventually consistent, may take to accept a new key everywhere and to list it. During this
time, an application with a working key keeps it."""


def mask_key(key_id: str) -> str:
    """Mask the id of an access key: return its last four characters."""
    return f"…{key_id[-4:]}"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key of the uploader, as IAM lists it."""

    id: str
    active: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class NewKey:
    """An access key that was just created, with its secret."""

    key: AccessKey
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class Parameter:
    """The text of a parameter, and when it was written."""

    text: SecretStr
    written: datetime


@dataclass(frozen=True, slots=True)
class NewestKey:
    """The uploader's newest access key with its secret, as the parameter ``uploader-key`` stores it.

    Attributes:
        id: the id of the key.
        secret: the secret of the key.
        user: the IAM user of the key. A text of version 1 does not name it; then it is ``""``.
        written: when the parameter was written.
        replaces: the keys that applications had when this key was created. They identify the applications that use the
            uploader's key, even after their key is deleted.
    """

    id: str
    secret: SecretStr
    user: str
    written: datetime
    replaces: frozenset[str] = frozenset()

    @classmethod
    def read(cls, parameter: Parameter) -> NewestKey:
        """Read ``KEY:SECRET:REPLACED,REPLACED:USER``. Any other text names a key that does not exist.

        Version 1 wrote ``KEY:SECRET`` or ``KEY:SECRET:REPLACED,REPLACED``. In that version, two stacks with one prefix
        replaced each other's keys. So the replaced keys in its texts may belong to another user, and are not read.
        """
        key_id, secret, replaces, user, *_ = [*parameter.text.get_secret_value().split(":"), "", "", ""]
        replaced = frozenset(filter(None, replaces.split(","))) if user else frozenset[str]()
        return cls(key_id, SecretStr(secret), user, parameter.written, replaced)

    def to_text(self) -> SecretStr:
        """Return the text that ``read`` reads."""
        return SecretStr(
            ":".join((self.id, self.secret.get_secret_value(), ",".join(sorted(self.replaces)), self.user))
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """An application that may hold the uploader's key: its credentials and its profile, as they are stored."""

    application: str
    credentials: Parameter | None = None
    profile: Parameter | None = None

    @property
    def key_id(self) -> str:
        """The access key in the credentials, or ``""``."""
        return self._part(0)

    @property
    def secret(self) -> SecretStr:
        """The secret in the credentials, or ``""``."""
        return SecretStr(self._part(1))

    def has(self, newest: NewestKey) -> bool:
        """Tell whether the credentials have this key, its secret, and a region."""
        return (self.key_id, self.secret) == (newest.id, newest.secret) and bool(self._part(2))

    def credentials_with(self, newest: NewestKey, region: str) -> SecretStr:
        """Return credentials ``KEY:SECRET:REGION`` with this key. An existing region is kept: it is the bucket's."""
        return SecretStr(f"{newest.id}:{newest.secret.get_secret_value()}:{self._part(2) or region}")

    def lacks_credentials_for(self, bucket: str) -> bool:
        """Tell whether the application has no credentials and records into the stack's own ``bucket`` only."""
        if self.key_id or self.profile is None:
            return False
        return is_recorded_into(bucket, self.profile.text.get_secret_value())

    def _part(self, index: int) -> str:
        text = self.credentials.text.get_secret_value().strip() if self.credentials else ""
        return [*text.split(":"), "", ""][index]


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The rules by which the key is handed out and replaced.

    Args:
        bucket: the stack's bucket. An application without credentials that records into it only gets the key.
        region: the region of that bucket.
        max_age: the age at which a key is replaced.
        overlap: how long a key may still be used after no application has it: until every parameter cache has expired,
            the longest call has ended, and its file is stored.
    """

    bucket: str
    region: str
    max_age: timedelta
    overlap: timedelta


@dataclass(frozen=True, slots=True)
class Observation:
    """The observed state: the user's access keys, the newest key with its secret, and the applications."""

    user: str
    keys: tuple[AccessKey, ...] = ()
    newest: NewestKey | None = None
    holders: tuple[Holder, ...] = ()

    @property
    def own_key_ids(self) -> frozenset[str]:
        """The keys that belong or belonged to the user: the existing ones, the newest, and those it replaced."""
        own_ids = frozenset(key.id for key in self.keys)
        if self.newest and self.newest.user == self.user:
            own_ids |= {self.newest.id, *self.newest.replaces}
        return own_ids

    @property
    def held_key_ids(self) -> frozenset[str]:
        """The existing keys of the user that applications have."""
        return frozenset(key.id for key in self.keys if any(holder.key_id == key.id for holder in self.holders))

    @property
    def working_key(self) -> AccessKey | None:
        """The newest key, if it exists and is active."""
        return next((key for key in self.keys if key.active and self.newest and key.id == self.newest.id), None)

    def find_recipients(self, policy: RotationPolicy) -> list[Holder]:
        """Return the applications that get the uploader's key. Credentials with another user's key do not change."""
        own_ids = self.own_key_ids
        return [
            holder for holder in self.holders if holder.key_id in own_ids or holder.lacks_credentials_for(policy.bucket)
        ]

    def is_unlisted(self, now: datetime) -> bool:
        """Tell whether the newest key is so new that IAM may not list it yet."""
        newest = self.newest
        if newest is None or newest.id in {key.id for key in self.keys}:
            return False
        return now - newest.written < SETTLE_TIME

    def find_conflict(self, now: datetime) -> Problem | None:
        """Return the problem if the newest key belongs, or may belong, to another user; else ``None``.

        Then another stack with the same prefix uses the parameter. A stack hands out the key of its own user only, and
        overwrites the parameter of its own user only.
        """
        newest = self.newest
        if newest is None or newest.user == self.user or not newest.secret.get_secret_value():
            return None
        if newest.user:
            return Problem(
                f"uploader-key holds a key of the user {newest.user}, and the user of this stack is {self.user}: "
                "set another ParameterPrefix for one of the two stacks; if the other stack is deleted, delete "
                "uploader-key and the storage-credentials that hold its key"
            )
        if newest.id in {key.id for key in self.keys} or self.is_unlisted(now):
            return None
        return Problem(
            f"uploader-key holds the key {mask_key(newest.id)} without its user, and the user {self.user} has no such "
            "key: if two stacks have this ParameterPrefix, set another one for one of them; if not, delete "
            "uploader-key and the storage-credentials that hold its key"
        )

    def count_days_overdue(self, now: datetime, policy: RotationPolicy) -> int | None:
        """Return by how many days the oldest active key exceeds its maximum age, or ``None`` without an active key."""
        oldest = min((key.created for key in self.keys if key.active), default=None)
        return None if oldest is None else max(0, (now - oldest - policy.max_age).days)


@dataclass(frozen=True, slots=True)
class Create:
    """Create a key, and keep it as the newest."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Keep an existing key as the newest, with the name of its user.

    It is a key that an application has, if there is no room for another one, or the newest key in a text of version 1.
    """

    key: AccessKey
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class HandOut:
    """Give an application the newest key."""

    application: str
    credentials: SecretStr


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Deactivate a key that nothing can use any more. An operator can activate it again."""

    key: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key that has been inactive for a while."""

    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that is not due yet. ``until`` is when it will be, or ``None`` if that does not depend on time only."""

    to: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that an operator must solve: one sentence that says how, without a secret."""

    text: str


Step = Create | Adopt | HandOut | Deactivate | Delete
PlanItem = Step | Wait | Problem


def plan_steps(observed: Observation, now: datetime, policy: RotationPolicy, *, force: bool = False) -> list[PlanItem]:
    """Return the steps that are due, what to wait for, and the problems.

    A plan has at most one ``Create`` or ``Adopt``, as its first item. After that step, the rest must be planned again.
    If the newest key belongs to another user, the plan has no steps: the stack of that user is responsible for the
    applications below this prefix.

    Args:
        observed: the observed state.
        now: the time in UTC.
        policy: the rules.
        force: whether to create a new key now, whatever the age of the newest one.
    """
    if conflict := observed.find_conflict(now):
        return [conflict]
    hand_outs = [*_plan_hand_outs(observed, now, policy)]
    # An application that gets a key now may have used another key until now, and no stored date shows this.
    has_hand_outs = any(isinstance(item, HandOut) for item in hand_outs)
    retirements = [] if has_hand_outs else _plan_retirements(observed, now, policy)
    return [*_plan_renewal(observed, now, policy, force), *hand_outs, *retirements]


def _plan_renewal(observed: Observation, now: datetime, policy: RotationPolicy, force: bool) -> Iterator[PlanItem]:
    working, newest = observed.working_key, observed.newest
    has_room = len(observed.keys) < MAX_KEYS
    if working is None or newest is None:
        if observed.is_unlisted(now):
            yield Wait("see the newest key listed by IAM")
        elif newest or observed.find_recipients(policy):
            yield Create() if has_room else _plan_without_room(observed)
        return
    max_age_at = working.created + policy.max_age
    is_due = force or now >= max_age_at
    if is_due and has_room:
        yield Create()
    elif not newest.user:
        yield Adopt(working, newest.secret)
    elif not is_due:
        yield Wait(f"replace {mask_key(working.id)} by a new key", max_age_at)
    else:
        others = ", ".join(mask_key(key.id) for key in observed.keys if key != working)
        yield Wait(f"replace {mask_key(working.id)} by a new key, as soon as {others} is deleted")


def _plan_without_room(observed: Observation) -> Adopt | Problem:
    """Return what to do if there is neither a newest key that works nor room for a new key."""
    active = {key.id: key for key in observed.keys if key.active}
    with_secret = [holder for holder in observed.holders if holder.key_id in active and holder.secret]
    if with_secret:
        chosen = max(with_secret, key=lambda holder: active[holder.key_id].created)
        return Adopt(active[chosen.key_id], chosen.secret)
    held, newest = observed.held_key_ids, observed.newest
    spent = min(observed.keys, key=lambda key: (key.active, key.id in held, not (newest and newest.id == key.id)))
    is_unknown_when_deleted = spent.id in held and not (newest and spent.id in {newest.id, *newest.replaces})
    credentials = " and the storage-credentials that hold it" if is_unknown_when_deleted else ""
    return Problem(
        f"uploader-key names no active key of {observed.user}, which has two keys already: "
        f"delete {mask_key(spent.id)}{credentials}; the next run creates a new key"
    )


def _plan_hand_outs(observed: Observation, now: datetime, policy: RotationPolicy) -> Iterator[PlanItem]:
    working, newest = observed.working_key, observed.newest
    if working is None or newest is None:
        return
    active = {key.id for key in observed.keys if key.active}
    settled_at = working.created + SETTLE_TIME
    must_wait = False
    for holder in observed.find_recipients(policy):
        if holder.has(newest):
            continue
        if holder.key_id in active - {newest.id} and now < settled_at:
            must_wait = True
        else:
            yield HandOut(holder.application, holder.credentials_with(newest, policy.region))
    if must_wait:
        yield Wait(f"hand out {mask_key(newest.id)}", settled_at)


def _plan_retirements(observed: Observation, now: datetime, policy: RotationPolicy) -> Iterator[PlanItem]:
    """Yield the steps and waits for keys that no application has any more.

    No stored date says when the last application gave up a key. It was before the latest change of any credentials.
    """
    newest, held = observed.newest, observed.held_key_ids
    changes = [holder.credentials.written for holder in observed.holders if holder.credentials]
    changes += [newest.written] if newest else []
    for key in observed.keys:
        if key.id in held or (newest and key.id == newest.id):
            continue
        unused_since = max([key.created, *changes])
        # An inactive key is kept for the same time again, so that it can be activated if uploads fail without it.
        due_at = unused_since + policy.overlap if key.active else unused_since + 2 * policy.overlap
        if now < due_at:
            yield Wait(f"{'deactivate' if key.active else 'delete'} {mask_key(key.id)}", due_at)
        else:
            yield Deactivate(key.id) if key.active else Delete(key.id)
