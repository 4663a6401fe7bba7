"""Every promise holds for hostile input: callbacks and queue messages that are made to do harm."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.adapters.eventbridge import RecordingsBus
from call_recorder.adapters.operations import CallFailed
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallNotRecordedFact,
    Fact,
    ObjectStoredFact,
    RecordingFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.identifiers import unescape
from call_recorder.facts.messages import MalformedFact, QueueMessage, read_message, write_message
from call_recorder.facts.storage_urls import get_location
from call_recorder.functions.notify import FactBatchHandler
from call_recorder.functions.telemetry import Telemetry
from call_recorder.sinch.callbacks import IceCallback, MalformedCallback, parse
from call_recorder.tracking import published_events
from call_recorder.tracking.attribution import item_names_to_load
from call_recorder.tracking.fact_processor import StoredItems
from call_recorder.tracking.item_names import list_item_names
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
    RecordedTelemetry,
    application,
    new_processor,
)
from tests.faults.conftest import AT_ONCE, EXAMPLES, FULL, ON_DYNAMODB_LOCAL
from tests.faults.hostile import CALLER, PROBE, HostileCallback, Message, callbacks, messages
from tests.faults.tables import BoundedTables
from tests.svaml import assert_legal
from tests.unit.processor_under_test import InTurn

if TYPE_CHECKING:
    from tests.faults.tables import TwoTables

# The examples of a failing test are printed in short, and are still long for hypothesis.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

CALLBACK_CHUNKS: Final = 24 if FULL else 10 if ON_DYNAMODB_LOCAL else 2
CALLBACKS_AT_ONCE: Final = 20 * AT_ONCE
CALLBACKS: Final = EXAMPLES * CALLBACKS_AT_ONCE
"""Callbacks of one chunk. Each example sends some, so that their facts meet in the tables."""

BATCH_CHUNKS: Final = 20 if FULL else 4 if ON_DYNAMODB_LOCAL else 2
BATCHES: Final = EXAMPLES * AT_ONCE
"""Batches of one chunk, each of ten messages."""

MAX_SECONDS: Final = 1.5
"""Processor time of a callback: Sinch waits, and an ICE is to be answered within 3 s."""

MAX_LOOKS: Final = 20
"""Looks of the watchdog after which nothing may be due any more."""

END_OF_TIME: Final = datetime(2999, 12, 31, tzinfo=UTC)
"""No fact is later than this year. What a made-up message has due then, waits until then."""

MAX_LINE: Final = 64 * 1024
MAX_EVENT: Final = 8 * 1024
MAX_MESSAGE: Final = 256 * 1024
MAX_KEY: Final = 1024
SIGNATURE_LENGTH: Final = 44

AZURE_SECRET: Final = "YXp1cmUgYWNjb3VudCBrZXk="
GOOGLE_SECRET: Final = "google-hmac-secret"
SECRETS: Final = (
    *(sinch.SECRET, "the secret of the application"),
    *(STORAGE_KEY, STORAGE_SECRET, AZURE_SECRET, GOOGLE_SECRET),
)
EVENTS: Final = {"ice", "ace", "pie", "dice", "notify", "unknown", "unreadable"}
REACHED: Final = {"recorded", "no-consent", "consent-asked", "answer-awaited", "untraceable", "degraded", "queued"}
"""Outcomes that hundreds of callbacks reach, however few of them are answered at all."""

OUTCOMES: Final = REACHED | {
    *("not-recorded", "not-sampled", "continued", "no-route", "hung-up", "lost-after-menu", "refused")
}
_PLACEHOLDERS: Final = {
    "conferenceId": "[A-Za-z0-9_-]+",
    "applicationKey": re.escape(sinch.APPLICATION),
    "date": "2[0-9]{3}/[0-9]{2}/[0-9]{2}",
    "time": "[0-9]{6}",
    "format": "(mp3|wav)",
}


def url_pattern(template: str) -> re.Pattern[str]:
    """Return what every URL made from a destination must match, by the text of the template alone."""
    pattern = re.escape(template)
    for name, written in _PLACEHOLDERS.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), written)
    call_id = re.escape("{callId}")
    return re.compile(pattern.replace(call_id, "(?P<call>[A-Za-z0-9_-]+)", 1).replace(call_id, "(?P=call)"))


OWN: Final = f"s3://{BUCKET}/recordings/{{applicationKey}}/{{date}}/{{callId}}.{{format}}"
EVERYTHING: Final = f"s3://{BUCKET}/recordings/a+b/{{applicationKey}}/{{date}}/{{time}}/{{conferenceId}}/x-{{callId}}-{{callId}}.{{format}}"
_ROUTES: Final = [
    {"to": "+46*", "action": profiles.PSTN_ACTION},
    {"to": "*0", "action": profiles.CONF_ACTION},
    {"to": "*1", "action": profiles.SIP_ACTION},
    {"to": "*2", "action": {"name": "hangup"}},
    {"to": "*", "action": profiles.MXP_ACTION},
]
_NO_CONFERENCE: Final = {"toType": ["number", "username", "sip"]}
_MENU: Final = profiles.rule(
    when=profiles.FROM_PHONE | _NO_CONFERENCE, consent=profiles.MENU | {"usernameByConference": True}
)


PROFILES: Final[Mapping[str, dict[str, Any] | str]] = {
    "everything": RECORD_ALL,
    "every placeholder": profiles.profile(profiles.rule(), destination=EVERYTHING, routes=_ROUTES, format="wav"),
    "announcement": profiles.profile(
        profiles.rule(consent=profiles.ANNOUNCEMENT), routes=_ROUTES, transcription={"enabled": True}
    ),
    "menu": profiles.profile(_MENU),
    "header, sampled": profiles.profile(
        profiles.rule("asked", when=_NO_CONFERENCE, consent=profiles.HEADER),
        profiles.rule("rest", sample=0.5, retentionDays=36_500),
    ),
    "on answer": profiles.profile(
        profiles.rule("answered", when={"toType": ["number", "sip"]}, start="answer"), routes=_ROUTES
    ),
    "google": profiles.profile(profiles.rule(), destination="gs://other_bucket/{conferenceId}/{callId}"),
    "azure, upstream": profiles.profile(
        profiles.rule(),
        destination="azure://account/container/{callId}.{format}",
        upstream={"url": "https://team.example/"},
    ),
    "cannot work": '{"destination": "s3://bucket/fixed.mp3"}',
}
CREDENTIALS: Final = {"s3": STORAGE_CREDENTIALS, "gs": f"GOOGKEY:{GOOGLE_SECRET}", "azure": AZURE_SECRET}


@dataclass
class CallbackFunction:
    """CallbackFunction under one profile, with a check of what it does with a callback."""

    front: Front
    pattern: re.Pattern[str]
    credentials: str
    outcomes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def under(cls, name: str) -> CallbackFunction:
        profile = PROFILES[name]
        template = profile.get("destination", OWN) if isinstance(profile, dict) else OWN
        credentials = CREDENTIALS[template.partition(":")[0]]
        upstream = Backend('{"action": {"name": "connectPstn", "number": "+46700000000"}}')
        front = Front(applications=Applications(application(profile, credentials=credentials)), upstream=upstream)
        return cls(front, url_pattern(template), credentials)

    def check(self, callback: HostileCallback, *, parameters_down: bool = False) -> list[Fact]:
        """Send a callback and check every promise; press two keys of a menu; return the facts that were queued."""
        front = self.front
        front.applications.down = parameters_down
        started = time.thread_time()
        response = front(callback.event)
        assert time.thread_time() - started < MAX_SECONDS
        sent = [*taken(front.facts.sent), *taken(front.notifications.sent)]
        forwarded = taken(front.upstream.received)
        self._check_log(callback.event.get("headers") or {})
        assert response.keys() == {"statusCode", "headers", "body"}
        status, body = response["statusCode"], response["body"]
        json.dumps(response, ensure_ascii=False).encode()  # as the runtime does
        if parameters_down:
            answer = self._check_unverified(status, body)
        elif callback.authentic:
            answer = self._check_authentic(status, body, callback, forwarded)
        else:
            assert (status, body, sent) == (401, "", [])
            answer = None
        self._check_sent(sent, answer)
        return [*sent, *self._press_keys(answer, callback)]

    def _press_keys(self, answer: dict[str, Any] | None, ice: HostileCallback) -> Iterator[Fact]:
        if answer and answer["action"]["name"] == "runMenu":
            for option in answer["action"]["menus"][0]["options"][:2]:
                value = option["action"].removeprefix("return(").removesuffix(")")
                body = json.dumps(sinch.pie(value) | {"callid": parse(ice.body).call_id}).encode()
                yield from self.check(HostileCallback(sinch.signed(body), body, authentic=True, readable=True))

    def _check_unverified(self, status: int, body: str) -> dict[str, Any] | None:
        """Check the answer to an unknown sender: it may connect the call, and holds no secret."""
        assert status in {200, 400, 401, 503}
        assert not any(secret in body for secret in (*SECRETS, "recordingOptions"))
        return checked_svaml("ice", body) if status == 200 else None

    def _check_authentic(
        self, status: int, body: str, sent: HostileCallback, forwarded: list[bytes]
    ) -> dict[str, Any] | None:
        try:
            callback = parse(sent.body)
        except MalformedCallback:
            assert not sent.readable
            assert (status, body) == (400, "")
            return None
        if callback.application_key not in (None, sinch.APPLICATION):
            assert (status, body) == (401, "")
            return None
        assert status == 200
        if callback.event not in {"ice", "ace", "pie"}:
            assert body == ""
            return None
        # The recorder does not change what a team's own backend answers.
        checked = isinstance(callback, IceCallback) or not forwarded
        answer: dict[str, Any] = checked_svaml(callback.event, body) if checked else json.loads(body)
        credentials = [each["credentials"] for each in recording_options(answer)]
        assert credentials == [self.credentials] * len(credentials)
        assert body.count(self.credentials) == len(credentials)
        assert not any(secret in body for secret in SECRETS if secret not in self.credentials)
        return answer

    def _check_sent(self, sent: list[Fact], answer: dict[str, Any] | None) -> None:
        """Check that a fact holds no secret, and that the facts name each file that the answer has recorded."""
        for fact in sent:
            message = write_message(fact)
            assert message.isascii()
            assert len(message) < MAX_MESSAGE
            assert not any(secret in message for secret in SECRETS)
            unverified = isinstance(fact, CallDecidedFact) and fact.applies_to_known_calls_only
            assert unverified or fact.application_key == sinch.APPLICATION
        given = recording_options(answer) if answer else []
        requests = [(fact.request, fact.call_id) for fact in sent if isinstance(fact, CallDecidedFact) and fact.request]
        assert [each["destinationUrl"] for each in given] == [request.destination_url for request, _ in requests]
        for request, call_id in requests:
            # A URL is what its template says, below its prefix and under the name of no other call.
            match = self.pattern.fullmatch(request.destination_url)
            assert match, "a destination that its template cannot make"
            key = request.destination_url.partition("://")[2].partition("/")[2]
            assert len(key.encode()) <= MAX_KEY
            assert not any(path in key for path in ("..", "//"))
            assert unescape(match["call"]) == call_id

    def _check_log(self, headers: Mapping[str, str]) -> None:
        [dimensions] = self.front.telemetry.flushed
        assert dimensions["event"] in EVENTS
        assert dimensions["outcome"] in OUTCOMES
        self.outcomes[dimensions["outcome"]] += 1
        [line] = checked_lines(self.front.telemetry)
        signature = headers.get("authorization", "").rpartition(":")[2]
        assert len(signature) < SIGNATURE_LENGTH or signature not in line


def taken(things: list[Any]) -> list[Any]:
    """Empty a list; return what was in it."""
    found, things[:] = list(things), []
    return found


def checked_svaml(event: str, body: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(body)
    assert_legal(event, answer)
    return answer


def checked_lines(telemetry: RecordedTelemetry) -> list[str]:
    """Empty a log; return its lines."""
    lines = taken(telemetry.lines)
    telemetry.flushed.clear()
    assert not [line for line in lines if line.level == "exception"]
    written = [json.dumps([line.message, line.fields], ensure_ascii=False) for line in lines]
    for line in written:
        assert len(line.encode()) < MAX_LINE
        assert not any(secret in line for secret in (*SECRETS, PROBE, CALLER))
    return written


def recording_options(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options of everything that an answer has recorded."""
    instructions = [each["options"] for each in answer.get("instructions", []) if "options" in each]
    return [*instructions, *filter(None, [answer["action"].get("recordingOptions")])]


class BoundedBus:
    """EventBridge, which takes no call of more than 256 KiB, and keeps what it took."""

    def __init__(self) -> None:
        self.details: list[str] = []
        self.ids: set[str] = set()

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "PutEvents"
        details = [entry["Detail"] for entry in json.loads(json.dumps(parameters))["Entries"]]  # as over the wire
        if sum(len(detail.encode()) + 64 for detail in details) > 256 * 1024:
            raise CallFailed(operation, "ValidationException")
        self.details += details
        return {"Entries": [{"EventId": str(number)} for number, _ in enumerate(details)]}

    def check(self) -> None:
        for detail in taken(self.details):
            assert len(detail.encode()) < MAX_EVENT
            assert not any(secret in detail for secret in SECRETS)
            self.ids.add(json.loads(detail)["metadata"]["eventId"])


class NotifyFunction:
    """NotifyFunction with tables and a bus, and a check of what it does with a batch."""

    def __init__(self, tables: TwoTables, telemetry: RecordedTelemetry | None = None) -> None:
        self.tables, self.bus, self.clock = tables, BoundedBus(), Clock()
        self.telemetry = telemetry or RecordedTelemetry()
        bus = RecordingsBus(self.bus, "recordings")
        self.handle = FactBatchHandler(new_processor(tables, cast("Any", bus), InTurn(), self.clock), self.telemetry)

    def check(self, messages: Sequence[Message]) -> None:
        """Deliver messages, ten at a time, and check every promise."""
        for start in range(0, len(messages), 10):
            self._check(messages[start : start + 10])

    def _check(self, batch: Sequence[Message]) -> None:
        answer = self.handle(records(batch))
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert answer.keys() == {"batchItemFailures"}
        assert len(set(failed)) == len(failed)
        assert set(failed) <= {str(number) for number, _ in enumerate(batch)}
        assert not self.tables.refused
        self.bus.check()
        good = {str(number): message.fact for number, message in enumerate(batch) if message.fact}
        stored = self.tables.load(
            {name for fact in good.values() for name in possible_names(fact)},
            {get_location(fact.url) for fact in good.values() if isinstance(fact, ObjectStoredFact)},
        )
        lost = [fact for number, fact in good.items() if number in failed or not self._is_kept(fact, stored)]
        assert not lost, self.telemetry.lines
        checked_lines(self.telemetry)

    def let_time_pass(self) -> None:
        """Run the watchdog, as time passes, until nothing is due any more; check what is stored in the end."""
        for _ in range(MAX_LOOKS):
            if not (due := [at for at in map(datetime.fromisoformat, self.tables.due_times()) if at < END_OF_TIME]):
                break
            self.clock.now = max(self.clock.now, *due) + timedelta(seconds=1)
            self.check([Message.of(fact) for fact in self.tables.look(self.clock.now)])
        else:
            raise AssertionError(f"the watchdog looks for ever at what is due {sorted(self.tables.due_times())[:5]}")
        for item in self.tables.stored():
            assert not any(secret in json.dumps(item) for secret in SECRETS)

    def _is_kept(self, fact: QueueMessage, stored: StoredItems) -> bool:
        """Tell whether a fact is stored: merging it again changes nothing."""
        match fact:
            case UploaderKeyChangedFact():
                return published_events.make_key_change_event(fact).id in self.bus.ids
            case ObjectStoredFact():
                place = stored.locations[get_location(fact.url)]
                return place.with_object(fact, sinch.NOW) == place
            case CheckLocation() | CheckRecording():
                return True  # it asks for a look, and says nothing
            case CallNotRecordedFact():
                return True  # the stack of this test keeps nothing of such calls
            case CallDecidedFact() if fact.applies_to_known_calls_only:
                return True  # the call may be unknown
            case CallDecidedFact() if fact.withdrawn and fact.conference_id:
                # One part belongs to the call, the other to the conference.
                withdrawn = CallDecidedFact.of_withdrawal(fact.application_key, fact.call_id, fact.withdrawn)
                rest = [fact.model_copy(update={"withdrawn": None})] if fact.decides else []
                return all(self._is_kept(each, stored) for each in [withdrawn, *rest])
            case _:
                known = [stored.recordings[name] for name in possible_names(fact) if name in stored.recordings]
                own = [recording for recording in known if recording.application_key == fact.application_key]
                if any(fact in recording.held_facts.values() for recording in own):
                    return True
                meant = (fact, fact.model_copy(update={"conference_id": None}))
                return any(recording.merge(each) == recording for recording in own for each in meant)


def possible_names(fact: QueueMessage) -> set[str]:
    """Return the names of the items that may have a fact."""
    own = list_item_names(fact.recording_id, fact.application_key) if isinstance(fact, RecordingFact) else ()
    return item_names_to_load(fact).union(own)


def records(batch: Sequence[Message]) -> dict[str, Any]:
    """Return messages as SQS delivers them to a function."""
    return {"Records": [{"messageId": str(number), "body": message.body} for number, message in enumerate(batch)]}


@pytest.fixture
def functions() -> Iterator[list[CallbackFunction]]:
    """CallbackFunction under every profile; menus and answers come more often."""
    made = [CallbackFunction.under(name) for name in (*PROFILES, "menu", "on answer")]
    yield made
    seen = sum((function.outcomes for function in made), Counter())
    if seen.total() >= CALLBACKS:  # else an example failed
        assert seen.keys() >= REACHED, "the callbacks were refused too early to show much"


_deliveries = st.tuples(
    callbacks(), st.sampled_from([(number, turn == 31) for turn in range(32) for number in range(len(PROFILES) + 2)])
)


@pytest.mark.parametrize("chunk", range(CALLBACK_CHUNKS))
@given(sent=st.lists(_deliveries, min_size=CALLBACKS_AT_ONCE, max_size=CALLBACKS_AT_ONCE))
def test_no_callback_breaks_a_promise(
    chunk: int,
    functions: list[CallbackFunction],
    tables: TwoTables,
    sent: list[tuple[HostileCallback, tuple[int, bool]]],
) -> None:
    tables.clear()
    for function in functions:
        function.front.calls.known.clear()

    facts = [
        fact
        for callback, (number, parameters_down) in sent
        for fact in functions[number].check(callback, parameters_down=parameters_down)
    ]
    notify = NotifyFunction(tables)
    notify.check([Message.of(fact) for fact in facts])
    notify.let_time_pass()


@pytest.mark.parametrize("chunk", range(BATCH_CHUNKS))
@given(sent=messages(10 * AT_ONCE))
def test_no_message_breaks_a_promise_or_costs_a_neighbour(chunk: int, tables: TwoTables, sent: list[Message]) -> None:
    tables.clear()
    notify = NotifyFunction(tables)
    notify.check(sent)
    notify.let_time_pass()


@pytest.mark.parametrize("value", ["5e-324", "-1e308", "1" * 39, "[" * 30 + "0" + "]" * 30])
def test_an_unknown_field_that_dynamodb_refuses_is_refused_on_the_queue(value: str) -> None:
    end = f'{{"at": "2026-11-23T09:30:00Z", "unknown": {value}}}'
    about = f'"recordingId": "{sinch.CALL}", "callId": "{sinch.CALL}", "applicationKey": "{sinch.APPLICATION}"'

    with pytest.raises(MalformedFact, match="DynamoDB cannot store"):
        read_message(f'{{"fact": "call-ended", {about}, "end": {end}}}')


@given(sent=st.lists(callbacks(), min_size=CALLBACKS_AT_ONCE, max_size=CALLBACKS_AT_ONCE), batch=messages(10))
def test_every_line_of_the_log_is_json_and_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    functions: list[CallbackFunction],
    sent: list[HostileCallback],
    batch: list[Message],
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "hostile-input")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    telemetry = cast("RecordedTelemetry", Telemetry())
    for function, callback in zip(cycle(functions), sent):
        function.front.telemetry = telemetry
        function.front(callback.event)
    NotifyFunction(BoundedTables(), telemetry).handle(records(batch))

    # A line ends at a newline and at no other character that a reader may take for one.
    written = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(written) > len(sent)
    for line in written:
        assert isinstance(json.loads(line), dict)
        assert not any(secret in line for secret in (*SECRETS, PROBE, CALLER)), line
