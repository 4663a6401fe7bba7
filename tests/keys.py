"""A fake account: the parts of IAM, SSM and the callers that deal with the uploader's access key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final, TypeVar

from pydantic import SecretStr

from call_recorder.facts.errors import AccessKeysUnavailable, ParametersUnavailable, QueueUnavailable
from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.facts.messages import read_message, write_message
from call_recorder.uploader_key.plan import (
    MAX_KEYS,
    SETTLE_TIME,
    AccessKey,
    Holder,
    NewestKey,
    NewKey,
    Observation,
    Parameter,
    RotationPolicy,
)
from call_recorder.uploader_key.rotation import Rotation, RotationReport
from tests.fakes import BUCKET, RECORD_ALL, Clock

_Result = TypeVar("_Result")

USER: Final = "uploader"
REGION: Final = "eu-west-1"
TTL: Final = timedelta(minutes=5)
LONGEST: Final = timedelta(hours=4)
GRACE: Final = timedelta(minutes=30)
POLICY: Final = RotationPolicy(bucket=BUCKET, region=REGION, max_age=timedelta(days=90), overlap=TTL + LONGEST + GRACE)
PROFILE: Final = json.dumps(RECORD_ALL)
BROKEN_PROFILE: Final = '{"formt": "mp3"}'
LISTED_AFTER: Final = timedelta(seconds=30)


@dataclass
class Upload:
    """A file that Sinch stores at a time, with the key that it got when the call began."""

    key: str
    at: datetime


@dataclass
class Memory:
    """One environment of CallbackFunction, with the credentials of one application in its memory."""

    application: str
    credentials: str | None = None
    read: datetime | None = None


@dataclass
class Prefix:
    """The parameters below one prefix."""

    newest: Parameter | None = None
    holders: dict[str, Holder] = field(default_factory=dict)


@dataclass
class Account:
    """Implements the rotation's ports in memory, for one stack. ``before`` and ``after`` get each call, and may raise.

    Two accounts may share a clock and a prefix.
    """

    policy: RotationPolicy = POLICY
    clock: Clock = field(default_factory=Clock)
    user: str = USER
    prefix: Prefix = field(default_factory=Prefix)
    keys: dict[str, AccessKey] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    announced: list[UploaderKeyChangedFact] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda call: None
    after: Callable[[str], None] = lambda call: None
    made: int = 0

    @property
    def newest(self) -> Parameter | None:
        return self.prefix.newest

    @newest.setter
    def newest(self, parameter: Parameter | None) -> None:
        self.prefix.newest = parameter

    @property
    def holders(self) -> dict[str, Holder]:
        return self.prefix.holders

    def observe(self, *, profiles: bool = True) -> Observation:
        def look() -> Observation:
            listed = (key for key in self.keys.values() if key.created + LISTED_AFTER <= self.clock())
            newest = NewestKey.read(self.newest) if self.newest else None
            return Observation(self.user, tuple(listed), newest, tuple(self.holders.values()))

        return self._call("observe", look)

    def create(self) -> NewKey:
        def made() -> NewKey:
            if len(self.keys) == MAX_KEYS:
                raise AccessKeysUnavailable("CreateAccessKey: LimitExceeded")
            return self.hand_made_key()

        return self._call("create", made)

    def deactivate(self, key_id: str) -> None:
        self._call("deactivate", lambda: self.switch_off(key_id))

    def delete(self, key_id: str) -> None:
        self._call("delete", lambda: self.keys.pop(key_id, None))

    def save_newest(self, newest: NewestKey, *, overwrite: bool) -> None:
        def kept() -> None:
            if self.newest and not overwrite:
                raise ParametersUnavailable("PutParameter: ParameterAlreadyExists")
            self.newest = Parameter(newest.to_text(), self.clock())

        self._call("keep", kept)

    def hand_out(self, application: str, credentials: SecretStr) -> None:
        def handed_out() -> None:
            had = self.keys.get(self.holders[application].key_id)
            self.put(application, credentials.get_secret_value())
            has = self.keys[self.holders[application].key_id]
            settled = has.created + SETTLE_TIME <= self.clock()
            assert settled or had is None or not had.active or had == has, "a working key is given up for a raw one"

        self._call("hand-out", handed_out)

    def delete_credentials(self, applications: Sequence[str], *, newest: bool) -> None:
        def forgotten() -> None:
            for application in applications:
                self.holders[application] = replace(self.holders[application], credentials=None)
            if newest:
                self.newest = None

        self._call("forget", forgotten)

    def send(self, fact: UploaderKeyChangedFact) -> None:
        def queued() -> None:
            sent = read_message(write_message(fact))
            assert isinstance(sent, UploaderKeyChangedFact)
            self.announced.append(sent)

        self._call("send", queued)

    def hand_made_key(self) -> NewKey:
        self.made += 1
        of = "AKIA" if self.user == USER else "AKIB"
        key = AccessKey(f"{of}{self.made:016d}", active=True, created=self.clock())
        self.keys[key.id] = key
        self.secrets[key.id] = f"secret/of+{self.user}{self.made}"
        return NewKey(key, SecretStr(self.secrets[key.id]))

    def switch_off(self, key_id: str) -> None:
        self.keys[key_id] = replace(self.keys[key_id], active=False)

    def remove(self, key_id: str) -> None:
        del self.keys[key_id]

    def fail(
        self,
        call: str | int,
        *,
        after: bool = False,
        error: Callable[[str], BaseException] | None = None,
        uncounted: str = "",
    ) -> None:
        """Raise an error at each call of a name, or at the n-th call of any name but the uncounted one."""
        numbers = count(1)

        def raise_at(name: str) -> None:
            if name == call or (name != uncounted and next(numbers) == call):
                raise (error or unavailable)(name)

        if after:
            self.after = raise_at
        else:
            self.before = raise_at

    def recover(self) -> None:
        """Let every call succeed from now on."""
        self.before = self.after = lambda call: None

    def follow(self, problem: str) -> None:
        """Delete what a problem asks to delete, unless the same run has done so."""
        if "delete uploader-key and the storage-credentials that hold its key" in problem:
            for application, holder in self.holders.items():
                if holder.key_id == self.newest_id:
                    self.holders[application] = replace(holder, credentials=None)
            self.newest = None
            return
        asked = re.search(r": delete …(\d+)( and the storage-credentials that hold it)?; the next run", problem)
        assert asked, problem
        for key_id in [key_id for key_id in self.keys if key_id.endswith(asked[1])]:
            self.remove(key_id)
            for application, holder in self.holders.items():
                if asked[2] and holder.key_id == key_id:
                    self.holders[application] = replace(holder, credentials=None)

    def write_as_version_1(self) -> None:
        """Write ``uploader-key`` as version 1 did, which named no user."""
        if self.newest:
            newest = NewestKey.read(self.newest)
            parts = (newest.id, newest.secret.get_secret_value(), ",".join(sorted(newest.replaces)))
            self.newest = replace(self.newest, text=SecretStr(":".join(filter(None, parts))))

    def put(self, application: str, credentials: str | None = None, profile: str | None = None) -> None:
        holder = self.holders.get(application, Holder(application))
        if credentials:
            holder = replace(holder, credentials=Parameter(SecretStr(credentials), self.clock()))
        if profile:
            holder = replace(holder, profile=Parameter(SecretStr(profile), self.clock()))
        self.holders[application] = holder

    def credentials(self, key_id: str) -> str:
        return f"{key_id}:{self.secrets[key_id]}:{REGION}"

    def run(self, *, force: bool = False) -> RotationReport:
        return Rotation(self, self, self.policy, self.clock).run(force=force)

    def advance(self, time: timedelta) -> None:
        """Let time pass; store the files of calls that are over."""
        self.clock.advance(time.total_seconds())
        for upload in [each for each in self.uploads if each.at <= self.clock()]:
            self.uploads.remove(upload)
            assert upload.key in self.keys, f"{upload.key} is gone when a file is to be stored"
            assert self.keys[upload.key].active, f"{upload.key} is off when a file is to be stored"

    def run_for(self, time: timedelta, every: timedelta = timedelta(hours=1)) -> list[RotationReport]:
        """Run as the schedule does."""
        reports = []
        until = self.clock() + time
        while self.clock() < until:
            self.advance(min(every, until - self.clock()))
            reports.append(self.run())
        return reports

    def call(self, memory: Memory, lasts: timedelta) -> None:
        """Begin a call whose file is stored after a time, with the credentials that a warm function remembers."""
        now = self.clock()
        if memory.read is None or memory.read + TTL <= now:
            holder = self.holders[memory.application]
            usable = holder.profile and holder.profile.text.get_secret_value() != BROKEN_PROFILE
            if holder.credentials and (usable or memory.credentials):
                memory.credentials = holder.credentials.text.get_secret_value()
            memory.read = now
        if memory.credentials:
            self.uploads.append(Upload(memory.credentials.partition(":")[0], now + lasts))

    @property
    def steps(self) -> list[tuple[str, str]]:
        """The announced steps, in order."""
        return [(fact.step, fact.key) for fact in self.announced]

    @property
    def newest_id(self) -> str | None:
        return NewestKey.read(self.newest).id if self.newest else None

    def has_settled(self) -> bool:
        """Tell whether there is one key, which is active, the newest, and that of every application."""
        return (
            set(self.keys) == {self.newest_id}
            and all(key.active for key in self.keys.values())
            and {holder.key_id for holder in self.holders.values()} == {self.newest_id}
        )

    def _call(self, name: str, effect: Callable[[], _Result]) -> _Result:
        self.calls.append(name)
        self.before(name)
        result = effect()
        self.after(name)
        return result


def unavailable(call: str) -> Exception:
    """Return the error that a port raises when a call fails."""
    if call == "send":
        return QueueUnavailable("SendMessage: ServiceUnavailable")
    if call in ("keep", "hand-out", "observe", "forget"):
        return ParametersUnavailable("PutParameter: InternalServerError")
    return AccessKeysUnavailable("CreateAccessKey: ServiceFailure")
