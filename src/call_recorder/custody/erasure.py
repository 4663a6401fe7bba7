"""What is stored of an erasure: a tombstone that counts each erased thing once, and the receipt that sums them up.

A thing is counted by a digest. So a repeated erasure counts nothing twice, and an interrupted one forgets nothing. Each
digest is salted with the key of the tombstone: it does not reveal a file's name.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

from pydantic import AwareDatetime

from call_recorder.custody.commands import Counts, Receipt
from call_recorder.facts.model import Model

Reason = Literal["request", "retention"]


class Erasure(Model):
    """The tombstone of a recording.

    It is ``started`` from the moment from which late facts are dropped, and ``done`` when nothing is left.

    Attributes:
        at: when it began.
        until: the time of the last decision that it erases, if it is later: facts arrive while it is interrupted.
        emptied: all but the item is erased and announced. An item that is gone before has expired.
    """

    custody_id: str
    receipt_id: str
    at: AwareDatetime
    state: Literal["started", "done"] = "started"
    revision: int = 0
    done_at: AwareDatetime | None = None
    by: tuple[str, ...] = ()
    until: AwareDatetime | None = None
    emptied: bool = False
    files: tuple[str, ...] = ()
    transcripts: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def with_things(self, **things: Iterable[str]) -> Self:
        """Return the erasure with more things counted, each kind by its field, each thing by any text that names it."""
        update = {kind: self._joined(kind, names) for kind, names in things.items()}
        return self.model_copy(update=update)

    def with_decisions(self, times: Iterable[datetime]) -> Self:
        """Return the erasure of an item that has decisions of these times."""
        return self.model_copy(update={"until": max((self.until or self.at, *times))})

    def resumed(self, by: str, at: datetime) -> Self:
        """Return the erasure as started, by this person too. One that was done begins again."""
        begins = {"state": "started", "at": at, "emptied": False} if self.state == "done" else {}
        return self.model_copy(update={**begins, "by": tuple(sorted({*self.by, by}))})

    def finished(self, at: datetime) -> Self:
        """Return the erasure as done."""
        return self.model_copy(update={"state": "done", "done_at": at})

    @property
    def counts(self) -> Counts:
        """The numbers of things."""
        kinds = ("files", "transcripts", "versions", "locations", "elsewhere")
        return Counts(**{kind: len(getattr(self, kind)) for kind in kinds})

    def _joined(self, kind: str, names: Iterable[str]) -> tuple[str, ...]:
        digests = {hashlib.sha256(f"{self.custody_id}\n{name}".encode()).hexdigest()[:16] for name in names}
        return tuple(sorted({*getattr(self, kind), *digests}))


class ErasedTraces(Model):
    """The traces that were erased under a receipt. ``pending`` are those that are being erased at the moment."""

    custody_id: str
    receipt_id: str
    at: AwareDatetime
    revision: int = 0
    done_at: AwareDatetime | None = None
    by: tuple[str, ...] = ()
    traces: int = 0
    pending: int = 0


class OpenedReceipt(Model):
    """A receipt as it was opened."""

    custody_id: str
    opened_by: str
    opened_at: AwareDatetime
    reason: Reason
    note: str | None = None


def summarize(receipt_id: str, opened: OpenedReceipt, entries: Iterable[Erasure | ErasedTraces]) -> Receipt:
    """Return a receipt with the sums of its erasures."""
    all_entries = list(entries)
    erasures = [each for each in all_entries if isinstance(each, Erasure)]
    traces = [each for each in all_entries if isinstance(each, ErasedTraces)]
    return Receipt(
        receipt_id=receipt_id,
        opened_by=opened.opened_by,
        opened_at=opened.opened_at,
        reason=opened.reason,
        note=opened.note,
        recordings=len(erasures),
        unfinished=sum(each.state == "started" for each in erasures) + sum(each.pending > 0 for each in traces),
        erased_by=tuple(sorted({person for each in all_entries for person in each.by})),
        first_at=min((each.at for each in all_entries), default=None),
        last_at=max((each.done_at for each in all_entries if each.done_at), default=None),
        counts=sum((each.counts for each in erasures), Counts(traces=sum(each.traces for each in traces))),
    )
