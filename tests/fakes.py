"""Fakes of what the functions call. They keep what they receive, and fail on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

from call_recorder.adapters.dynamodb_items import from_item, iso_utc, to_item
from call_recorder.answering.application import Application
from call_recorder.answering.known_call import KnownCall
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.facts import messages
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import (
    BusUnavailable,
    ParametersUnavailable,
    QueueUnavailable,
    TableUnavailable,
    UnknownApplication,
    UpstreamFailed,
)
from call_recorder.facts.facts import CallDecidedFact, Fact
from call_recorder.facts.messages import QueueMessage
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.telemetry import Telemetry
from call_recorder.tracking.fact_processor import Conflict, FactProcessor, StoredItems, Tables
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.outbox_item import Deadlines, OutboxItem
from call_recorder.tracking.published_events import Event
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.tombstones import Tombstone
from tests import sinch

BUCKET: Final = "own-bucket"
STORAGE_KEY: Final = "AKIDOFTHEUPLOADER"
STORAGE_SECRET: Final = "storage/secret+value"
STORAGE_CREDENTIALS: Final = f"{STORAGE_KEY}:{STORAGE_SECRET}:eu-west-1"
RETENTION: Final = timedelta(days=30)
DEADLINES: Final = Deadlines(grace=timedelta(minutes=30), longest_call=timedelta(hours=4))

RECORD_ALL: Final[dict[str, Any]] = {"rules": [{"name": "everything", "record": True}]}


ItemT = TypeVar("ItemT", bound=OutboxItem)


class Crash(BaseException):
    """The function's process ends here. Nothing in the code may catch it."""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = sinch.NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class InMemoryTables:
    """Tables of items under revisions. ``before_save`` and ``after_save`` may raise, as the n-th write is made."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.places: dict[str, dict[str, Any]] = {}
        self.tombstones: dict[str, Tombstone] = {}
        self.down = False
        self.refuses: set[str] = set()
        self.writes = 0
        self.before_save: Callable[[int], None] = lambda write: None
        self.after_save: Callable[[int], None] = lambda write: None
        self._lock = threading.Lock()

    def load(
        self, recording_ids: Collection[str], locations: Collection[str] = (), tombstones: Collection[str] = ()
    ) -> StoredItems:
        if self.down:
            raise TableUnavailable("BatchGetItem: InternalServerError")
        with self._lock:
            return StoredItems(
                recordings={id_: from_item(Recording, self.items[id_]) for id_ in recording_ids if id_ in self.items},
                locations={
                    name: from_item(ObjectLocation, self.places[name]) for name in locations if name in self.places
                },
                tombstones={name: self.tombstones[name] for name in tombstones if name in self.tombstones},
            )

    def save(self, item: ItemT) -> ItemT:
        with self._lock:
            self.writes += 1
            write = self.writes
            self.before_save(write)
            if item.name in self.refuses:
                raise TableUnavailable("PutItem: ValidationException")
            items = self.items if isinstance(item, Recording) else self.places
            stored = items.get(item.name)
            current = from_item(type(item), stored) if stored else None
            if (current.revision if current else 0) != item.revision:
                raise Conflict(current)
            saved = item.model_copy(update={"revision": item.revision + 1})
            items[item.name] = to_item(saved, RETENTION, DEADLINES)
            self.after_save(write)
            return saved

    def recording(self, recording_id: str = sinch.CALL) -> Recording:
        return from_item(Recording, self.items[recording_id])

    def place(self, place: str) -> ObjectLocation:
        return from_item(ObjectLocation, self.places[place])

    def due(self, at: datetime) -> list[CheckRecording | CheckLocation]:
        """Return what the watchdog finds at a time, from its sparse index."""
        waiting = [item for item in (*self.items.values(), *self.places.values()) if "dueAt" in item]
        found: list[CheckRecording | CheckLocation] = []
        for item in waiting:
            if item["dueAt"]["S"] > iso_utc(at):
                continue
            if "place" in item:
                found.append(CheckLocation(location=item["place"]["S"], at=at))
            else:
                recording_id, key = item["recordingId"]["S"], item["applicationKey"]["S"]
                found.append(CheckRecording(recording_id=recording_id, application_key=key, at=at))
        return found


class Bus:
    """A bus that can be down as a whole, or refuse single events inside an answer."""

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.calls = 0
        self.down = False
        self.refuses: Callable[[Event], bool] = lambda event: False
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def publish(self, events: Sequence[Event]) -> set[str]:
        with self._lock:
            self.calls += 1
            self.before()
            if self.down:
                raise BusUnavailable("PutEvents: AccessDeniedException")
            taken = [event for event in events if not self.refuses(event)]
            self.out.extend(taken)
            self.after()
            return {event.id for event in taken}

    def ids(self) -> Counter[str]:
        return Counter(event.id for event in self.out)


class Queue:
    """A queue that reads back what it is sent, so that only what survives the wire is seen."""

    def __init__(self) -> None:
        self.sent: list[Fact] = []
        self.down = False
        self.waiting = 0

    def send(self, fact: QueueMessage, *, urgent: bool = False) -> None:
        if self.down:
            raise QueueUnavailable("SendMessage: ReadTimeoutError")
        self.sent.append(cast("Fact", messages.read_message(messages.write_message(fact))))

    def count_waiting(self) -> int:
        return self.waiting

    def send_all(self, several: Iterable[QueueMessage]) -> int:
        before = len(self.sent)
        for fact in several:
            self.send(fact)
        return len(self.sent) - before


@dataclass
class Queues:
    """One queue: what was sent while a caller waited, and the rest."""

    urgent: Queue
    other: Queue

    def send(self, fact: QueueMessage, *, urgent: bool) -> None:
        (self.urgent if urgent else self.other).send(fact)


class Calls:
    """Remembers calls for the callbacks that follow, unless the table is down."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], KnownCall] = {}
        self.down = False
        self.opened_ahead = 0

    def preconnect(self) -> None:
        self.opened_ahead += 1

    def remember(self, fact: CallDecidedFact) -> None:
        name = (fact.application_key, fact.call_id)
        self.known[name] = self.known.get(name, KnownCall()).join(KnownCall.of(fact))

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        if self.down:
            raise TableUnavailable("BatchGetItem: ReadTimeoutError")
        return self.known.get((application_key, call_id))

    find_latest = find


class Backend:
    """A team's own backend, which answers with ``text`` or, without one, fails. Keeps what it is sent."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.received: list[bytes] = []

    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, timeout: float
    ) -> str:
        self.received.append(body)
        if self.text is None:
            raise UpstreamFailed("no answer in time")
        return self.text


class Applications:
    """Applications by key, or none at all while SSM is out of reach."""

    def __init__(self, *applications: Application) -> None:
        self.known = {application.key: application for application in applications}
        self.down = False

    def get(self, key: str) -> Application:
        if self.down:
            raise ParametersUnavailable("GetParameters: ConnectTimeoutError")
        try:
            return self.known[key]
        except KeyError:
            raise UnknownApplication(key) from None


@dataclass(frozen=True)
class Line:
    """A log line."""

    level: str
    message: str
    fields: Mapping[str, Any]


class RecordedTelemetry(Telemetry):
    """Telemetry that is kept instead of written."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: list[tuple[str, float]] = []
        self.lines: list[Line] = []
        self.flushed: list[Mapping[str, str]] = []

    def count(self, metric: str, value: int = 1) -> None:
        self.counts[metric] += value

    def measure(self, metric: str, seconds: float) -> None:
        self.seconds.append((metric, seconds))

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("info", message, fields))

    def warning(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("warning", message, fields))

    def exception(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("exception", message, fields))

    def record(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("record", message, fields))

    def flush(self) -> None:
        self.flushed.append({})

    def summarize(self, message: str, total: str, dimensions: Mapping[str, str], *, warns: bool, **fields: Any) -> None:
        self.count(total)
        (self.warning if warns else self.info)(message, **dimensions, **fields)
        self.flushed.append(dimensions)


def application(
    profile: Mapping[str, Any] | str = RECORD_ALL,
    *,
    key: str = sinch.APPLICATION,
    secrets: str = sinch.SECRET,
    credentials: str | None = STORAGE_CREDENTIALS,
) -> Application:
    """Return an application as its parameters make it."""
    values = {SECRETS: secrets, PROFILE: profile if isinstance(profile, str) else json.dumps(profile)}
    if credentials is not None:
        values[CREDENTIALS] = credentials
    return Application.from_parameters(key, values, own_bucket=BUCKET)


def callback_settings(**overrides: str) -> CallbackSettings:
    """Return the settings of CallbackFunction."""
    environment = {
        "CALLBACK_PATH": sinch.PATH,
        "PARAMETER_PREFIX": "call-recorder",
        "RECORDING_QUEUE_URL": "https://queue.example/recordings",
        "RECORDINGS_BUCKET": BUCKET,
        "RECORDINGS_TABLE": "recordings",
    }
    return CallbackSettings.read(environment | overrides)


@dataclass
class Front:
    """CallbackFunction with everything behind it in reach of the test."""

    applications: Applications = field(default_factory=lambda: Applications(application()))
    settings: CallbackSettings = field(default_factory=callback_settings)
    facts: Queue = field(default_factory=Queue)
    notifications: Queue = field(default_factory=Queue)
    calls: Calls = field(default_factory=Calls)
    upstream: Backend = field(default_factory=Backend)
    telemetry: RecordedTelemetry = field(default_factory=RecordedTelemetry)
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def of(cls, profile: Mapping[str, Any] | str, *, credentials: str | None = STORAGE_CREDENTIALS) -> Front:
        """Return it with one application of this profile."""
        return cls(applications=Applications(application(profile, credentials=credentials)))

    @property
    def queue(self) -> Queues:
        return Queues(self.facts, self.notifications)

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        door = CallbackHandler(
            self.settings,
            applications=self.applications,
            queue=self.queue,
            calls=self.calls,
            upstream=self.upstream,
            telemetry=self.telemetry,
            clock=self.clock,
        )
        return door(event)

    def answer(self, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """Return the SVAML that answers a signed callback."""
        response = self(sinch.signed(body))
        assert response["statusCode"] == 200, response
        answer: dict[str, Any] = json.loads(response["body"])
        return answer

    def action(self, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """Return the action of the SVAML that answers a signed callback, and check that it comes alone."""
        answer = self.answer(body)
        assert set(answer) == {"action"}
        action: dict[str, Any] = answer["action"]
        return action

    def status(self, event: Mapping[str, Any]) -> int:
        """Return the status of the answer to an event."""
        response = self(event)
        status: int = response["statusCode"]
        return status

    @property
    def line(self) -> Line:
        """The one log line of the one callback so far."""
        [line] = self.telemetry.lines
        return line


def new_processor(
    tables: Tables, bus: Bus, executor: Executor, clock: Callable[[], datetime] | None = None
) -> FactProcessor:
    """Return a processor of the stack whose bucket is ``BUCKET``."""
    return FactProcessor(
        tables=tables, bus=bus, executor=executor, clock=clock or Clock(), deadlines=DEADLINES, own_bucket=BUCKET
    )
