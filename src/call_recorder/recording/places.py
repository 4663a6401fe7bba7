"""Places in the stack's bucket: what links an object, which knows of no call, to its recording.

A place is a destination URL without its extension, so that a recording and its transcript are at one place. The
request says whose it is, the bucket says what is there, and either may come first: both write the same item under
its revision, so whoever is second sees what the first one wrote.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, Field

from call_recorder.recording.destinations import place_of
from call_recorder.recording.facts import (
    CallDecided,
    FileStored,
    Model,
    ObjectStored,
    QueuedFact,
    RecordingAvailable,
    RecordingFact,
    TranscriptionAvailable,
)
from call_recorder.recording.outbox import Outbox, Patience

MOST_OBJECTS = 25
"""Objects of one place that are kept: a recording and its transcript are two."""


class Owner(Model):
    """Whose a place is: the recording that was ``requested`` there, or that a notification says is there.

    A request is our own word, so it outweighs a notification.
    """

    at: AwareDatetime
    requested: bool
    recording_id: str
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None


class Place(Outbox):
    """A place, whose it is and what is stored there.

    ``nobodys_since`` is when an object was first found there that belongs to no known recording, and
    ``given_up_at`` when the watchdog stopped waiting for that to change.
    """

    place: str
    owner: Owner | None = None
    objects: dict[str, ObjectStored] = Field(default_factory=dict)
    nobodys_since: AwareDatetime | None = None
    given_up_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """What the item is stored under."""
        return self.place

    def owned(self, owner: Owner) -> Self:
        """Return the place with its owner known; of two the one that outweighs the other."""
        owners = [owner] if self.owner is None else [self.owner, owner]
        return self.model_copy(update={"owner": min(owners, key=_weight)})

    def holding(self, stored: ObjectStored, seen_at: datetime) -> Self:
        """Return the place with an object that was learnt of at ``seen_at``; of two under one URL the later one."""
        known = self.objects.get(stored.url, stored)
        objects = {**self.objects, stored.url: max(known, stored, key=_version)}
        if len(objects) > MOST_OBJECTS:
            objects = {url: objects[url] for url in sorted(objects)[:MOST_OBJECTS]}
        news: dict[str, object] = {"objects": objects}
        if self.owner is None:
            news["nobodys_since"] = self.nobodys_since or seen_at
        return self.model_copy(update=news)

    def given_up(self, at: datetime, patience: Patience) -> Self:
        """Return the place with what is there given up as nobody's, if by ``at`` it is time for that."""
        overdue_at = self.overdue_at(patience)
        return self.model_copy(update={"given_up_at": at}) if overdue_at and overdue_at <= at else self

    def overdue_at(self, patience: Patience) -> datetime | None:
        """Return when to stop waiting for the request that explains what is stored here."""
        if self.owner or self.nobodys_since is None or self.given_up_at:
            return None
        return self.nobodys_since + patience.grace

    @property
    def unattributed(self) -> list[ObjectStored]:
        """What is here and nobody's, once waiting for its recording was given up."""
        return [] if self.owner or self.given_up_at is None else list(self.objects.values())

    def files(self) -> list[FileStored]:
        """Return what is stored here as facts about the recording that the place belongs to."""
        if self.owner is None:
            return []
        about = self.owner.model_dump(include=set(RecordingFact.model_fields), by_alias=False)
        return [FileStored(**about, stored=stored) for stored in self.objects.values()]

    def expires_at(self, retention: timedelta) -> datetime:
        """Return when the item may go: a while after the latest that is known of the place."""
        known = [stored.at for stored in self.objects.values()]
        known += [at for at in (self.owner and self.owner.at, self.nobodys_since, self.given_up_at) if at]
        return max(known) + retention


def place_and_owner(fact: QueuedFact, bucket: str) -> tuple[str, Owner] | None:
    """Return which place in ``bucket`` a fact says is its recording's, or ``None`` if it says of none."""
    match fact:
        case CallDecided(request=request) if request is not None:
            at, url, requested = request.at, request.destination_url, True
        case RecordingAvailable() | TranscriptionAvailable() if fact.destination:
            at, url, requested = fact.at, fact.destination, False
        case _:
            return None
    if not url.startswith(f"s3://{bucket}/"):
        return None
    owner = Owner(
        at=at,
        requested=requested,
        recording_id=fact.recording_id,
        application_key=fact.application_key,
        call_id=fact.call_id,
        conference_id=fact.conference_id,
    )
    return place_of(url), owner


def _weight(owner: Owner) -> tuple[bool, datetime, str]:
    return not owner.requested, owner.at, owner.model_dump_json()


def _version(stored: ObjectStored) -> tuple[datetime, str]:
    return stored.at, stored.model_dump_json()
