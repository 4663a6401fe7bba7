"""What a stored item says of the events that follow from it: which went out, and which somebody is publishing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import AwareDatetime, Field

from call_recorder.recording.facts import Model

ABANDONED = timedelta(minutes=5)
"""How long after its claim ran out an event is given up by the queue. A message that is still tried comes every
minute and claims the event again, so this is more than several of its turns."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what should come.

    Args:
        grace: how long after a call or a recording ended its file may take.
        longest_call: the longest that a call lasts.
    """

    grace: timedelta
    longest_call: timedelta


class Claim(Model):
    """Who is publishing an event just now: the queue message that brought it about, and until when that holds."""

    by: str
    until: AwareDatetime


class Outbox(Model):
    """An item with events of its own.

    ``revision`` counts the writes of the stored item. ``published`` maps the ids of events that went out to when.
    ``unknown`` are attributes of the stored item that a later version put there, as they are stored.
    """

    revision: int = 0
    published: dict[str, AwareDatetime] = Field(default_factory=dict)
    claims: dict[str, Claim] = Field(default_factory=dict)
    unknown: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    def claimed(self, event_ids: Iterable[str], claim: Claim) -> Self:
        """Return the item with these events claimed for publishing."""
        return self.model_copy(update={"claims": self.claims | dict.fromkeys(event_ids, claim)})

    def claimed_only(self, event_ids: Collection[str]) -> Self:
        """Return the item with claims on no other than these events: what is not called for needs no publisher."""
        claims = {event_id: claim for event_id, claim in self.claims.items() if event_id in event_ids}
        return self.model_copy(update={"claims": claims})

    def with_published(self, event_ids: Iterable[str], at: datetime) -> Self:
        """Return the item with these events marked as published, their claims gone."""
        published = dict.fromkeys(event_ids, at) | self.published
        claims = {event_id: claim for event_id, claim in self.claims.items() if event_id not in published}
        return self.model_copy(update={"published": published, "claims": claims})

    def due_at(self, patience: Patience) -> datetime | None:
        """Return when the watchdog has to look at the item, or ``None`` if never.

        It must when something that should have come did not, and when an event was claimed and never published.
        """
        times = [claim.until + ABANDONED for claim in self.claims.values()]
        overdue_at = self.overdue_at(patience)
        return min([*times, overdue_at] if overdue_at else times, default=None)

    @property
    @abstractmethod
    def name(self) -> str:
        """What the item is stored under."""

    @abstractmethod
    def overdue_at(self, patience: Patience) -> datetime | None:
        """Return when to stop waiting for what should come, or ``None`` if nothing is waited for."""

    @abstractmethod
    def expires_at(self, retention: timedelta) -> datetime:
        """Return when the item may go."""
