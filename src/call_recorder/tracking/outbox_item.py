"""An item that is its own outbox: it stores which of its events are published, and which are being published."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import AwareDatetime, Field

from call_recorder.facts.model import Model

ABANDONED = timedelta(minutes=5)
"""The time after the end of a claim before which the watchdog does not check its event. The queue delivers a failed
message again after a minute or two, and each delivery claims the event again. So the watchdog acts only if several
deliveries are missing."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The waiting times after which an item is overdue.

    Args:
        grace: the time between the end of a call or recording and its file.
        longest_call: the maximum duration of a call.
    """

    grace: timedelta
    longest_call: timedelta


class Claim(Model):
    """A claim on an event: the queue message whose delivery publishes it, and the end of the claim."""

    by: str
    until: AwareDatetime


class OutboxItem(Model):
    """A stored item with events.

    ``revision`` counts the writes of the item. ``published`` maps the id of each published event to its time.
    ``unknown`` holds the attributes that a later version stored, as they are stored.
    """

    revision: int = 0
    published: dict[str, AwareDatetime] = Field(default_factory=dict)
    claims: dict[str, Claim] = Field(default_factory=dict)
    unknown: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    def with_claims(self, event_ids: Iterable[str], claim: Claim) -> Self:
        """Return the item with these events claimed."""
        return self.model_copy(update={"claims": self.claims | dict.fromkeys(event_ids, claim)})

    def keep_claims(self, event_ids: Collection[str]) -> Self:
        """Return the item with the claims on these events only. An event that is no longer due needs no claim."""
        claims = {event_id: claim for event_id, claim in self.claims.items() if event_id in event_ids}
        return self.model_copy(update={"claims": claims})

    def with_published(self, event_ids: Iterable[str], at: datetime) -> Self:
        """Return the item with these events marked as published, and without their claims."""
        published = dict.fromkeys(event_ids, at) | self.published
        claims = {event_id: claim for event_id, claim in self.claims.items() if event_id not in published}
        return self.model_copy(update={"published": published, "claims": claims})

    def due_at(self, deadlines: Deadlines) -> datetime | None:
        """Return when the watchdog must check the item, or ``None`` if never.

        It checks an item that is overdue, and an item with an event that was claimed and not published. Each change of
        this time costs two writes to an index, so a claim does not change it: an item that waits for its file is
        checked at that time, and an item that waited until now is checked when it would have been overdue.
        """
        overdue_at = self.overdue_at(deadlines)
        if overdue_at or not self.claims:
            return overdue_at
        abandoned_at = min(claim.until for claim in self.claims.values()) + ABANDONED
        return max(filter(None, (abandoned_at, self.expected_until(deadlines))))

    @property
    @abstractmethod
    def name(self) -> str:
        """The key of the item."""

    @abstractmethod
    def overdue_at(self, deadlines: Deadlines) -> datetime | None:
        """Return when the item is overdue, or ``None`` if it waits for nothing."""

    @abstractmethod
    def expected_until(self, deadlines: Deadlines) -> datetime | None:
        """Return when the item would be overdue if nothing that it waited for had come, or ``None`` if it never waits.

        This is ``overdue_at`` as long as the item waits for something.
        """

    @abstractmethod
    def expires_at(self, retention: timedelta) -> datetime | None:
        """Return when the item expires, or ``None`` if it does not."""
