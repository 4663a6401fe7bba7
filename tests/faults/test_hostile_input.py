"""Whatever comes in, and however it was made to do harm, every promise holds."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from call_recorder.adapters.eventbridge import RecordingsBus
from call_recorder.adapters.operations import CallFailed
from call_recorder.answering.consent import MenuTicket
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import CallDecidedFact, Fact, ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.facts.identifiers import unescape
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.facts.storage_urls import location_of
from call_recorder.functions.notify import FactBatchHandler
from call_recorder.functions.telemetry import Telemetry
from call_recorder.sinch.callbacks import IceCallback, MalformedCallback, parse
from call_recorder.tracking import published_events
from call_recorder.tracking.attribution import item_names_to_load
from call_recorder.tracking.fact_processor import StoredItems
from tests import profiles, sinch
from tests.fakes import (
    BUCKET,
    RECORD_ALL,
    STORAGE_CREDENTIALS,
    STORAGE_KEY,
    STORAGE_SECRET,
    Applications,
    Backend,
    Clock,
    Front,
    Line,
    RecordedTelemetry,
    application,
    new_processor,
)
from tests.faults.conftest import FULL, ON_DYNAMODB_LOCAL, SEED
from tests.faults.hostile import CALLER, PROBE, Attempt, Callbacks, Letter, Letters
from tests.faults.tables import BoundedTables
from tests.svaml import assert_legal

if TYPE_CHECKING:
    from tests.faults.tables import Shelves

CALLBACK_CHUNKS: Final = 48 if FULL else 10 if ON_DYNAMODB_LOCAL else 2
CALLBACKS: Final = 2000
"""Callbacks of one chunk."""

BATCH_CHUNKS: Final = 20 if FULL else 4 if ON_DYNAMODB_LOCAL else 2
BATCHES: Final = 200 if FULL else 100
"""Batches of one chunk, each of ten messages."""

WRITTEN: Final = 5000 if FULL else 300
"""Callbacks of which all is looked at that the function writes."""

MAX_SECONDS: Final = 1.5
"""Processor time that no callback may take: Sinch waits, and an ICE is to be answered within 3 s."""

MAX_LOOKS: Final = 20
"""Looks of the watchdog after which nothing may be waited for any more."""

END_OF_TIME: Final = datetime(2999, 12, 31, tzinfo=UTC)
"""No fact is later than this year. What an invented message says to be due then, is waited for until then."""

MAX_LINE: Final = 64 * 1024
MAX_EVENT: Final = 8 * 1024
MAX_MESSAGE: Final = 256 * 1024
MAX_KEY: Final = 1024
LENGTH_OF_SIGNATURE: Final = 44

AZURE_SECRET: Final = "YXp1cmUgYWNjb3VudCBrZXk="
GOOGLE_SECRET: Final = "google-hmac-secret"
SECRETS: Final = (
    sinch.SECRET,
    "the secret of the application",
    STORAGE_KEY,
    STORAGE_SECRET,
    AZURE_SECRET,
    GOOGLE_SECRET,
)
TICKET: Final = MenuTicket(rule="asked", question="00000000", to_type="number", endpoint="+1").value("1")
EVENTS: Final = {"ice", "ace", "pie", "dice", "notify", "unknown", "unreadable"}
OUTCOMES: Final = {
    *("recorded", "not-recorded", "not-sampled", "no-consent", "consent-asked", "answer-awaited", "continued"),
    *("no-route", "hung-up", "lost-after-menu", "untraceable", "degraded", "queued", "refused"),
}
REACHED: Final = {"recorded", "no-consent", "consent-asked", "answer-awaited", "untraceable", "degraded", "queued"}
"""Outcomes that hundreds of callbacks come to, however few of them are answered at all."""

_ANSWERED: Final = {"ice", "ace", "pie"}
_PLACEHOLDERS: Final = {
    "callId": "(?P<call>[A-Za-z0-9_-]+)",
    "conferenceId": "[A-Za-z0-9_-]+",
    "applicationKey": re.escape(sinch.APPLICATION),
    "date": "2[0-9]{3}/[0-9]{2}/[0-9]{2}",
    "time": "[0-9]{6}",
    "format": "(mp3|wav)",
}


def _pattern(template: str) -> re.Pattern[str]:
    """Return what every URL made from a destination must be, worked out from its text alone."""
    parts = re.split(r"\{([A-Za-z]+)\}", template)
    written = [re.escape(part) if index % 2 == 0 else _PLACEHOLDERS[part] for index, part in enumerate(parts)]
    pattern = "".join(written)
    first = pattern.index(_PLACEHOLDERS["callId"]) + len(_PLACEHOLDERS["callId"])
    return re.compile(pattern[:first] + pattern[first:].replace(_PLACEHOLDERS["callId"], "(?P=call)"))


OWN: Final = f"s3://{BUCKET}/recordings/{{applicationKey}}/{{date}}/{{callId}}.{{format}}"
_FOLDERS: Final = "{applicationKey}/{date}/{time}/{conferenceId}"
EVERYTHING: Final = f"s3://{BUCKET}/recordings/a+b/{_FOLDERS}/x-{{callId}}-{{callId}}.{{format}}"
_ROUTES: Final = [
    {"to": "+46*", "action": profiles.PSTN_ACTION},
    {"to": "*0", "action": profiles.CONF_ACTION},
    {"to": "*1", "action": profiles.SIP_ACTION},
    {"to": "*2", "action": {"name": "hangup"}},
    {"to": "*", "action": profiles.MXP_ACTION},
]
_NO_CONFERENCE: Final = ["number", "username", "sip"]
PROFILES: Final[dict[str, tuple[dict[str, Any] | str, str, str]]] = {
    "everything": (RECORD_ALL, OWN, STORAGE_CREDENTIALS),
    "every placeholder": (
        profiles.profile(profiles.rule(), destination=EVERYTHING, routes=_ROUTES, format="wav"),
        EVERYTHING,
        STORAGE_CREDENTIALS,
    ),
    "announcement": (
        profiles.profile(profiles.rule(consent=profiles.ANNOUNCEMENT), routes=_ROUTES, transcription={"enabled": True}),
        OWN,
        STORAGE_CREDENTIALS,
    ),
    "menu": (
        profiles.profile(
            profiles.rule(
                when=profiles.FROM_PHONE | {"toType": _NO_CONFERENCE},
                consent=profiles.MENU | {"usernameByConference": True},
            )
        ),
        OWN,
        STORAGE_CREDENTIALS,
    ),
    "header, sampled": (
        profiles.profile(
            profiles.rule("asked", when={"toType": _NO_CONFERENCE}, consent=profiles.HEADER),
            profiles.rule("rest", sample=0.5, retentionDays=36_500),
        ),
        OWN,
        STORAGE_CREDENTIALS,
    ),
    "on answer": (
        profiles.profile(profiles.rule("answered", when={"toType": ["number", "sip"]}, start="answer"), routes=_ROUTES),
        OWN,
        STORAGE_CREDENTIALS,
    ),
    "google": (
        profiles.profile(profiles.rule(), destination="gs://other_bucket/{conferenceId}/{callId}"),
        "gs://other_bucket/{conferenceId}/{callId}",
        f"GOOGKEY:{GOOGLE_SECRET}",
    ),
    "azure, upstream": (
        profiles.profile(
            profiles.rule(),
            destination="azure://account/container/{callId}.{format}",
            upstream={"url": "https://team.example/"},
        ),
        "azure://account/container/{callId}.{format}",
        AZURE_SECRET,
    ),
    "cannot work": ('{"destination": "s3://bucket/fixed.mp3"}', OWN, STORAGE_CREDENTIALS),
}


@dataclass
class Door:
    """CallbackFunction under one profile, and the check of what it does with a callback."""

    name: str
    front: Front
    pattern: re.Pattern[str]
    credentials: str
    outcomes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def under(cls, name: str) -> Door:
        profile, template, credentials = PROFILES[name]
        upstream = Backend('{"action": {"name": "connectPstn", "number": "+46700000000"}}')
        front = Front(applications=Applications(application(profile, credentials=credentials)), upstream=upstream)
        return cls(name, front, _pattern(template), credentials)

    def check(self, attempt: Attempt, *, parameters_down: bool) -> tuple[list[Fact], dict[str, Any] | None]:
        """Send a callback and check every promise; return the facts that were queued, and the SVAML."""
        front = self.front
        front.applications.down = parameters_down
        front.upstream.received.clear()
        started = time.thread_time()
        response = front(attempt.event)
        taken = time.thread_time() - started
        assert taken < MAX_SECONDS, f"took {taken:.1f} s of the processor"
        sent = [*front.facts.sent, *front.notifications.sent]
        front.facts.sent.clear()
        front.notifications.sent.clear()
        self._check_log(attempt.event.get("headers") or {})
        assert response.keys() == {"statusCode", "headers", "body"}
        status, body = response["statusCode"], response["body"]
        json.dumps(response, ensure_ascii=False).encode()  # as the runtime does
        if parameters_down:
            answer = self._check_unverified(status, body, attempt)
        elif attempt.authentic:
            answer = self._check_authentic(status, body, attempt)
        else:
            assert (status, body, sent) == (401, "", [])
            answer = None
        self._check_sent(sent, answer)
        return sent, answer

    def _check_unverified(self, status: int, body: str, attempt: Attempt) -> dict[str, Any] | None:
        """Nobody knows who sent it: it may be connected, and gets nothing that is secret."""
        assert status in {200, 400, 401, 503}
        assert not any(secret in body for secret in (*SECRETS, "recordingOptions"))
        if status != 200:
            assert body == ""
            return None
        answer: dict[str, Any] = json.loads(body)
        assert_legal("ice", answer)
        return answer

    def _check_authentic(self, status: int, body: str, attempt: Attempt) -> dict[str, Any] | None:
        try:
            callback = parse(attempt.body)
        except MalformedCallback:
            assert not attempt.readable
            assert (status, body) == (400, "")
            return None
        if callback.application_key not in (None, sinch.APPLICATION):
            assert (status, body) == (401, "")
            return None
        assert status == 200
        if callback.event not in _ANSWERED:
            assert body == ""
            return None
        answer: dict[str, Any] = json.loads(body)
        credentials = [each["credentials"] for each in _recording_options(answer)]
        assert credentials == [self.credentials] * len(credentials)
        assert body.count(self.credentials) == len(credentials)
        assert not any(secret in body for secret in SECRETS if secret not in self.credentials)
        if isinstance(callback, IceCallback) or not self.front.upstream.received:
            # What a team's own backend answers is its own affair.
            assert_legal(callback.event, answer)
        return answer

    def _check_sent(self, sent: list[Fact], answer: dict[str, Any] | None) -> None:
        """What is queued holds no secret and says of each file that is asked for whose it is."""
        for fact in sent:
            message = write_message(fact)
            assert message.isascii()
            assert len(message) < MAX_MESSAGE
            assert not any(secret in message for secret in SECRETS)
            may_be_anybodys = isinstance(fact, CallDecidedFact) and fact.applies_to_known_calls_only
            assert may_be_anybodys or fact.application_key == sinch.APPLICATION
        given = _recording_options(answer) if answer else []
        decided = [fact for fact in sent if isinstance(fact, CallDecidedFact) and fact.request]
        requests = [fact.request for fact in decided if fact.request]
        assert [each["destinationUrl"] for each in given] == [request.destination_url for request in requests]
        for fact, request in zip(decided, requests, strict=True):
            self._check_url(request.destination_url, fact.call_id)

    def _check_url(self, url: str, call_id: str) -> None:
        """A URL is what its template says, below its prefix and under no other call's name."""
        match = self.pattern.fullmatch(url)
        assert match, "a destination that its template cannot make"
        key = url.partition("://")[2].partition("/")[2]
        assert len(key.encode()) <= MAX_KEY
        assert ".." not in key
        assert "//" not in key
        assert unescape(match["call"]) == call_id

    def _check_log(self, headers: Mapping[str, str]) -> None:
        telemetry = self.front.telemetry
        assert not [line for line in telemetry.lines if line.level == "exception"]
        [line] = telemetry.lines
        [dimensions] = telemetry.flushed
        assert dimensions["event"] in EVENTS
        assert dimensions["outcome"] in OUTCOMES
        self.outcomes[dimensions["outcome"]] += 1
        _check_line(line)
        signature = headers.get("authorization", "").rpartition(":")[2]
        assert len(signature) < LENGTH_OF_SIGNATURE or signature not in str(line.fields)
        telemetry.lines.clear()
        telemetry.flushed.clear()


def _recording_options(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options of all that an answer has recorded."""
    instructions = [each["options"] for each in answer.get("instructions", []) if "options" in each]
    return [*instructions, *filter(None, [answer["action"].get("recordingOptions")])]


class InTurn(Executor):
    """Runs one call after the other, in the order of asking, so that a seed is enough to repeat a run."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(call(*arguments, **named))
        return done


class BoundedBus:
    """EventBridge, which takes no call of more than 256 KiB, and keeps what it took."""

    def __init__(self) -> None:
        self.out: dict[str, str] = {}
        self.unchecked: list[str] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        entries = json.loads(json.dumps(parameters))["Entries"]  # as it goes over the wire
        if sum(len(each["Detail"].encode()) + 64 for each in entries) > 256 * 1024:
            raise CallFailed(operation, "ValidationException")
        self.unchecked += [each["Detail"] for each in entries]
        return {"Entries": [{"EventId": str(number)} for number, _ in enumerate(entries)]}


class Books:
    """NotifyFunction with tables and a bus, and the check of what it does with a batch."""

    def __init__(self, tables: Shelves, telemetry: RecordedTelemetry | None = None) -> None:
        self.tables, self.bus, self.telemetry, self.clock = (
            tables,
            BoundedBus(),
            telemetry or RecordedTelemetry(),
            Clock(),
        )
        bus = RecordingsBus(self.bus, "recordings")
        self.office = FactBatchHandler(new_processor(tables, cast("Any", bus), InTurn(), self.clock), self.telemetry)

    def check_all(self, letters: Iterable[Letter]) -> None:
        """Deliver letters, ten at a time, and check every promise."""
        rest = iter(letters)
        while batch := list(islice(rest, 10)):
            self.check(batch)

    def check(self, letters: Sequence[Letter]) -> None:
        """Deliver a batch and check every promise."""
        answer = self.office({"Records": [{"messageId": letter.id, "body": letter.body} for letter in letters]})
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert answer.keys() == {"batchItemFailures"}
        assert len(set(failed)) == len(failed)
        assert set(failed) <= {letter.id for letter in letters}
        assert not self.tables.refused
        facts = [letter.fact for letter in letters if letter.fact]
        stored = self._stored(facts)
        lost = [letter for letter in letters if letter.fact and letter.id in failed]
        lost += [letter for letter in letters if letter.fact and not self._taken(letter.fact, stored)]
        assert not lost, self.telemetry.lines
        self._check_events()
        self._check_log()

    def let_time_pass(self) -> None:
        """Have the watchdog look, as time passes, until it has nothing more to look at."""
        for _ in range(MAX_LOOKS):
            if not (due := [at for at in map(datetime.fromisoformat, self.tables.due()) if at < END_OF_TIME]):
                return
            self.clock.now = max(self.clock.now, *due) + timedelta(seconds=1)
            self.check_all(_letters(self.tables.look(self.clock.now)))
        raise AssertionError(f"the watchdog looks for ever at what is due {sorted(self.tables.due())[:5]}")

    def check_items(self) -> None:
        """Check what is stored in the end."""
        for item in self.tables.stored():
            assert not any(secret in json.dumps(item) for secret in SECRETS)

    def _stored(self, facts: Collection[QueueMessage]) -> StoredItems:
        """Return the items that facts may be in."""
        named = {name for fact in facts for name in item_names_to_load(fact)}
        return self.tables.load(named, {location_of(fact.url) for fact in facts if isinstance(fact, ObjectStoredFact)})

    def _taken(self, fact: QueueMessage, stored: StoredItems) -> bool:
        """Tell whether a fact is in the books: to merge it once more changes nothing."""
        match fact:
            case UploaderKeyChangedFact():
                return any(published_events.key_change_event(fact).id in detail for detail in self.bus.unchecked)
            case ObjectStoredFact():
                place = stored.locations[location_of(fact.url)]
                return place.with_object(fact, sinch.NOW) == place
            case CheckLocation() | CheckRecording():
                return True  # of something that nobody knows
            case CallDecidedFact() if fact.applies_to_known_calls_only:
                return True  # perhaps of nobody's call
            case CallDecidedFact() if fact.withdrawn and fact.conference_id:
                # The one part is the call's own, the other the conference's.
                taken_back = CallDecidedFact.of_withdrawal(fact.application_key, fact.call_id, fact.withdrawn)
                rest = [fact.model_copy(update={"withdrawn": None})] if fact.decides else []
                return all(self._taken(each, stored) for each in [taken_back, *rest])
            case _:
                known = [stored.recordings[name] for name in item_names_to_load(fact) if name in stored.recordings]
                own = [recording for recording in known if recording.application_key == fact.application_key]
                if any(fact in recording.held_facts.values() for recording in own):
                    return True
                meant = (fact, fact.model_copy(update={"conference_id": None}))
                return any(recording.merge(each) == recording for recording in own for each in meant)

    def _check_events(self) -> None:
        for detail in self.bus.unchecked:
            event = json.loads(detail)
            assert len(detail.encode()) < MAX_EVENT
            assert not any(secret in detail for secret in SECRETS)
            self.bus.out[event["metadata"]["eventId"]] = detail
        self.bus.unchecked.clear()

    def _check_log(self) -> None:
        for line in self.telemetry.lines:
            assert line.level != "exception"
            _check_line(line)
        self.telemetry.lines.clear()
        self.telemetry.flushed.clear()


def _letters(facts: Iterable[QueueMessage]) -> Iterator[Letter]:
    """Yield good facts as messages."""
    for number, fact in enumerate(facts):
        yield Letter(str(number), fact.fact, write_message(fact), fact)


def _check_line(line: Line) -> None:
    written = json.dumps([line.message, line.fields], ensure_ascii=False)
    assert len(written.encode()) < MAX_LINE
    assert not any(secret in written for secret in (*SECRETS, PROBE, CALLER))


@pytest.mark.parametrize("chunk", range(CALLBACK_CHUNKS))
def test_no_callback_breaks_a_promise(chunk: int, tables: Shelves) -> None:
    seed = f"{SEED}/callbacks/{chunk}"
    callbacks = Callbacks(seed, [TICKET])
    doors = [Door.under(name) for name in (*PROFILES, "menu", "on answer")]
    sent: list[Fact] = []
    for number in range(CALLBACKS):
        attempt, door = callbacks.draw(), callbacks.random.choice(doors)
        try:
            facts, answer = door.check(attempt, parameters_down=callbacks.random.random() < 0.03)
        except Exception as error:
            error.add_note(
                f"FAULTS_SEED={SEED}, chunk {chunk}, callback {number} ({attempt.kind}) to the profile {door.name!r}: "
                f"{attempt.event!r:.3000}"
            )
            raise
        sent += facts
        if answer and answer["action"]["name"] == "runMenu":
            options = answer["action"]["menus"][0]["options"]
            callbacks.tickets += [option["action"].removeprefix("return(").removesuffix(")") for option in options]
    seen = sum((door.outcomes for door in doors), Counter())
    assert seen.keys() >= REACHED, "the callbacks were refused too early to show much"

    books = Books(tables)
    books.check_all(_letters(sent))
    books.let_time_pass()
    books.check_items()


@pytest.mark.parametrize("chunk", range(BATCH_CHUNKS))
def test_no_message_breaks_a_promise_or_costs_a_neighbour(chunk: int, tables: Shelves) -> None:
    drawn, books = Letters(f"{SEED}/messages/{chunk}"), Books(tables)
    for number in range(BATCHES):
        batch = drawn.draw()
        try:
            books.check(batch)
        except Exception as error:
            hostile = [f"{letter.id} ({letter.kind}): {letter.body!r:.1000}" for letter in batch if letter.fact is None]
            error.add_note("\n".join([f"FAULTS_SEED={SEED}, chunk {chunk}, batch {number}", *hostile]))
            raise
    books.let_time_pass()
    books.check_items()


def test_what_is_written_of_it_is_json_line_by_line_and_holds_nothing_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "hostile-input")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    callbacks, letters, telemetry = Callbacks(f"{SEED}/written", [TICKET]), Letters(f"{SEED}/written"), Telemetry()
    fronts = [door.front for door in map(Door.under, PROFILES)]
    for front in fronts:
        front.telemetry = cast("RecordedTelemetry", telemetry)
    office = Books(BoundedTables(), cast("RecordedTelemetry", telemetry)).office

    for number in range(WRITTEN):
        attempt = callbacks.draw()
        callbacks.random.choice(fronts)(attempt.event)
        if number % 10 == 0:
            office({"Records": [{"messageId": letter.id, "body": letter.body} for letter in letters.draw()]})

    # A line ends at a newline and at nothing else that somebody may take for one.
    written = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(written) > 2 * WRITTEN
    for line in written:
        assert isinstance(json.loads(line), dict)
        assert not any(secret in line for secret in (*SECRETS, PROBE, CALLER)), line
