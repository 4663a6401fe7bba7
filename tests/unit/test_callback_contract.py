"""The callback contract: the status and the body that Sinch gets, and what is queued, logged and counted."""

from time import sleep
from typing import Any

import pytest

from call_recorder.answering.application import Application
from call_recorder.facts.facts import CallDecidedFact, CallEndedFact, NotifiedFact
from call_recorder.facts.messages import QueueMessage
from tests import sinch
from tests.fakes import (
    STORAGE_CREDENTIALS,
    Applications,
    Front,
    Queue,
    RecordedTelemetry,
    application,
    callback_settings,
)
from tests.profiles import profile, rule

EMPTY_200 = {"statusCode": 200, "headers": {}, "body": ""}
NO_BODY = {"body": "", "headers": {}}
CONNECTED = {"action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}}
NOTIFICATIONS = [*map(sinch.notify, ("recording_finished", "recording_available", "transcription_available"))]
UNKNOWN = [sinch.notify("never_heard_of"), {"event": "never_heard_of"}]


class BrokenApplications(Applications):
    """Raises an error that no code expects."""

    def get(self, key: str) -> Application:
        raise ZeroDivisionError


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
def without_parameters() -> Front:
    front = Front()
    front.applications.down = True
    return front


MALFORMED = [b"", b"[]", b"null", b'"ice"', b"{", b"\xff", b"{}", b'{"event":""}', b'{"event":null}']
NESTED = b'{"event":' + b"[" * 100_000


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (sinch.signed(sinch.ice(), key="unknown"), 401),
        (sinch.signed(b"{", secret=sinch.PREVIOUS_SECRET), 401),
        *((sinch.signed(body | {"applicationKey": "other"}), 401) for body in (sinch.ice(), sinch.dice())),
        (sinch.signed(NOTIFICATIONS[0] | {"applicationKey": "other"}), 401),
        *((sinch.signed(body, encoded=True), 400) for body in (*MALFORMED, NESTED)),
    ],
)
def test_an_unverified_or_malformed_callback_is_refused_without_detail(event: dict[str, Any], status: int) -> None:
    front = Front(applications=Applications(application(), application(key="other")))

    assert front(event) == {"statusCode": status} | NO_BODY
    assert front.telemetry.counts["SignatureFailures"] == (status == 401)
    assert not front.facts.sent + front.notifications.sent


def test_an_ice_is_answered_with_json(front: Front) -> None:
    response = front(sinch.signed(sinch.ice()))

    assert (response["statusCode"], response["headers"]) == (200, {"content-type": "application/json"})


@pytest.mark.parametrize("body", [sinch.dice(), *NOTIFICATIONS, *UNKNOWN])
def test_a_report_is_queued_and_answered_with_an_empty_body(front: Front, body: dict[str, Any]) -> None:
    assert front(sinch.signed(body)) == EMPTY_200

    [fact] = front.notifications.sent
    assert front.line.fields["outcome"] == "queued"
    assert front.telemetry.counts["UnknownCallbacks"] == (body in UNKNOWN)
    assert isinstance(fact, NotifiedFact) == (body in UNKNOWN)
    assert not isinstance(fact, NotifiedFact) or fact.notification.type == "never_heard_of"
    # A notification has no time of its own, so it has the time of its signature.
    assert getattr(fact, "at", sinch.NOW) == sinch.NOW


def test_a_calling_error_is_logged_with_its_call_and_without_credentials(front: Front) -> None:
    text = f"Illegal SVAML: {STORAGE_CREDENTIALS}"

    assert front(sinch.signed(sinch.notify("callingerror", errorCode=40001, errorMsg=text))) == EMPTY_200

    assert front.telemetry.counts["CallingErrors"] == 1
    assert "UnknownCallbacks" not in front.telemetry.counts
    assert (front.line.level, front.line.fields["recordingId"]) == ("warning", sinch.CALL)
    assert front.line.fields["callingError"] == "40001: Illegal SVAML: ***"


def test_a_calling_error_that_cannot_be_queued_is_logged(front: Front) -> None:
    front.notifications.down = True

    assert front.status(sinch.signed(sinch.notify("callingerror"))) == 503

    assert front.telemetry.counts["CallingErrors"] == 1
    assert front.line.fields["callingError"] == "no code: no message"


def test_the_end_of_a_call_is_queued_with_all_its_fields(front: Front) -> None:
    front(sinch.signed(sinch.dice()))

    [fact] = front.notifications.sent
    assert isinstance(fact, CallEndedFact)
    assert fact.end.model_dump(exclude={"at"}) == {
        "result": "ANSWERED",
        "reason": "CALLERHANGUP",
        "duration": 42,
        "charge": "0.0175",
        "chargeCurrency": "EUR",
    }


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        *((body, 503, "refused") for body in (*NOTIFICATIONS, UNKNOWN[0])),
        *((body, 200, "not-queued") for body in (sinch.dice(), UNKNOWN[1])),
    ],
)
def test_only_a_notification_is_refused_if_it_cannot_be_queued(
    front: Front, body: dict[str, Any], status: int, outcome: str
) -> None:
    front.notifications.down = True

    assert front(sinch.signed(body)) == {"statusCode": status} | NO_BODY
    assert front.telemetry.counts["FactsNotQueued"] == 1
    assert (front.line.level, front.line.fields["outcome"]) == ("warning", outcome)


def test_a_call_is_recorded_though_its_fact_cannot_be_queued(front: Front) -> None:
    front.facts.down = True

    assert front.action(sinch.ice())["record"] is True
    assert front.telemetry.counts["FactsNotQueued"] == 1
    assert front.line.fields["problem"] == "SendMessage: ReadTimeoutError"


@pytest.mark.parametrize(("degraded", "answer"), [("connect", CONNECTED), ("hangup", {"action": {"name": "hangup"}})])
def test_a_call_gets_the_degraded_answer_without_parameters(
    without_parameters: Front, degraded: str, answer: dict[str, Any]
) -> None:
    front = without_parameters
    front.settings = callback_settings(DEGRADED_ANSWER=degraded)

    assert front.answer(sinch.ice()) == answer
    assert front.telemetry.counts["DegradedAnswers"] == 1
    assert (front.line.level, front.line.fields["problem"]) == ("warning", "GetParameters: ConnectTimeoutError")


@pytest.mark.parametrize("body", [sinch.dice(), NOTIFICATIONS[0], {"event": "ace"}, {"event": "pie"}, UNKNOWN[1]])
def test_all_but_an_ice_is_unavailable_without_parameters(without_parameters: Front, body: dict[str, Any]) -> None:
    assert without_parameters(sinch.signed(body)) == {"statusCode": 503} | NO_BODY
    assert not without_parameters.notifications.sent


def test_a_stale_callback_is_refused_without_parameters(without_parameters: Front) -> None:
    assert without_parameters.status(sinch.signed(sinch.ice(), timestamp="2026-11-22T09:30:00Z")) == 401


@pytest.mark.parametrize(
    ("written", "credentials"), [("{", "K:S:eu-west-1"), ('{"rules":[{"name":"all","record":true}]}', None)]
)
def test_a_call_is_connected_without_recording_under_a_broken_profile(written: str, credentials: str | None) -> None:
    front = Front.of(written, credentials=credentials)

    assert front.answer(sinch.ice()) == CONNECTED
    assert front.telemetry.counts["DegradedAnswers"] == 1
    assert front.line.level == "warning"
    assert front.line.fields["problem"] == front.applications.known[sinch.APPLICATION].problem
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert not fact.decides


class BrokenQueue(Queue):
    def send(self, fact: QueueMessage, *, urgent: bool = False) -> None:
        raise RuntimeError("a fault in the code")


ON_ANSWER = profile(rule(when={"toType": "number"}, start="answer"))


@pytest.mark.parametrize(
    "front",
    [
        Front(applications=BrokenApplications()),
        Front(applications=Applications(application(ON_ANSWER)), facts=BrokenQueue()),
    ],
)
def test_a_call_is_connected_after_an_unexpected_error(front: Front) -> None:
    assert front.answer(sinch.ice("number", "+46700000002"))["action"]["name"] == "connectPstn"
    assert front.answer(sinch.ice()) == CONNECTED

    assert [line.level for line in front.telemetry.lines] == ["exception", "info"] * 2
    assert front.telemetry.counts["DegradedAnswers"] == 2


@pytest.mark.parametrize("body", [sinch.dice(), NOTIFICATIONS[0], b"{"])
def test_other_callbacks_are_refused_after_an_unexpected_error(body: dict[str, Any] | bytes) -> None:
    """Then Sinch tries the fallback URL."""
    front = Front(applications=BrokenApplications())

    assert front(sinch.signed(body)) == {"statusCode": 500} | NO_BODY
    assert front.telemetry.flushed[-1]["outcome"] == "broken"


class BrokenTelemetry(RecordedTelemetry):
    """Breaks at each of its methods."""

    def _break(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("a fault in the log")

    count = measure = info = warning = exception = flush = _break


def test_a_broken_log_costs_no_caller_the_answer() -> None:
    broken = Front(applications=BrokenApplications(), telemetry=BrokenTelemetry())

    assert Front(telemetry=BrokenTelemetry()).action(sinch.ice())["record"] is True
    assert broken.answer(sinch.ice()) == CONNECTED
    assert broken(sinch.signed(sinch.dice())) == {"statusCode": 500} | NO_BODY


@pytest.mark.parametrize("telemetry", [RecordedTelemetry, BrokenTelemetry])
@pytest.mark.parametrize("event", [{"body": 7}, {"headers": "none"}, {"headers": {"authorization": 7}}, []])
def test_an_event_of_another_shape_is_answered_with_500(event: Any, telemetry: type[RecordedTelemetry]) -> None:
    assert Front(telemetry=telemetry())(event) == {"statusCode": 500} | NO_BODY


def test_every_callback_is_counted_once_by_event_and_outcome(front: Front) -> None:
    for body in (sinch.ice(), sinch.ice("did", "+1"), sinch.dice(), {"event": "ace"}, UNKNOWN[1]):
        front(sinch.signed(body))

    assert front.telemetry.counts["Callbacks"] == 5
    assert [metric for metric, _ in front.telemetry.seconds] == ["IceMilliseconds"] * 2
    assert front.telemetry.flushed == [
        {"event": "ice", "outcome": "recorded"},
        {"event": "ice", "outcome": "no-route"},
        {"event": "dice", "outcome": "queued"},
        {"event": "ace", "outcome": "continued"},
        # The name of an unknown event would be a new metric.
        {"event": "unknown", "outcome": "queued"},
    ]


def test_the_log_masks_phone_numbers(front: Front) -> None:
    front(sinch.signed(sinch.ice("number", "+46700000002")))

    assert front.line.fields["to"] == "number:+*********02"
    assert "46700000001" not in str(front.line)


class SlowApplications(Applications):
    def get(self, key: str) -> Application:
        sleep(0.05)
        return super().get(key)


def test_the_time_to_answer_an_ice_is_measured() -> None:
    front = Front(applications=SlowApplications(application()))

    front(sinch.signed(sinch.ice()))

    assert 0.05 <= front.telemetry.seconds[0][1] < 5


@pytest.mark.parametrize("key", [sinch.APPLICATION, "another that did not sign"])
@pytest.mark.parametrize("body", [sinch.ice(), sinch.ace(), sinch.dice(), NOTIFICATIONS[0]])
def test_a_log_line_names_the_call_rather_than_its_conference(front: Front, body: dict[str, Any], key: str) -> None:
    status = front.status(sinch.signed(body | {"conferenceId": "a-room", "applicationKey": key}))

    assert status == (200 if key == sinch.APPLICATION else 401)
    assert front.line.fields["recordingId"] == sinch.CALL
