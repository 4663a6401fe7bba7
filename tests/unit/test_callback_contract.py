"""The callback contract: what Sinch gets to hear, for each row of the table in the design."""

import json
from time import sleep
from typing import Any

import pytest

from call_recorder.answering.application import Application
from call_recorder.facts.facts import CallDecidedFact, CallEndedFact, NotifiedFact, RecordingAvailableFact
from call_recorder.facts.messages import QueueMessage
from tests import sinch
from tests.fakes import STORAGE_CREDENTIALS, Applications, Front, Queue, application, callback_settings
from tests.profiles import profile, rule

EMPTY_200 = {"statusCode": 200, "headers": {}, "body": ""}
NO_BODY = {"body": "", "headers": {}}
CONNECTED = {"action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}}
NOTIFICATIONS = ("recording_finished", "recording_available", "transcription_available", "never_heard_of")


class BrokenApplications(Applications):
    """Raises what nobody expects."""

    def get(self, key: str) -> Application:
        raise ZeroDivisionError


def test_an_unknown_application_is_refused_without_detail() -> None:
    front = Front(applications=Applications())

    assert front(sinch.signed(sinch.ice())) == {"statusCode": 401} | NO_BODY
    assert front.telemetry.counts["SignatureFailures"] == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"ice"', b"{", b"\xff", b"{}", b'{"event":""}', b'{"event":null}']
)
def test_what_is_no_object_with_an_event_is_a_bad_request(body: bytes) -> None:
    assert Front()(sinch.signed(body, encoded=True)) == {"statusCode": 400} | NO_BODY


def test_a_body_nested_beyond_reason_is_a_bad_request() -> None:
    assert Front().status(sinch.signed(b'{"event":' + b"[" * 100_000)) == 400


def test_the_signature_comes_before_the_body() -> None:
    assert Front().status(sinch.signed(b"{", secret=sinch.PREVIOUS_SECRET)) == 401


@pytest.mark.parametrize("body", [sinch.ice(), sinch.dice(), sinch.notify("recording_finished")])
def test_a_body_that_names_another_application_than_signed_it_is_refused(body: dict[str, Any]) -> None:
    front = Front(applications=Applications(application(), application(key="other")))

    assert front.status(sinch.signed(body | {"applicationKey": "other"})) == 401
    assert not front.facts.sent
    assert not front.notifications.sent


def test_a_body_that_names_no_application_is_its_signers() -> None:
    body = sinch.ice()
    del body["applicationKey"]

    assert Front().status(sinch.signed(body)) == 200


def test_an_ice_is_answered_with_svaml_and_remembered() -> None:
    front = Front()

    response = front(sinch.signed(sinch.ice()))

    assert response["statusCode"] == 200
    assert response["headers"] == {"content-type": "application/json"}
    assert json.loads(response["body"])["action"]["record"] is True
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.recording_id == sinch.CALL
    assert front.line.fields["outcome"] == "recorded"
    assert front.line.fields["rule"] == "everything"
    assert front.telemetry.flushed == [{"event": "ice", "outcome": "recorded"}]


@pytest.mark.parametrize("event", ["ace", "pie", "ACE", "Pie"])
def test_ace_and_pie_go_on(event: str) -> None:
    front = Front()

    assert front.answer({"event": event, "callid": sinch.CALL}) == {"action": {"name": "continue"}}
    assert not front.facts.sent


@pytest.mark.parametrize("body", [sinch.dice(), *map(sinch.notify, NOTIFICATIONS), {"event": "never_heard_of"}])
def test_what_asks_no_question_is_queued_and_answered_with_nothing(body: dict[str, Any]) -> None:
    front = Front()

    assert front(sinch.signed(body)) == EMPTY_200
    assert len(front.notifications.sent) == 1
    assert front.line.fields["outcome"] == "queued"


@pytest.mark.parametrize("body", [sinch.notify("never_heard_of"), {"event": "never_heard_of"}])
def test_unknown_events_and_notifications_are_counted_and_kept(body: dict[str, Any]) -> None:
    front = Front()

    front(sinch.signed(body))

    assert front.telemetry.counts["UnknownCallbacks"] == 1
    [fact] = front.notifications.sent
    assert isinstance(fact, NotifiedFact)
    assert fact.notification.type == "never_heard_of"


def test_the_name_of_an_unknown_event_makes_no_metric_of_its_own() -> None:
    front = Front()

    front(sinch.signed({"event": "never_heard_of"}))

    assert front.telemetry.flushed == [{"event": "unknown", "outcome": "queued"}]


def test_known_notifications_are_not_counted_as_unknown() -> None:
    front = Front()

    for body in (sinch.dice(), *map(sinch.notify, NOTIFICATIONS[:3])):
        front(sinch.signed(body))

    assert "UnknownCallbacks" not in front.telemetry.counts


def test_a_calling_error_is_logged_with_the_call_and_what_sinch_says() -> None:
    front = Front()
    said = f"Illegal SVAML: {STORAGE_CREDENTIALS}"

    assert front(sinch.signed(sinch.notify("callingerror", errorCode=40001, errorMsg=said))) == EMPTY_200

    assert front.telemetry.counts["CallingErrors"] == 1
    assert "UnknownCallbacks" not in front.telemetry.counts
    assert front.line.level == "warning"
    assert front.line.fields["recordingId"] == sinch.CALL
    assert front.line.fields["callingError"] == "40001: Illegal SVAML: ***"


def test_a_calling_error_that_cannot_be_queued_is_logged_all_the_same() -> None:
    front = Front()
    front.notifications.down = True

    assert front.status(sinch.signed(sinch.notify("callingerror"))) == 503

    assert front.telemetry.counts["CallingErrors"] == 1
    assert front.line.fields["callingError"] == "no code: no message"


def test_the_end_of_a_call_is_kept_with_what_it_says() -> None:
    front = Front()

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


def test_a_notification_is_dated_by_its_signature_since_it_has_no_time_of_its_own() -> None:
    front = Front()

    front(sinch.signed(sinch.notify("recording_available", destination="s3://b/k.mp3")))

    [fact] = front.notifications.sent
    assert isinstance(fact, RecordingAvailableFact)
    assert fact.at == sinch.NOW


@pytest.mark.parametrize("kind", NOTIFICATIONS)
def test_a_notification_that_the_queue_refuses_is_given_back_to_sinch(kind: str) -> None:
    front = Front()
    front.notifications.down = True

    assert front(sinch.signed(sinch.notify(kind))) == {"statusCode": 503} | NO_BODY
    assert front.telemetry.counts["FactsNotQueued"] == 1
    assert front.line.level == "warning"


@pytest.mark.parametrize("body", [sinch.dice(), {"event": "never_heard_of"}])
def test_other_facts_that_the_queue_refuses_are_lost_but_counted(body: dict[str, Any]) -> None:
    front = Front()
    front.notifications.down = True

    assert front(sinch.signed(body)) == EMPTY_200
    assert front.telemetry.counts["FactsNotQueued"] == 1
    assert front.line.fields["outcome"] == "not-queued"


def test_a_call_is_never_lost_because_the_queue_refuses_its_fact() -> None:
    front = Front()
    front.facts.down = True

    assert front.action(sinch.ice())["record"] is True
    assert front.telemetry.counts["FactsNotQueued"] == 1
    assert front.line.fields["problem"] == "SendMessage: ReadTimeoutError"


def test_without_parameters_a_call_is_connected_unrecorded() -> None:
    front = Front()
    front.applications.down = True

    assert front.answer(sinch.ice()) == CONNECTED
    assert front.telemetry.counts["DegradedAnswers"] == 1
    assert front.line.level == "warning"
    assert front.line.fields["problem"] == "GetParameters: ConnectTimeoutError"


def test_without_parameters_a_call_is_hung_up_if_the_stack_says_so() -> None:
    front = Front(settings=callback_settings(DEGRADED_ANSWER="hangup"))
    front.applications.down = True

    assert front.answer(sinch.ice()) == {"action": {"name": "hangup"}}


@pytest.mark.parametrize(
    "body",
    [sinch.dice(), sinch.notify("recording_finished"), {"event": "ace"}, {"event": "pie"}, {"event": "never_heard_of"}],
)
def test_without_parameters_all_but_ice_is_unavailable(body: dict[str, Any]) -> None:
    front = Front()
    front.applications.down = True

    assert front(sinch.signed(body)) == {"statusCode": 503} | NO_BODY
    assert not front.notifications.sent


def test_without_parameters_a_stale_timestamp_is_still_refused() -> None:
    front = Front()
    front.applications.down = True

    assert front.status(sinch.signed(sinch.ice(), timestamp="2026-11-22T09:30:00Z")) == 401
    assert front.status(sinch.signed(b"{")) == 400


@pytest.mark.parametrize(
    ("written", "credentials"),
    [("{", "K:S:eu-west-1"), ('{"rules":[{"name":"all","record":true}]}', None), ('{"destination":"ftp://x"}', "K:S")],
)
def test_with_a_profile_that_cannot_work_a_call_is_connected_unrecorded_and_the_log_says_why(
    written: str, credentials: str | None
) -> None:
    front = Front.of(written, credentials=credentials)

    assert front.answer(sinch.ice()) == CONNECTED
    assert front.telemetry.counts["DegradedAnswers"] == 1
    assert front.line.level == "warning"
    assert front.line.fields["problem"] == front.applications.known[sinch.APPLICATION].problem
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert not fact.decides


def test_with_a_profile_that_cannot_work_the_rest_is_taken_as_ever() -> None:
    front = Front.of("{")

    assert front.status(sinch.signed(sinch.notify("recording_finished"))) == 200
    assert front.status(sinch.signed({"event": "ace"})) == 200
    assert front.status(sinch.signed(sinch.ice(), secret=sinch.PREVIOUS_SECRET)) == 401


def test_whatever_breaks_a_call_is_connected() -> None:
    front = Front(applications=BrokenApplications())

    assert front.answer(sinch.ice()) == CONNECTED
    assert [line.level for line in front.telemetry.lines] == ["exception", "info"]
    assert front.telemetry.counts["DegradedAnswers"] == 1


class BrokenQueue(Queue):
    def send(self, fact: QueueMessage, *, urgent: bool = False) -> None:
        raise RuntimeError("a fault in the code")


def test_a_call_is_connected_even_if_what_breaks_is_what_it_is_remembered_by() -> None:
    front = Front.of(profile(rule(when={"toType": "number"}, start="answer")))
    front.facts = BrokenQueue()

    for to in (("number", "+46700000002"), ("username", "alice")):
        assert front.answer(sinch.ice(*to))["action"]["name"] in ("connectPstn", "connectMxp")
    assert [line.level for line in front.telemetry.lines] == ["exception", "info"] * 2
    assert front.telemetry.counts["DegradedAnswers"] == 2


@pytest.mark.parametrize("body", [sinch.dice(), sinch.notify("recording_finished"), b"{"])
def test_whatever_breaks_the_rest_is_an_error_so_that_sinch_can_try_the_fallback(body: dict[str, Any] | bytes) -> None:
    front = Front(applications=BrokenApplications())

    assert front(sinch.signed(body)) == {"statusCode": 500} | NO_BODY
    assert front.telemetry.flushed[-1]["outcome"] == "broken"


def test_every_callback_is_counted_once_by_event_and_outcome() -> None:
    front = Front()

    for body in (sinch.ice(), sinch.ice("did", "+1"), sinch.dice(), {"event": "ace"}):
        front(sinch.signed(body))

    assert front.telemetry.counts["Callbacks"] == 4
    assert front.telemetry.counts["CallsWithoutRoute"] == 1
    assert front.telemetry.flushed == [
        {"event": "ice", "outcome": "recorded"},
        {"event": "ice", "outcome": "no-route"},
        {"event": "dice", "outcome": "queued"},
        {"event": "ace", "outcome": "continued"},
    ]


def test_the_log_masks_phone_numbers() -> None:
    front = Front()

    front(sinch.signed(sinch.ice("number", "+46700000002")))

    assert front.line.fields["to"] == "number:+*********02"
    assert "46700000001" not in str(front.line)


class SlowApplications(Applications):
    """Takes a while."""

    def get(self, key: str) -> Application:
        sleep(0.05)
        return super().get(key)


@pytest.mark.parametrize("applications", [Applications(application()), BrokenApplications(), Applications()])
def test_of_an_ice_it_is_measured_how_long_its_answer_took_whatever_came_of_it(applications: Applications) -> None:
    front = Front(applications=applications)
    applications.down = not applications.known

    front(sinch.signed(sinch.ice()))

    [(metric, seconds)] = front.telemetry.seconds
    assert metric == "IceMilliseconds"
    assert 0 <= seconds < 5


def test_what_an_ice_waited_for_is_in_what_is_measured() -> None:
    front = Front(applications=SlowApplications(application()))

    front(sinch.signed(sinch.ice()))

    assert [seconds >= 0.05 for _, seconds in front.telemetry.seconds] == [True]


@pytest.mark.parametrize(
    "body",
    [sinch.ace(), sinch.pie(), sinch.dice(), sinch.notify("recording_finished"), {"event": "surprise"}, b"{"],
)
def test_nobody_waits_for_the_answer_to_anything_else_and_it_is_not_measured(body: dict[str, Any] | bytes) -> None:
    front = Front()

    front(sinch.signed(body))

    assert front.telemetry.seconds == []


@pytest.mark.parametrize("event", ["ice", "ace", "dice", "notify"])
def test_a_line_about_a_call_names_the_call_whatever_conference_stands_beside_it(event: str) -> None:
    front = Front()
    body = {"ice": sinch.ice, "ace": sinch.ace, "dice": sinch.dice}.get(
        event, lambda: sinch.notify("recording_finished")
    )()

    assert front.status(sinch.signed(body | {"conferenceId": "a-room"})) == 200

    assert front.line.fields["recordingId"] == sinch.CALL
