"""Object locations in the stack's bucket. They link an object, which names no call, to its recording.

A location is a destination URL without its extension, so a recording and its transcript share one location. The
recording request names the owner, the bucket reports the objects, and either may come first. Both write the same item
under its revision, so the second one finds what the first one wrote.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, Field

from call_recorder.facts.facts import (
    CallDecidedFact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.messages import QueueMessage
from call_recorder.facts.model import Model
from call_recorder.facts.storage_urls import get_location
from call_recorder.tracking.outbox_item import Deadlines, OutboxItem

MAX_OBJECTS = 25
"""Maximum number of objects that one location stores. A recording and its transcript are two."""


class Owner(Model):
    """The recording that owns a location.

    ``requested``: the recording request names the location. Otherwise a notification names it, which counts less than
    our own request.
    """

    at: AwareDatetime
    requested: bool
    recording_id: str
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None


class ObjectLocation(OutboxItem):
    """A location, its owner and its objects.

    ``nobodys_since`` is when an object without an owner was first found. ``given_up_at`` is when the watchdog stopped
    waiting for an owner. The table stores the location as ``place``.
    """

    location: str = Field(alias="place")
    owner: Owner | None = None
    objects: dict[str, ObjectStoredFact] = Field(default_factory=dict)
    nobodys_since: AwareDatetime | None = None
    given_up_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """The key of the item."""
        return self.location

    def with_owner(self, owner: Owner) -> Self:
        """Return the location with an owner. If it has an owner already, the one that ranks first stays."""
        owners = [owner] if self.owner is None else [self.owner, owner]
        return self.model_copy(update={"owner": min(owners, key=_owner_rank)})

    def with_object(self, stored: ObjectStoredFact, seen_at: datetime) -> Self:
        """Return the location with an object that was reported at ``seen_at``. Its latest version stays."""
        known = self.objects.get(stored.url, stored)
        objects = {**self.objects, stored.url: max(known, stored, key=_version)}
        if len(objects) > MAX_OBJECTS:
            objects = {url: objects[url] for url in sorted(objects)[:MAX_OBJECTS]}
        update: dict[str, object] = {"objects": objects}
        if self.owner is None:
            update["nobodys_since"] = self.nobodys_since or seen_at
        return self.model_copy(update=update)

    def mark_unattributed(self, at: datetime, deadlines: Deadlines) -> Self:
        """Return the location with its objects marked as unattributed, if they are overdue at ``at``."""
        overdue_at = self.overdue_at(deadlines)
        return self.model_copy(update={"given_up_at": at}) if overdue_at and overdue_at <= at else self

    def overdue_at(self, deadlines: Deadlines) -> datetime | None:
        """Return when to stop waiting for the recording request of the objects."""
        return None if self.owner or self.given_up_at else self.expected_until(deadlines)

    def expected_until(self, deadlines: Deadlines) -> datetime | None:
        """Return when the recording request of the objects should have come, if they had none at first."""
        return self.nobodys_since + deadlines.grace if self.nobodys_since else None

    @property
    def unattributed(self) -> list[ObjectStoredFact]:
        """The objects without an owner, once the watchdog stopped waiting for one."""
        return [] if self.owner or self.given_up_at is None else list(self.objects.values())

    def files(self) -> list[FileStoredFact]:
        """Return the objects as facts about the recording that owns the location."""
        if self.owner is None:
            return []
        about = self.owner.model_dump(include=set(RecordingFact.model_fields), by_alias=False)
        return [FileStoredFact(**about, stored=stored) for stored in self.objects.values()]

    def expires_at(self, retention: timedelta) -> datetime:
        """Return when the item expires: ``retention`` after the latest time in it."""
        known = [stored.at for stored in self.objects.values()]
        known += [at for at in (self.owner and self.owner.at, self.nobodys_since, self.given_up_at) if at]
        return max(known) + retention


def find_owner(message: QueueMessage, bucket: str) -> tuple[str, Owner] | None:
    """Return the location in ``bucket`` that a fact names and its owner, or ``None`` if the fact names none."""
    match message:
        case CallDecidedFact(request=request) if request is not None:
            at, url, requested = request.at, request.destination_url, True
        case RecordingAvailableFact() | TranscriptionAvailableFact() if message.destination:
            at, url, requested = message.at, message.destination, False
        case _:
            return None
    if not url.startswith(f"s3://{bucket}/"):
        return None
    owner = Owner(
        at=at,
        requested=requested,
        recording_id=message.recording_id,
        application_key=message.application_key,
        call_id=message.call_id,
        conference_id=message.conference_id,
    )
    return get_location(url), owner


def _owner_rank(owner: Owner) -> tuple[bool, datetime, str]:
    return not owner.requested, owner.at, owner.model_dump_json()


def _version(stored: ObjectStoredFact) -> tuple[datetime, str]:
    return stored.at, stored.model_dump_json()
