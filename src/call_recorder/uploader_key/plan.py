"""TODO uploader_key.plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr

from call_recorder.answering.application import is_recorded_into

MAX_KEYS = 2
"""Access keys that IAM lets a user have."""

SETTLE = timedelta(seconds=60)
"""How long IAM may take to know of a new key wherever it is used, and to list it: it is eventually consistent. Who
has a key that works keeps it for so long."""


def mask_key(key_id: str) -> str:
    """Return what may be shown of an access key's id."""
    return f"…{key_id[-4:]}"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key of the uploader, as IAM lists it."""

    id: str
    active: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter holds, and when it was written."""

    text: SecretStr
    written: datetime


@dataclass(frozen=True, slots=True)
class NewestKey:
    """The uploader's newest access key with its secret, as the parameter ``uploader-key`` holds it.

    ``user`` is the IAM user that has it; ``""`` in a text of version 1, which does not name the user. ``replaces``
    are the keys that applications had when it was made. By them an application is known as the uploader's even after
    its key is deleted. ``written`` is when the parameter was.
    """

    id: str
    secret: SecretStr
    user: str
    written: datetime
    replaces: frozenset[str] = frozenset()

    @classmethod
    def read(cls, parameter: Parameter) -> NewestKey:
        """Read ``KEY:SECRET:REPLACED,REPLACED:USER``. Any other text names a key that nobody has.

        Version 1 wrote ``KEY:SECRET`` or ``KEY:SECRET:REPLACED,REPLACED``. Two stacks with one prefix took each
        other's keys then, so the keys that such a text replaces can be another user's: they are not read.
        """
        key_id, secret, replaces, user, *_ = [*parameter.text.get_secret_value().split(":"), "", "", ""]
        replaced = frozenset(filter(None, replaces.split(","))) if user else frozenset[str]()
        return cls(key_id, SecretStr(secret), user, parameter.written, replaced)

    def text(self) -> SecretStr:
        """Return it as ``read`` takes it."""
        return SecretStr(
            ":".join((self.id, self.secret.get_secret_value(), ",".join(sorted(self.replaces)), self.user))
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """An application with those of its parameters that have to do with the uploader's key."""

    application: str
    credentials: Parameter | None = None
    profile: Parameter | None = None

    @property
    def key_id(self) -> str:
        """The access key in its credentials, or ``""``."""
        return self._part(0)

    @property
    def secret(self) -> SecretStr:
        """The secret in its credentials, or ``""``."""
        return SecretStr(self._part(1))

    def has(self, newest: NewestKey) -> bool:
        """Tell whether it has this key, with the right secret and with a region."""
        return (self.key_id, self.secret) == (newest.id, newest.secret) and bool(self._part(2))

    def credentials_with(self, newest: NewestKey, region: str) -> SecretStr:
        """Return ``KEY:SECRET:REGION`` for it. A region that it has is that of its bucket and stays."""
        return SecretStr(f"{newest.id}:{newest.secret.get_secret_value()}:{self._part(2) or region}")

    def lacks_credentials_for(self, bucket: str) -> bool:
        """Tell whether it has none, and records all that it records into ``bucket``, which is the stack's own."""
        if self.key_id or self.profile is None:
            return False
        return is_recorded_into(bucket, self.profile.text.get_secret_value())

    def _part(self, place: int) -> str:
        text = self.credentials.text.get_secret_value().strip() if self.credentials else ""
        return [*text.split(":"), "", ""][place]


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """By what rules the key is handed out and replaced.

    Args:
        bucket: the stack's bucket. Who records into it alone, and has no credentials, is given the key.
        region: that bucket's.
        max_age: at which age a key is replaced.
        overlap: how long a key may still be used after no application has it any more: until every cache of
            parameters has expired, the longest call is over, and its file is stored.
    """

    bucket: str
    region: str
    max_age: timedelta
    overlap: timedelta


@dataclass(frozen=True, slots=True)
class Observation:
    """What there is: the user's access keys, the newest with its secret, and the applications."""

    user: str
    keys: tuple[AccessKey, ...] = ()
    newest: NewestKey | None = None
    holders: tuple[Holder, ...] = ()

    def ours(self) -> frozenset[str]:
        """Return the keys that are the user's, or were: those that it has, its newest, and what that replaced."""
        ours = frozenset(key.id for key in self.keys)
        if self.newest and self.newest.user == self.user:
            ours |= {self.newest.id, *self.newest.replaces}
        return ours

    def concerned(self, policy: RotationPolicy) -> list[Holder]:
        """Return the applications that are to have the uploader's key. Credentials of another's are left alone."""
        ours = self.ours()
        return [
            holder for holder in self.holders if holder.key_id in ours or holder.lacks_credentials_for(policy.bucket)
        ]

    def held(self) -> frozenset[str]:
        """Return the user's keys that applications have."""
        return frozenset(key.id for key in self.keys if any(holder.key_id == key.id for holder in self.holders))

    def working(self) -> AccessKey | None:
        """Return the newest key, if the user has it and it is active."""
        return next((key for key in self.keys if key.active and self.newest and key.id == self.newest.id), None)

    def is_unlisted(self, now: datetime) -> bool:
        """Tell whether the newest key is so new that IAM may not list it yet."""
        newest = self.newest
        return newest is not None and newest.id not in {key.id for key in self.keys} and now - newest.written < SETTLE

    def conflict(self, now: datetime) -> Problem | None:
        """Return the problem if the newest key is another user's, or may be.

        Another stack with the same prefix has it then. Only this user's key may be handed out, and only its parameter
        written over.
        """
        newest = self.newest
        if newest is None or newest.user == self.user or not newest.secret.get_secret_value():
            return None
        if newest.user:
            return Problem(
                f"uploader-key holds a key of the user {newest.user}, and the user of this stack is {self.user}: "
                "set another ParameterPrefix for one of the two stacks, or if the other is gone, delete uploader-key "
                "and the storage-credentials that hold its key"
            )
        if newest.id in {key.id for key in self.keys} or self.is_unlisted(now):
            return None
        return Problem(
            f"uploader-key holds the key {mask_key(newest.id)}, which is none of the user {self.user}, "
            "and names no user: set another ParameterPrefix for one of the stacks if two have this one, or else delete "
            "uploader-key and the storage-credentials that hold its key"
        )

    def days_overdue(self, now: datetime, policy: RotationPolicy) -> int | None:
        """Return by how many days the oldest key that can be used has passed its age, or ``None`` without a key."""
        oldest = min((key.created for key in self.keys if key.active), default=None)
        return None if oldest is None else max(0, (now - oldest - policy.max_age).days)


@dataclass(frozen=True, slots=True)
class Create:
    """Make a key and keep it as the newest."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Keep a key that exists as the newest, with the name of its user.

    It is one that an application has, since there is no room for one more, or the newest in a text of version 1.
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
    """Switch a key off that nothing can use any more. It can be switched on again."""

    key: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key that has been off for a while."""

    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Something will be due, and when; ``None`` if that does not depend on the time alone."""

    to: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Somebody has to see to something: one sentence, without a secret."""

    text: str


Step = Create | Adopt | HandOut | Deactivate | Delete
Due = Step | Wait | Problem


def plan_steps(seen: Observation, now: datetime, policy: RotationPolicy, *, order: bool = False) -> list[Due]:
    """Return what to do now, what to wait for, and what is in the way.

    At most one ``Create`` or ``Adopt`` is among it, and first. After it, the rest has to be asked for again. While the
    newest key is another user's, nothing is done: that user's stack sees to the applications below this prefix.

    Args:
        seen: what there is.
        now: the time in UTC.
        policy: the rules.
        order: whether an operator wants a new key whatever the age of the newest.
    """
    if conflict := seen.conflict(now):
        return [conflict]
    hand_outs = [*_hand_outs(seen, now, policy)]
    # Who is handed a key now may have used another until now, and no date tells which.
    retirements = [] if any(isinstance(item, HandOut) for item in hand_outs) else _retirements(seen, now, policy)
    return [*_renewal(seen, now, policy, order), *hand_outs, *retirements]


def _renewal(seen: Observation, now: datetime, policy: RotationPolicy, order: bool) -> Iterator[Due]:
    working, newest = seen.working(), seen.newest
    room = len(seen.keys) < MAX_KEYS
    if working is None or newest is None:
        if seen.is_unlisted(now):
            yield Wait("see the newest key listed by IAM")
        elif newest or seen.concerned(policy):
            yield Create() if room else _way_out(seen)
        return
    of_age = working.created + policy.max_age
    is_due = order or now >= of_age
    if is_due and room:
        yield Create()
    elif not newest.user:
        yield Adopt(working, newest.secret)
    elif not is_due:
        yield Wait(f"replace {mask_key(working.id)} by a new key", of_age)
    else:
        others = ", ".join(mask_key(key.id) for key in seen.keys if key != working)
        yield Wait(f"replace {mask_key(working.id)} by a new key, which there is room for when {others} is deleted")


def _way_out(seen: Observation) -> Adopt | Problem:
    """Return what to do when there is no newest key that works, nor room for a new one."""
    active = {key.id: key for key in seen.keys if key.active}
    with_secret = [holder for holder in seen.holders if holder.key_id in active and holder.secret]
    if with_secret:
        chosen = max(with_secret, key=lambda holder: active[holder.key_id].created)
        return Adopt(active[chosen.key_id], chosen.secret)
    held, newest = seen.held(), seen.newest
    spent = min(seen.keys, key=lambda key: (key.active, key.id in held, not (newest and newest.id == key.id)))
    unknown_then = spent.id in held and not (newest and spent.id in {newest.id, *newest.replaces})
    more = " and the storage-credentials that hold it" if unknown_then else ""
    return Problem(
        f"uploader-key names no active key of {seen.user}, which has two keys already: "
        f"delete {mask_key(spent.id)}{more}, and a new one is made"
    )


def _hand_outs(seen: Observation, now: datetime, policy: RotationPolicy) -> Iterator[Due]:
    working, newest = seen.working(), seen.newest
    if working is None or newest is None:
        return
    active = {key.id for key in seen.keys if key.active}
    settled = working.created + SETTLE
    waiting = False
    for holder in seen.concerned(policy):
        if holder.has(newest):
            continue
        if holder.key_id in active - {newest.id} and now < settled:
            waiting = True
        else:
            yield HandOut(holder.application, holder.credentials_with(newest, policy.region))
    if waiting:
        yield Wait(f"hand out {mask_key(newest.id)}", settled)


def _retirements(seen: Observation, now: datetime, policy: RotationPolicy) -> Iterator[Due]:
    """Yield what becomes of the keys that no application has any more.

    Who had one last is not known, nor when. It was before the latest change of anybody's credentials.
    """
    newest, held = seen.newest, seen.held()
    changes = [holder.credentials.written for holder in seen.holders if holder.credentials]
    changes += [newest.written] if newest else []
    for key in seen.keys:
        if key.id in held or (newest and key.id == newest.id):
            continue
        unused = max([key.created, *changes])
        # An inactive key stays for as long again, so that it can be switched on if uploads fail without it.
        at = unused + policy.overlap if key.active else unused + 2 * policy.overlap
        if now < at:
            yield Wait(f"{'switch off' if key.active else 'delete'} {mask_key(key.id)}", at)
        else:
            yield Deactivate(key.id) if key.active else Delete(key.id)


@dataclass(frozen=True, slots=True)
class NewKey:
    """An access key that was just made, with its secret."""

    key: AccessKey
    secret: SecretStr
