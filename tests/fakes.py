"""Stand-ins for what the functions talk to. They keep what they are given and fail when they are told to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from call_recorder.aws.table import from_item, to_item
from call_recorder.handlers.front_door import FrontDoor
from call_recorder.handlers.settings import CallbackSettings
from call_recorder.handlers.telemetry import Telemetry
from call_recorder.recording import facts
from call_recorder.recording.application import CREDENTIALS, PROFILE, SECRETS, Application
from call_recorder.recording.errors import (
    BusUnavailable,
    ParametersUnavailable,
    QueueUnavailable,
    TableUnavailable,
    UnknownApplication,
)
from call_recorder.recording.events import Event
from call_recorder.recording.facts import CallDecided, Fact
from call_recorder.recording.ledger import Conflict
from call_recorder.recording.policy import KnownCall
from call_recorder.recording.recording import Recording
from call_recorder.sinch.upstream import UpstreamFailed
from tests import sinch

BUCKET: Final = "own-bucket"
STORAGE_KEY: Final = "AKIDOFTHEUPLOADER"
STORAGE_SECRET: Final = "storage/secret+value"
STORAGE_CREDENTIALS: Final = f"{STORAGE_KEY}:{STORAGE_SECRET}:eu-west-1"
RETENTION: Final = timedelta(days=30)

RECORD_ALL: Final[dict[str, Any]] = {"rules": [{"name": "everything", "record": True}]}


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


class InMemoryTable:
    """A table of items under revisions. ``before_save`` and ``after_save`` may raise, as the n-th write is made."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.down = False
        self.refuses: set[str] = set()
        self.writes = 0
        self.before_save: Callable[[int], None] = lambda write: None
        self.after_save: Callable[[int], None] = lambda write: None
        self._lock = threading.Lock()

    def load(self, recording_ids: Collection[str]) -> dict[str, Recording]:
        if self.down:
            raise TableUnavailable("BatchGetItem: InternalServerError")
        with self._lock:
            return {id_: from_item(self.items[id_]) for id_ in recording_ids if id_ in self.items}

    def save(self, recording: Recording) -> Recording:
        with self._lock:
            self.writes += 1
            write = self.writes
            self.before_save(write)
            if recording.recording_id in self.refuses:
                raise TableUnavailable("PutItem: ValidationException")
            stored = self.items.get(recording.recording_id)
            current = from_item(stored) if stored else None
            if (current.revision if current else 0) != recording.revision:
                raise Conflict(current)
            saved = recording.model_copy(update={"revision": recording.revision + 1})
            self.items[recording.recording_id] = to_item(saved, RETENTION)
            self.after_save(write)
            return saved

    def recording(self, recording_id: str = sinch.CALL) -> Recording:
        return from_item(self.items[recording_id])


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

    def send(self, fact: Fact) -> None:
        if self.down:
            raise QueueUnavailable("SendMessage: ReadTimeoutError")
        self.sent.append(facts.read(facts.write(fact)))


class Calls:
    """Remembers calls for the callbacks that follow, unless the table is down."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], KnownCall] = {}
        self.down = False

    def remember(self, fact: CallDecided) -> None:
        self.known[fact.application_key, fact.call_id] = KnownCall(fact.call, fact.awaited, fact.consent)

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        if self.down:
            raise TableUnavailable("BatchGetItem: ReadTimeoutError")
        return self.known.get((application_key, call_id))


class Backend:
    """A team's own backend, which answers with ``text`` or, without one, fails. Keeps what it is sent."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.received: list[bytes] = []

    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, within: float
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
        self.lines: list[Line] = []
        self.flushed: list[Mapping[str, str]] = []

    def count(self, metric: str, value: int = 1) -> None:
        self.counts[metric] += value

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("info", message, fields))

    def warning(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("warning", message, fields))

    def exception(self, message: str, **fields: Any) -> None:
        self.lines.append(Line("exception", message, fields))

    def flush(self, **dimensions: str) -> None:
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

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        door = FrontDoor(
            self.settings,
            applications=self.applications,
            facts=self.facts,
            notifications=self.notifications,
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
