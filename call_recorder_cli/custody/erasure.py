"""Erases recordings, with what else there is of them: traces of unrecorded calls, and dead letters.

Dead letters go first, since they are found by the items, and each item goes last. So a repetition after an interruption
finds what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from call_recorder.adapters.s3_events import read_s3_event
from call_recorder.custody.commands import Answer, Counts, Erase, EraseTraces
from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import ObjectStoredFact
from call_recorder.facts.identifiers import escape
from call_recorder.facts.messages import MalformedFact, QueueMessage, read_message
from call_recorder.facts.storage_urls import get_location
from call_recorder_cli.custody.client import WORKERS
from call_recorder_cli.errors import TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.custody.client import CustodyClient
    from call_recorder_cli.custody.selections import Party, SelectionReader, Target
    from call_recorder_cli.stack import Stack

_FIRST_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_KEYS: Final = 100  # in one BatchGetItem

Advance = Callable[[], object]


class DeadLetters(Protocol):
    """The dead-letter queue of the stack."""

    def delete(self, is_unwanted: Callable[[str], bool]) -> int:
        """Delete the dead letters whose body is unwanted, and return how many. The others stay."""


@dataclass(frozen=True, slots=True)
class Erasing:
    """A chosen recording with CustodyFunction's answer: what it would erase, or has erased.

    ``elsewhere`` has the URLs of its files in other stores.
    """

    target: Target
    answer: Answer

    elsewhere: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The state of the answer."""
        return self.answer.state


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to erase.

    Attributes:
        recordings: the chosen recordings that exist, or existed.
        traces: the number of traces of unrecorded calls.
        dead_letters: the number of dead letters.
        verified: whether all is gone, after an erasure.
    """

    recordings: tuple[Erasing, ...]
    traces: int = 0
    dead_letters: int = 0
    verified: bool | None = None

    def select(self, *states: str) -> list[Erasing]:
        """Return the recordings with one of these states."""
        return [each for each in self.recordings if each.state in states]

    @property
    def to_erase(self) -> list[Erasing]:
        """The recordings that an erasure erases, or goes on with."""
        return self.select("found", "incomplete")

    @property
    def size(self) -> int:
        """The number of recordings to erase, or of other things if there is no recording."""
        return len(self.to_erase) or self.traces + self.dead_letters

    @property
    def counts(self) -> Counts:
        """The sums over all recordings and traces."""
        return self._add(self.recordings)

    @property
    def counts_to_erase(self) -> Counts:
        """The sums over the recordings to erase and all traces."""
        return self._add(self.to_erase)

    def _add(self, recordings: Iterable[Erasing]) -> Counts:
        return sum((each.answer.counts for each in recordings), Counts(traces=self.traces))


class Erasure:
    """Finds what there is of the chosen recordings, and erases it under one receipt.

    Args:
        stack: the stack.
        custody: gives commands to CustodyFunction.
        reader: reads the items.
        dead_letters: the dead-letter queue.
        receipt_id: the id of the receipt.
        by: who erases.
    """

    def __init__(
        self,
        stack: Stack,
        custody: CustodyClient,
        reader: SelectionReader,
        dead_letters: DeadLetters,
        *,
        receipt_id: str,
        by: str,
    ) -> None:
        self._stack = stack
        self._custody = custody
        self._reader = reader
        self._dead_letters = dead_letters
        self._receipt_id = receipt_id
        self._by = by
        self._bucket = stack.output("RecordingsBucketName")
        self._s3 = stack.session.client("s3")  # Threads share a client, and may not make one.

    def preview(self, targets: Sequence[Target], party: Party | None) -> Found:
        """Return what there is to erase, and erase nothing."""
        answers = self._custody.send_all([self._make_command(target, preview=True) for target in targets])
        recordings = [
            Erasing(target, answer, target.list_elsewhere(self._bucket))
            for target, answer in zip(targets, answers, strict=True)
        ]
        return Found(
            tuple(each for each in recordings if each.state != "not-found"),
            traces=self._erase_traces(party, preview=True),
            dead_letters=self._count_dead_letters(targets, party),
        )

    def erase(self, found: Found, party: Party | None, advance: Advance) -> Found:
        """Erase what was found, and return what was erased and what remains.

        Args:
            found: the preview.
            party: the party whose calls were chosen, if any.
            advance: is called after each recording.
        """
        targets = [each.target for each in found.to_erase]
        is_unwanted = self._make_filter(targets, party)
        deleted = self._dead_letters.delete(is_unwanted) if found.dead_letters else 0
        answers = dict(self._erase_all(targets, advance))
        # Some may be interrupted by facts that arrive at the same time.
        unfinished = [target for target in targets if answers[target].state == "incomplete"]
        answers |= dict(self._erase_all(unfinished, lambda: None))
        traces = self._erase_traces(party, preview=False)
        # A message that was being processed meanwhile may have failed for the last time.
        unwanted = _Counted(is_unwanted)
        late = self._dead_letters.delete(unwanted)
        recordings = tuple(replace(each, answer=answers.get(each.target, each.answer)) for each in found.recordings)
        verified = late == unwanted.count and self._verify(recordings)
        return Found(recordings, traces, deleted + late, verified)

    def _erase_all(self, targets: Sequence[Target], advance: Advance) -> Iterator[tuple[Target, Answer]]:
        commands = [self._make_command(target, preview=False) for target in targets]
        for target, answer in zip(targets, self._custody.send_all(commands), strict=True):
            advance()
            yield target, answer

    def _make_command(self, target: Target, *, preview: bool) -> Erase:
        return Erase(
            recording_id=target.recording_id,
            application_key=target.application_key,
            by=self._by,
            receipt_id=self._receipt_id,
            preview=preview,
        )

    def _erase_traces(self, party: Party | None, *, preview: bool) -> int:
        """Erase the traces of a party's unrecorded calls, or count them. Return the number.

        A trace of a call belongs to both its parties: it is erased on whichever side the party is.

        Raises:
            TryAgain: some are left.
        """
        if party is None or "UnrecordedCallsTableName" not in self._stack.outputs:
            return 0
        commands = [
            EraseTraces(
                application_key=key,
                number=address,
                since=party.times.since if party.times else _FIRST_TIME,
                until=party.times.until if party.times else datetime.now(UTC) + timedelta(days=1),
                receipt_id=self._receipt_id,
                by=self._by,
                preview=preview,
            )
            for key in self._reader.applications
            for address in party.addresses
        ]
        # One after the other: their sums are in one item.
        return sum(map(self._count_traces, commands))

    def _count_traces(self, command: EraseTraces) -> int:
        answer = self._custody.send(command)
        if answer.state in ("incomplete", "refused"):
            raise TryAgain(f"Traces of unrecorded calls are left. {' '.join(answer.problems)}")
        return answer.counts.traces

    def _count_dead_letters(self, targets: Sequence[Target], party: Party | None) -> int:
        unwanted = _Counted(self._make_filter(targets, party))
        self._dead_letters.delete(lambda body: unwanted(body) and False)
        return unwanted.count

    def _make_filter(self, targets: Sequence[Target], party: Party | None) -> Callable[[str], bool]:
        """Return a filter of the messages about the recordings, or about other calls of the party."""
        ids = {(target.application_key, each) for target in targets for each in target.ids}
        files = {escape(each) for _, each in ids}
        locations = {location for target in targets for location in target.list_locations(self._bucket)}

        def is_unwanted(body: str) -> bool:
            message = _read(body)
            if isinstance(message, str):
                return message in locations or message.rpartition("/")[2] in files
            if message is None:
                return any(f'"{each}"' in body for _, each in ids)
            key = getattr(message, "application_key", None)
            names = (getattr(message, name, None) for name in ("recording_id", "call_id", "conference_id"))
            return any((key, name) in ids for name in names) or bool(party and party.is_in_fact(message))

        return is_unwanted

    def _verify(self, recordings: Sequence[Erasing]) -> bool:
        """Look whether the erased recordings are gone: their items, object locations and all versions of files."""
        erased = [each.target for each in recordings if each.state == "erased"]
        locations = sorted({location for target in erased for location in target.list_locations(self._bucket)})
        if self._reader.read_items(target.recording_id for target in erased) or self._find_places(locations):
            return False
        with ThreadPoolExecutor(WORKERS) as executor:
            return not any(executor.map(self._has_versions, locations))

    def _find_places(self, locations: Sequence[str]) -> bool:
        table = self._stack.output("PlacesTableName")
        dynamodb = self._stack.session.resource("dynamodb")
        for start in range(0, len(locations), _MAX_KEYS):
            chunk = locations[start : start + _MAX_KEYS]
            wanted: Any = {table: {"Keys": [{"place": location} for location in chunk], "ConsistentRead": True}}
            while wanted:
                answer = dynamodb.batch_get_item(RequestItems=wanted)
                if answer["Responses"].get(table):
                    return True
                wanted = answer["UnprocessedKeys"]
        return False

    def _has_versions(self, location: str) -> bool:
        prefix = location.removeprefix(f"s3://{self._bucket}/")
        pages = self._s3.get_paginator("list_object_versions")
        return any(
            get_location(version["Key"]) == prefix
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        )


class _Counted:
    """A filter of messages that counts what it finds."""

    def __init__(self, is_unwanted: Callable[[str], bool]) -> None:
        self.count = 0
        self._is_unwanted = is_unwanted

    def __call__(self, body: str) -> bool:
        """Tell whether the message is unwanted."""
        unwanted = self._is_unwanted(body)
        self.count += unwanted
        return unwanted


def _read(body: str) -> QueueMessage | str | None:
    """Return the message of a queue, or its object location if it is about one, or ``None`` if it is unreadable."""
    if stored := read_s3_event(body):
        return get_location(stored.url)
    try:
        message = read_message(body)
    except MalformedFact:
        return None
    match message:
        case ObjectStoredFact():
            return get_location(message.url)
        case CheckLocation():
            return message.location
    return message
