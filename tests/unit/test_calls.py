"""Recording on answer: an ACE finds again what its ICE left behind, and only that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from call_recorder.adapters.dynamodb_items import to_item
from call_recorder.adapters.known_calls import MAX_REMEMBERED, KnownCalls
from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.call_details import AwaitedAnswer, CallEnd, CallStart, Consent, WithdrawnAnswer
from call_recorder.facts.errors import TableUnavailable
from call_recorder.facts.facts import CallDecidedFact, CallEndedFact
from call_recorder.facts.messages import read_message, write_message
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.functions.notify import FactBatchHandler
from call_recorder.tracking.fact_processor import Delivery
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.aws import ThroughBoto3
from tests.fakes import (
    PATIENCE,
    RETENTION,
    STORAGE_CREDENTIALS,
    Applications,
    Bus,
    Front,
    InMemoryTables,
    RecordedTelemetry,
    application,
    new_processor,
)
from tests.profiles import AGREED as AGREEMENT
from tests.profiles import ANNOUNCEMENT, FROM_PHONE, HEADER, MENU, MXP_ACTION, asking, profile, rule
from tests.svaml import captures, names
from tests.tables import RECORDINGS, create, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE = RECORDINGS
OTHER = "the-other-application"
START = CallStart(at=sinch.NOW, from_="+46700000001", to="+46700000002", to_type="number")
LATER = sinch.NOW + timedelta(seconds=7)
AGREED = Consent(at=sinch.NOW, kind="header", rule="asked", outcome="accepted", header="agreed", header_value="yes")
AWAITED = AwaitedAnswer(at=sinch.NOW, rule="asked", consent=AGREED)
WITHDRAWN = WithdrawnAnswer(at=LATER, verified=True)
ICE = sinch.ice("number", "+46700000002")
ON_ANSWER = profile(rule(when={"toType": "number"}, start="answer"))
CONTINUE = {"action": {"name": "continue"}}


def fact(call_id: str = sinch.CALL, *, key: str = sinch.APPLICATION, **parts: Any) -> CallDecidedFact:
    about = {"recording_id": call_id, "application_key": key, "call_id": call_id}
    return CallDecidedFact(**(about | {"call": START, "awaited": AWAITED} | parts))


def withdrawn(call_id: str = sinch.CALL, *, verified: bool = True, at: datetime = LATER) -> CallDecidedFact:
    return CallDecidedFact.of_withdrawal(sinch.APPLICATION, call_id, WithdrawnAnswer(at=at, verified=verified))


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb")
        create(client)
        yield client


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def stored(client: DynamoDBClient, executor: ThreadPoolExecutor, *facts: CallDecidedFact) -> None:
    processor = new_processor(tables(client), Bus(), executor)
    assert not processor.process([Delivery(str(number), each) for number, each in enumerate(facts)]).failed


class NeverAsked:
    def preconnect(self) -> None:
        pytest.fail("connected to the table")

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        pytest.fail(f"asked the table: {operation} {parameters}")


def test_what_this_function_answered_itself_needs_no_table() -> None:
    calls = KnownCalls(NeverAsked(), TABLE)
    calls.remember(fact())

    known = calls.find(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert (known.start, known.awaited) == (START, AWAITED)


def test_what_another_function_answered_is_read_from_the_table(
    client: DynamoDBClient, executor: ThreadPoolExecutor
) -> None:
    stored(client, executor, fact())

    known = KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert (known.start, known.awaited) == (START, AWAITED)


def test_a_call_in_a_conference_of_its_own_is_found_by_the_calls_id(
    client: DynamoDBClient, executor: ThreadPoolExecutor
) -> None:
    name = f"recorder-call-{sinch.CALL}"
    stored(client, executor, fact(recording_id=name, conference_id=name, awaited=None))

    known = KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert known.start == START


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("elsewhere", ["decided", "withdrawn"])
def test_what_was_last_decided_counts_wherever_it_was(
    client: DynamoDBClient, executor: ThreadPoolExecutor, elsewhere: str, verified: bool
) -> None:
    """One function awaits the answer, and another takes that back, with a later callback of the same call."""
    calls = KnownCalls(ThroughBoto3(client), TABLE)
    one, other = fact(), withdrawn(verified=verified)
    calls.remember(one if elsewhere == "withdrawn" else other)
    stored(client, executor, fact(awaited=None), other if elsewhere == "withdrawn" else one)

    known = calls.find_latest(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert known.awaited is None


def test_what_was_decided_anew_after_it_was_withdrawn_counts(
    client: DynamoDBClient, executor: ThreadPoolExecutor
) -> None:
    again = fact(awaited=AWAITED.model_copy(update={"at": LATER + timedelta(seconds=1)}))
    calls = KnownCalls(ThroughBoto3(client), TABLE)
    calls.remember(withdrawn())
    stored(client, executor, fact(), again)

    known = calls.find_latest(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert known.awaited == again.awaited


def test_until_the_queue_has_brought_it_memory_counts(client: DynamoDBClient) -> None:
    calls = KnownCalls(ThroughBoto3(client), TABLE)
    calls.remember(fact())

    known = calls.find_latest(sinch.APPLICATION, sinch.CALL)

    assert known is not None
    assert known.awaited == AWAITED


def test_an_answer_is_in_doubt_if_the_table_cannot_be_read_or_its_item_cannot(
    client: DynamoDBClient, executor: ThreadPoolExecutor
) -> None:
    calls = KnownCalls(ThroughBoto3(client), TABLE)
    calls.remember(fact())
    stored(client, executor, fact())
    key = {"recordingId": {"S": sinch.CALL}}
    broken = {":broken": {"M": {sinch.CALL: {"S": "never"}}}}
    client.update_item(
        TableName=TABLE, Key=key, UpdateExpression="SET withdrawn = :broken", ExpressionAttributeValues=broken
    )

    with pytest.raises(TableUnavailable, match="withdrawn"):
        calls.find_latest(sinch.APPLICATION, sinch.CALL)
    with pytest.raises(TableUnavailable, match="BatchGetItem"):
        KnownCalls(ThroughBoto3(client), "another").find_latest(sinch.APPLICATION, sinch.CALL)


def test_an_item_of_the_former_version_has_its_proof_beside_what_is_awaited(client: DynamoDBClient) -> None:
    """So it is while a new version is deployed. A proof of another time belongs to another decision."""
    awaited = AWAITED.model_copy(update={"consent": None})
    other = AGREED.model_copy(update={"at": LATER})
    for call_id, beside in (("the same", AGREED), ("another", other)):
        former = Recording(
            recording_id=call_id,
            application_key=sinch.APPLICATION,
            call_id=call_id,
            calls={call_id: START},
            consents={call_id: beside},
            awaited={call_id: awaited},
        )
        item = to_item(former, RETENTION, PATIENCE)
        for later_field in ("headers", "contested"):
            del item["awaited"]["M"][call_id]["M"][later_field]
        assert item["awaited"]["M"][call_id]["M"].keys() == {"at", "rule"}
        client.put_item(TableName=TABLE, Item=item | {"revision": {"N": "1"}})

    same, another = (
        KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, each) for each in ("the same", "another")
    )

    assert same is not None
    assert another is not None
    assert same.awaited == AWAITED
    assert another.awaited == awaited


def test_a_message_of_the_former_version_brings_its_proof_to_what_is_awaited() -> None:
    former = fact(awaited=AWAITED.model_copy(update={"consent": None}), consent=AGREED)
    empty = Recording(recording_id=sinch.CALL, application_key=sinch.APPLICATION)

    message = read_message(write_message(former))
    assert isinstance(message, CallDecidedFact)
    merged = empty.merge(message)

    assert merged.awaited == {sinch.CALL: AWAITED}
    assert not merged.consents


def test_what_strangers_say_pushes_out_nothing_that_is_known() -> None:
    calls = KnownCalls(NeverAsked(), TABLE)
    calls.remember(fact())
    for number in range(MAX_REMEMBERED + 1):
        calls.remember(withdrawn(f"made-up-{number}", verified=False))

    assert calls.find(sinch.APPLICATION, sinch.CALL) == KnownCall.of(fact())


@pytest.mark.parametrize("remembered", [True, False])
def test_nothing_is_found_of_another_applications_call(
    client: DynamoDBClient, executor: ThreadPoolExecutor, remembered: bool
) -> None:
    calls = KnownCalls(ThroughBoto3(client), TABLE)
    if remembered:
        calls.remember(fact(key=OTHER))
    else:
        stored(client, executor, fact(key=OTHER))

    assert calls.find(sinch.APPLICATION, sinch.CALL) is None
    assert calls.find(OTHER, sinch.CALL) is not None


@pytest.mark.parametrize("call_id", [sinch.CALL, "abc@@def", f"{sinch.CALL}@@{OTHER}"])
def test_a_call_is_found_whose_name_another_application_took_before(
    client: DynamoDBClient, executor: ThreadPoolExecutor, call_id: str
) -> None:
    theirs = fact(call_id, key=OTHER, call=START.model_copy(update={"from_": "theirs"}), awaited=None)
    stored(client, executor, theirs)
    stored(client, executor, fact(call_id))

    known = KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, call_id)

    assert known is not None
    assert (known.start, known.awaited) == (START, AWAITED)


def test_a_call_that_nobody_knows_is_not_found(client: DynamoDBClient) -> None:
    assert KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, sinch.CALL) is None


def test_a_table_that_cannot_be_read_is_told(client: DynamoDBClient) -> None:
    calls = KnownCalls(ThroughBoto3(client), "another")

    with pytest.raises(TableUnavailable, match="BatchGetItem"):
        calls.find(sinch.APPLICATION, sinch.CALL)


def test_memory_is_bounded_and_the_oldest_goes_first(client: DynamoDBClient) -> None:
    dynamodb = Mock(wraps=ThroughBoto3(client))
    calls = KnownCalls(dynamodb, TABLE)
    for number in range(MAX_REMEMBERED + 1):
        calls.remember(fact(f"call-{number}"))

    assert calls.find(sinch.APPLICATION, f"call-{MAX_REMEMBERED}") is not None
    assert calls.find(sinch.APPLICATION, "call-1") is not None
    dynamodb.call.assert_not_called()
    assert calls.find(sinch.APPLICATION, "call-0") is None
    dynamodb.call.assert_called_once()


def test_the_table_is_read_once_and_consistently(client: DynamoDBClient) -> None:
    with Stubber(client) as stubber:
        ids = [sinch.CALL, f"recorder-call-{sinch.CALL}"]
        keys = [{"recordingId": {"S": name}} for each in ids for name in (each, f"{each}@@{sinch.APPLICATION}")]

        class InAnyOrder(list[Any]):
            def __eq__(self, other: object) -> bool:
                return isinstance(other, list) and sorted(map(str, other)) == sorted(map(str, self))

            __hash__ = None

        expected = {"RequestItems": {TABLE: {"Keys": InAnyOrder(keys), "ConsistentRead": True}}}
        stubber.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {}}, expected)

        assert KnownCalls(ThroughBoto3(client), TABLE).find(sinch.APPLICATION, sinch.CALL) is None
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("rules", "opened"),
    [(ON_ANSWER, 1), (asking(MENU), 1), (profile(rule()), 0)],
    ids=["from its answer", "menu", "from its start"],
)
def test_the_table_is_connected_to_beside_an_ice_whose_call_may_need_it_and_no_other(
    rules: dict[str, Any], opened: int
) -> None:
    front = Front.of(rules)

    front.answer(ICE)
    assert front.calls.opened_ahead == opened
    front.answer(sinch.ace())
    assert front.calls.opened_ahead == opened


def test_to_open_ahead_is_to_connect(client: DynamoDBClient) -> None:
    dynamodb = ThroughBoto3(client)

    KnownCalls(dynamodb, TABLE).preconnect()

    assert dynamodb.opened_ahead == 1


def test_an_answered_call_is_recorded_from_its_answer_and_no_sooner() -> None:
    front = Front.of(ON_ANSWER)

    assert front.answer(ICE) == {"action": {"name": "connectPstn", "number": "+46700000002"}}
    answer = front.answer(sinch.ace())

    assert answer["action"] == {"name": "continue"}
    [started] = answer["instructions"]
    assert started["name"] == "startRecording"
    assert started["options"]["credentials"] == STORAGE_CREDENTIALS
    assert sinch.CALL in started["options"]["destinationUrl"]
    outcomes = [line.fields["outcome"] for line in front.telemetry.lines]
    assert outcomes == ["answer-awaited", "recorded"]
    request = front.facts.sent[-1]
    assert isinstance(request, CallDecidedFact)
    assert request.request is not None
    assert request.request.rule == "asked"


@pytest.mark.parametrize("consent", [ANNOUNCEMENT, HEADER, MENU])
def test_consent_and_answer_are_both_waited_for(consent: dict[str, Any]) -> None:
    front = Front.of(asking(consent, start="answer"))

    answer = front.answer(ICE | {"callHeaders": AGREEMENT})
    if consent is MENU:
        assert front.answer(sinch.ace()) == CONTINUE
        answer = front.answer(sinch.after(answer))

    assert not captures(answer)
    assert captures(front.answer(sinch.ace()))


@pytest.mark.parametrize("consent", [None, ANNOUNCEMENT, HEADER, MENU])
def test_the_proof_is_kept_with_the_recording_and_not_with_what_is_awaited(
    consent: dict[str, Any] | None, executor: ThreadPoolExecutor
) -> None:
    asked: dict[str, Any] = {"consent": consent} if consent else {}
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": "number"}, start="answer", **asked)))
    office = Office(executor)

    answer = front.answer(ICE | {"callHeaders": AGREEMENT})
    if consent is MENU:
        front.answer(sinch.after(answer))
    office.take(*decisions(front))
    assert "consents" not in office.table.items[sinch.CALL]
    front.clock.advance(20)
    answered = sinch.signed(sinch.ace(), timestamp=sinch.stamp(front.clock.now))
    assert "startRecording" in front(answered)["body"]
    office.take(*decisions(front))

    proof = office.table.recording().consents.get(sinch.CALL)
    assert (proof and (proof.kind, proof.at)) == (consent and (consent["kind"], sinch.NOW))


LONG = "+1201" + "5" * 300


@pytest.mark.parametrize(
    ("conditions", "ice", "recorded"),
    [
        ({"from": "+4670*"}, {}, True),
        ({"custom": "*vip*"}, {"custom": "a vip"}, True),
        ({"callHeaders": {"Team": "sales*"}}, {"callHeaders": [{"key": "team", "value": "sales 7"}]}, True),
        ({"callHeaders": {"team": "sales*"}}, {"callHeaders": [{"key": "team", "value": "sales" * 60}]}, False),
        ({"from": "+1201*"}, {"cli": LONG}, False),
        ({"custom": "*vip*"}, {"custom": "a vip" + "!" * 1020}, False),
        ({"to": "*"}, {"custom": "a vip" + "!" * 1020}, True),
    ],
)
def test_the_rules_decide_again_over_what_is_kept_of_the_call(
    conditions: dict[str, Any], ice: dict[str, Any], recorded: bool
) -> None:
    front = Front.of(profile(rule(when={"toType": "number"} | conditions, start="answer")))
    front.answer(ICE | ice)
    assert front.line.fields["outcome"] == "answer-awaited"

    assert captures(front.answer(sinch.ace())) == recorded


def test_a_header_that_a_later_profile_asks_for_is_not_known() -> None:
    """It was not kept, so it is not known to be absent either."""
    front = Front.of(ON_ANSWER)
    front.answer(ICE)
    not_sales = {"name": "not sales", "when": {"callHeaders": {"team": "sales"}}, "record": False}
    front.applications = Applications(application({"rules": [not_sales, *ON_ANSWER["rules"]]}))

    assert front.answer(sinch.ace()) == CONTINUE


DECIDED_OTHERWISE: dict[str, Any] = {
    "not recorded": {"rules": [{"name": "nobody", "record": False}, rule(when={"toType": "number"}, start="answer")]},
    "another rule": profile(rule("other", start="connect"), rule(when={"toType": "number"}, start="answer")),
    "not in the sample": profile(rule(when={"toType": "number"}, start="answer", sample=0)),
    "recorded with the connect": profile(rule(), rule("other", when={"toType": "sip"}, start="answer")),
    "broken": "{",
    "asked by a menu": profile(
        rule("menu", when=FROM_PHONE | {"toType": "number"}, consent=MENU, start="answer"), *ON_ANSWER["rules"]
    ),
}


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("otherwise", DECIDED_OTHERWISE)
def test_a_later_answer_takes_the_decision_back(otherwise: str, back: bool) -> None:
    """The first answer was lost, so Sinch asked again, and obeyed what it was told then."""
    front = Front.of(asking(ANNOUNCEMENT, start="answer"))
    announced = application(asking(ANNOUNCEMENT, start="answer"))
    assert names(front.answer(ICE)) == ["say"]

    front.clock.advance(2)
    front.applications = Applications(application(DECIDED_OTHERWISE[otherwise]))
    answer = later(front, ICE)
    assert "say" not in names(answer)
    front.applications = Applications(announced) if back else front.applications

    assert later(front, sinch.ace()) == CONTINUE


def test_ssm_that_is_down_takes_the_decision_back() -> None:
    front = Front.of(asking(ANNOUNCEMENT, start="answer"))
    front.answer(ICE)

    front.clock.advance(2)
    front.applications.down = True
    assert names(later(front, ICE)) == []
    front.applications.down = False

    assert later(front, sinch.ace()) == CONTINUE
    unverified = front.facts.sent[-1]
    assert isinstance(unverified, CallDecidedFact)
    assert unverified.applies_to_known_calls_only


def test_a_menu_that_was_declined_after_all_takes_the_decision_back() -> None:
    front = Front.of(asking(MENU, start="answer"))
    asked = front.answer(ICE)

    front.answer(sinch.after(asked, "1"))
    front.clock.advance(2)
    later(front, sinch.after(asked, "2"))

    assert later(front, sinch.ace()) == CONTINUE


def test_a_key_of_the_menus_own_second_is_heeded() -> None:
    """Sinch's times are whole seconds, and a menu ends after it began."""
    front = Front.of(asking(MENU, start="answer"))

    front.answer(sinch.after(front.answer(ICE)))

    assert captures(front.answer(sinch.ace()))


def test_of_two_decisions_of_one_second_nobody_knows_which_was_obeyed() -> None:
    front = Front.of(asking(ANNOUNCEMENT, start="answer"))
    front.answer(ICE)
    front.applications = Applications(application(asking(ANNOUNCEMENT | {"prompt": {"text": "!"}}, start="answer")))
    front.answer(ICE)

    assert front.answer(sinch.ace()) == CONTINUE


@pytest.mark.parametrize("written", [profile(rule()), profile(), profile(rule(consent=ANNOUNCEMENT))])
def test_a_profile_that_awaits_nothing_takes_nothing_back(written: dict[str, Any]) -> None:
    """So a call that is not recorded costs no message there."""
    front = Front.of(written)

    front.answer(ICE)

    assert not any(fact.withdrawn for fact in decisions(front))
    assert len(front.facts.sent) == len(written["rules"])


def later(front: Front, body: dict[str, Any]) -> dict[str, Any]:
    """Return the SVAML that answers a callback which Sinch signs at the clock's time."""
    response = front(sinch.signed(body, timestamp=sinch.stamp(front.clock.now)))
    assert response["statusCode"] == 200
    answer: dict[str, Any] = json.loads(response["body"])
    return answer


def decisions(front: Front) -> list[CallDecidedFact]:
    """Return what the front decided, as it is queued."""
    return [fact for fact in front.facts.sent if isinstance(fact, CallDecidedFact)]


@pytest.mark.parametrize("consent", [HEADER, MENU])
def test_without_consent_no_answer_is_awaited(consent: dict[str, Any]) -> None:
    front = Front.of(asking(consent, start="answer"))

    answer = front.answer(ICE)
    if consent is MENU:
        front.answer(sinch.after(answer, "2"))

    assert front.answer(sinch.ace()) == CONTINUE


@pytest.mark.parametrize(
    "body",
    [
        sinch.ace(callid="another"),
        sinch.ace(callid=None),
        sinch.ace(callid="x" * 129),
        sinch.ace(callid=f"recorder-call-{sinch.CALL}"),
    ],
)
def test_an_answer_that_no_rule_awaits_goes_on(body: dict[str, Any]) -> None:
    front = Front.of(ON_ANSWER)
    front.answer(ICE)

    assert front.answer(body) == CONTINUE
    assert front.telemetry.lines[-1].fields["outcome"] == "continued"


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (profile(), "continued"),
        (profile(rule("other", when={"toType": "number"}, start="answer")), "continued"),
        (profile(rule(), rule("other", when={"toType": "number"}, start="answer")), "continued"),
        (asking(HEADER, start="answer"), "no-consent"),
        (asking(MENU, start="answer"), "no-consent"),
        (asking(ANNOUNCEMENT, start="answer"), "no-consent"),
        (profile(rule(when={"toType": "number"}, start="answer", sample=0)), "continued"),
        (profile({"name": "nobody", "record": False}, *ON_ANSWER["rules"]), "continued"),
    ],
)
def test_the_rule_in_force_at_the_answer_has_to_agree(now: dict[str, Any], outcome: str) -> None:
    front = Front.of(ON_ANSWER)
    front.answer(ICE)
    front.applications = Applications(application(now))

    assert front.answer(sinch.ace()) == CONTINUE
    assert front.telemetry.lines[-1].fields["outcome"] == outcome


def test_another_applications_answer_starts_no_recording() -> None:
    front = Front(applications=Applications(application(ON_ANSWER), application(ON_ANSWER, key=OTHER)))
    front.answer(ICE)

    foreign = front(sinch.signed(sinch.ace(applicationKey=OTHER), key=OTHER))

    assert foreign["body"] == '{"action":{"name":"continue"}}'
    assert captures(front.answer(sinch.ace()))


def test_a_table_that_is_down_lets_the_call_go_on_and_is_told(client: DynamoDBClient) -> None:
    client.meta.events.register("before-send.dynamodb.BatchGetItem", _timeout)
    front = Front.of(ON_ANSWER)
    door = CallbackHandler(
        front.settings,
        applications=front.applications,
        queue=front.queue,
        calls=KnownCalls(ThroughBoto3(client), TABLE),
        upstream=front.upstream,
        telemetry=front.telemetry,
        clock=front.clock,
    )

    response = door(sinch.signed(sinch.ace()))

    assert (response["statusCode"], response["body"]) == (200, '{"action":{"name":"continue"}}')
    assert front.line.level == "warning"
    assert front.line.fields["problem"] == "BatchGetItem: ReadTimeoutError"


def _timeout(**_: Any) -> None:
    raise ReadTimeoutError(endpoint_url="https://table.example")


def test_a_profile_that_awaits_nothing_costs_an_ace_no_look_up() -> None:
    front = Front.of(profile(rule()))
    front.calls.down = True

    assert front.answer(sinch.ace()) == CONTINUE
    assert front.line.level == "info"


ENDED = CallEndedFact(
    recording_id=sinch.CALL,
    application_key=sinch.APPLICATION,
    call_id=sinch.CALL,
    end=CallEnd(at=sinch.NOW, result="ANSWERED", duration=9),
)


class Office:
    """NotifyFunction over a table in memory."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.table, self.telemetry = InMemoryTables(), RecordedTelemetry()
        processor = new_processor(self.table, Bus(), executor)
        self.office = FactBatchHandler(processor, self.telemetry)

    def take(self, *facts: CallDecidedFact | CallEndedFact) -> None:
        records = [{"messageId": str(number), "body": write_message(each)} for number, each in enumerate(facts)]
        assert self.office({"Records": records}) == {"batchItemFailures": []}


@pytest.mark.parametrize("batches", [[(fact(), ENDED)], [(fact(),), (ENDED,)], [(ENDED,), (fact(),)]])
def test_an_answer_that_was_missed_is_counted_once_and_waited_for(
    batches: list[tuple[CallDecidedFact | CallEndedFact, ...]], executor: ThreadPoolExecutor
) -> None:
    office = Office(executor)

    for batch in batches:
        office.take(*batch)

    assert office.telemetry.counts["AnswersNotRecorded"] == 1
    assert [line.message for line in office.telemetry.lines] == ["call not recorded from its answer"]
    item = office.table.items[sinch.CALL]
    assert item["dueAt"] == {"S": "2026-11-23T10:00:00Z"}
    assert "waitingShard" in item


def test_a_missed_answer_is_found_and_kept_even_if_no_consent_was_asked(executor: ThreadPoolExecutor) -> None:
    office = Office(executor)

    office.take(fact(consent=None), ENDED)

    item = office.table.items[sinch.CALL]
    assert item["requestedAt"] == {"S": "2026-11-23T09:30:00Z"}
    assert item["dueAt"] == {"S": "2026-11-23T10:00:00Z"}
    assert item["applicationDay"] == {"S": f"{sinch.APPLICATION}#2026-11-23"}
    assert int(item["expiresAt"]["N"]) >= (sinch.NOW + RETENTION).timestamp()


@pytest.mark.parametrize("result", ["NOANSWER", "BUSY", "FAILED", None])
def test_a_call_that_nobody_answered_is_not_missed(result: str | None, executor: ThreadPoolExecutor) -> None:
    office = Office(executor)

    office.take(fact(), ENDED.model_copy(update={"end": CallEnd(at=sinch.NOW, result=result)}))

    assert not office.telemetry.counts["AnswersNotRecorded"]
    assert "waitingShard" not in office.table.items[sinch.CALL]


def test_a_call_that_was_recorded_from_its_answer_is_not_missed(executor: ThreadPoolExecutor) -> None:
    front = Front.of(ON_ANSWER)
    front.answer(ICE)
    front.answer(sinch.ace())
    office = Office(executor)

    office.take(*(each for each in front.facts.sent if isinstance(each, CallDecidedFact)), ENDED)

    assert not office.telemetry.counts["AnswersNotRecorded"]


@pytest.mark.parametrize("verified", [True, False])
def test_a_decision_that_was_taken_back_is_not_missed(executor: ThreadPoolExecutor, verified: bool) -> None:
    office = Office(executor)

    office.take(fact())
    office.take(withdrawn(verified=verified))
    office.take(ENDED)

    assert not office.telemetry.counts["AnswersNotRecorded"]
    assert "waitingShard" not in office.table.items[sinch.CALL]


def test_what_may_be_anybodys_makes_no_item(executor: ThreadPoolExecutor) -> None:
    office = Office(executor)

    office.take(withdrawn("made-up", verified=False))
    office.take(withdrawn("verified"))

    assert office.table.items.keys() == {"verified"}
    assert int(office.table.items["verified"]["expiresAt"]["N"]) == int((LATER + timedelta(days=1)).timestamp())


def test_an_answer_that_leads_to_a_conference_takes_back_what_is_awaited_of_the_call(
    executor: ThreadPoolExecutor,
) -> None:
    office = Office(executor)
    to_conference = fact(recording_id="lobby", conference_id="lobby", awaited=None, withdrawn=WITHDRAWN)

    office.take(fact())
    office.take(to_conference)

    assert office.table.recording().withdrawn == {sinch.CALL: LATER}
    assert office.table.recording("lobby").calls == {sinch.CALL: START}
    assert not office.table.recording("lobby").withdrawn


def test_two_applications_with_one_call_id_keep_items_of_their_own(executor: ThreadPoolExecutor) -> None:
    office = Office(executor)

    # One after the other: of two that come at once, either may be the first.
    office.take(fact())
    office.take(fact(key=OTHER), ENDED)

    assert office.table.items[sinch.CALL]["applicationKey"] == {"S": sinch.APPLICATION}
    foreign = office.table.items[f"{sinch.CALL}@@{OTHER}"]
    assert foreign["applicationKey"] == {"S": OTHER}
    assert "ends" not in foreign


def test_after_a_menu_an_app_user_is_never_awaited() -> None:
    """Nobody reports that an app user, or a conference, was answered."""
    menu = MENU | {"usernameByConference": True}
    when = FROM_PHONE | {"toType": "did"}
    routes = [{"to": "*", "action": MXP_ACTION}]

    problem = application(profile(rule(when=when, consent=menu, start="answer"), routes=routes)).problem

    assert problem is not None
    assert "start: the route to *: Sinch does not report that it was answered" in problem
