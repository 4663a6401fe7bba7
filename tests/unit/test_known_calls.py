"""Recording from the answer: an ACE finds the decision of its ICE, and a missed recording is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import boto3
import pytest
from moto import mock_aws

from call_recorder.adapters.dynamodb_items import to_item
from call_recorder.adapters.known_calls import MAX_REMEMBERED, KnownCalls
from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.call_details import AwaitedAnswer, CallStart, Consent, WithdrawnAnswer
from call_recorder.facts.errors import TableUnavailable
from call_recorder.facts.facts import CallDecidedFact, CallEndedFact
from call_recorder.facts.messages import read_message, write_message
from call_recorder.tracking.fact_processor import Delivery
from tests import sinch
from tests.aws import ThroughBoto3
from tests.facts import ended, known, named, requested, transcribed
from tests.fakes import DEADLINES, RETENTION, STORAGE_CREDENTIALS, Applications, Bus, Front, application, new_processor
from tests.profiles import ANNOUNCEMENT, HEADER, MENU, asking, profile, rule
from tests.svaml import captures
from tests.tables import RECORDINGS, create, tables
from tests.unit.processor_under_test import InTurn, ProcessorUnderTest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OTHER = "the-other-application"
IDS = named(key=sinch.APPLICATION)
START = CallStart(at=sinch.NOW, from_="+46700000001", to="+46700000002", to_type="number")
LATER = sinch.NOW + timedelta(seconds=7)
AGREED = Consent(at=sinch.NOW, kind="header", rule="asked", outcome="accepted", header="agreed", header_value="yes")
AWAITED = AwaitedAnswer(at=sinch.NOW, rule="asked", consent=AGREED)
ICE = sinch.ice("number", "+46700000002")
TO_NUMBER = {"toType": "number"}
ON_ANSWER = profile(rule(when=TO_NUMBER, start="answer"))
CONTINUE = {"action": {"name": "continue"}}


def fact(call_id: str = sinch.CALL, *, key: str = sinch.APPLICATION, **parts: Any) -> CallDecidedFact:
    return CallDecidedFact(**(named(call_id, key=key) | {"call": START, "awaited": AWAITED} | parts))


def withdrawn(call_id: str = sinch.CALL, *, verified: bool = True, at: datetime = LATER) -> CallDecidedFact:
    return CallDecidedFact.of_withdrawal(sinch.APPLICATION, call_id, WithdrawnAnswer(at=at, verified=verified))


def decisions(front: Front) -> list[CallDecidedFact]:
    """Return the queued decisions."""
    return [fact for fact in front.facts.sent if isinstance(fact, CallDecidedFact)]


UNASKED = fact(awaited=AWAITED.model_copy(update={"consent": None}))


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb")
        create(client)
        yield client


@pytest.fixture
def calls(client: DynamoDBClient) -> KnownCalls:
    return KnownCalls(ThroughBoto3(client), RECORDINGS)


@pytest.fixture
def store(client: DynamoDBClient) -> Callable[..., None]:
    """Return what another function does: it takes facts into the table."""
    processor = new_processor(tables(client), Bus(), InTurn())

    def take(*facts: CallDecidedFact) -> None:
        assert not processor.process([Delivery(str(number), each) for number, each in enumerate(facts)]).failed

    return take


BRIDGE = f"recorder-call-{sinch.CALL}"
THEIRS = START.model_copy(update={"from_": "theirs"})


@pytest.mark.parametrize(
    ("call_id", "in_table", "known"),
    [
        (sinch.CALL, [], None),
        (sinch.CALL, [fact(key=OTHER)], None),
        (sinch.CALL, [fact(recording_id=BRIDGE, conference_id=BRIDGE, awaited=None)], KnownCall(start=START)),
        *(
            (call_id, [fact(call_id, key=OTHER, call=THEIRS), fact(call_id)], KnownCall.of(fact(call_id)))
            for call_id in (sinch.CALL, "abc@@def", f"{sinch.CALL}@@{OTHER}")
        ),
    ],
)
def test_a_call_is_found_by_its_application_under_every_name(
    calls: KnownCalls,
    store: Callable[..., None],
    call_id: str,
    in_table: list[CallDecidedFact],
    known: KnownCall | None,
) -> None:
    calls.remember(fact(call_id, key=OTHER, call=THEIRS))
    for each in in_table:
        store(each)

    assert calls.find(sinch.APPLICATION, call_id) == known


def test_a_table_or_item_that_cannot_be_read_is_an_error(
    client: DynamoDBClient, calls: KnownCalls, store: Callable[..., None]
) -> None:
    calls.remember(fact())
    store(fact())
    item = client.get_item(TableName=RECORDINGS, Key={"recordingId": {"S": sinch.CALL}})["Item"]
    client.put_item(TableName=RECORDINGS, Item=item | {"withdrawn": {"M": {sinch.CALL: {"S": "never"}}}})

    with pytest.raises(TableUnavailable, match="withdrawn"):
        calls.find_latest(sinch.APPLICATION, sinch.CALL)
    missing = KnownCalls(ThroughBoto3(client), "another")
    for find in (missing.find, missing.find_latest):
        with pytest.raises(TableUnavailable, match="BatchGetItem"):
            find(sinch.APPLICATION, sinch.CALL)


@pytest.mark.parametrize(("proved_at", "proof"), [(sinch.NOW, AGREED), (LATER, None)])
def test_the_proof_beside_an_awaited_answer_of_version_one_belongs_to_it(
    client: DynamoDBClient, calls: KnownCalls, proved_at: datetime, proof: Consent | None
) -> None:
    """An item has that form while a new version is deployed. A proof of another time belongs to another decision."""
    beside = {sinch.CALL: AGREED.model_copy(update={"at": proved_at})}
    former = known(UNASKED).model_copy(update={"consents": beside, "revision": 1})
    item = to_item(former, RETENTION, DEADLINES)
    for later_field in ("headers", "contested"):
        del item["awaited"]["M"][sinch.CALL]["M"][later_field]
    client.put_item(TableName=RECORDINGS, Item=item)

    found = calls.find(sinch.APPLICATION, sinch.CALL)

    assert found is not None
    assert found.awaited == AWAITED.model_copy(update={"consent": proof})


def test_the_proof_in_a_message_of_version_one_belongs_to_its_answer() -> None:
    message = read_message(write_message(UNASKED.model_copy(update={"consent": AGREED})))
    assert isinstance(message, CallDecidedFact)
    merged = known(message)

    assert merged.awaited == {sinch.CALL: AWAITED}
    assert not merged.consents


def test_memory_is_bounded_and_drops_the_oldest_call_first() -> None:
    dynamodb = Mock()
    dynamodb.call.return_value = {"Responses": {}}
    calls = KnownCalls(dynamodb, RECORDINGS)
    for number in range(MAX_REMEMBERED + 1):
        calls.remember(fact(f"call-{number}"))

    assert calls.find(sinch.APPLICATION, f"call-{MAX_REMEMBERED}") is not None
    assert calls.find(sinch.APPLICATION, "call-1") is not None
    dynamodb.call.assert_not_called()
    assert calls.find(sinch.APPLICATION, "call-0") is None
    dynamodb.call.assert_called_once()


def test_unverified_withdrawals_push_no_known_call_out_of_memory() -> None:
    dynamodb = Mock()
    calls = KnownCalls(dynamodb, RECORDINGS)
    calls.remember(fact())
    for number in range(MAX_REMEMBERED + 1):
        calls.remember(withdrawn(f"made-up-{number}", verified=False))

    assert calls.find(sinch.APPLICATION, sinch.CALL) == KnownCall.of(fact())
    dynamodb.call.assert_not_called()


@pytest.mark.parametrize(("rules", "opened"), [(ON_ANSWER, 1), (asking(MENU), 1), (profile(rule()), 0)])
def test_an_ice_opens_a_connection_to_the_table_only_if_needed(rules: dict[str, Any], opened: int) -> None:
    front = Front.of(rules)

    front.answer(ICE)
    assert front.calls.opened_ahead == opened
    front.answer(sinch.ace())
    assert front.calls.opened_ahead == opened


def test_an_answered_call_is_recorded_from_its_answer_and_no_sooner() -> None:
    front = Front.of(ON_ANSWER)

    assert front.answer(ICE) == {"action": {"name": "connectPstn", "number": "+46700000002"}}
    answer = front.answer(sinch.ace())

    assert answer["action"] == {"name": "continue"}
    [started] = answer["instructions"]
    assert started["name"] == "startRecording"
    assert started["options"]["credentials"] == STORAGE_CREDENTIALS
    assert sinch.CALL in started["options"]["destinationUrl"]
    assert [line.fields["outcome"] for line in front.telemetry.lines] == ["answer-awaited", "recorded"]
    request = decisions(front)[-1].request
    assert request is not None
    assert request.rule == "asked"


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
def test_the_rules_decide_again_by_what_is_kept_of_the_call(
    conditions: dict[str, Any], ice: dict[str, Any], recorded: bool
) -> None:
    front = Front.of(profile(rule(when=TO_NUMBER | conditions, start="answer")))
    front.answer(ICE | ice)
    assert front.line.fields["outcome"] == "answer-awaited"

    assert captures(front.answer(sinch.ace())) == recorded


def test_two_different_decisions_of_one_second_record_nothing() -> None:
    """It is unknown which of the two answers Sinch carries out."""
    front = Front.of(asking(ANNOUNCEMENT, start="answer"))
    front.answer(ICE)
    front.applications = Applications(application(asking(ANNOUNCEMENT | {"prompt": {"text": "!"}}, start="answer")))
    front.answer(ICE)

    assert front.answer(sinch.ace()) == CONTINUE


@pytest.mark.parametrize("written", [profile(rule()), profile()])
def test_a_profile_that_awaits_no_answer_withdraws_none(written: dict[str, Any]) -> None:
    """So a call that is not recorded needs no message."""
    front = Front.of(written)

    front.answer(ICE)

    assert not any(fact.withdrawn for fact in decisions(front))
    assert len(front.facts.sent) == len(written["rules"])


@pytest.mark.parametrize("consent", [HEADER, MENU])
def test_a_refused_consent_is_kept_and_awaits_no_answer(consent: dict[str, Any]) -> None:
    front = Front.of(asking(consent, start="answer"))

    answer = front.answer(ICE)
    if consent is MENU:
        front.answer(sinch.after(answer, "2"))

    decision = decisions(front)[-1]
    assert decision.awaited is None
    assert decision.proved_consent is not None
    assert not decision.proved_consent.given


NOT_SALES = {"name": "not sales", "when": {"callHeaders": {"team": "sales"}}, "record": False}


@pytest.mark.parametrize(
    ("now", "call_id", "outcome"),
    [
        *((ON_ANSWER, call_id, "continued") for call_id in ("another", None, "x" * 129)),
        (profile(), sinch.CALL, "continued"),
        (profile(rule(), rule("other", when=TO_NUMBER, start="answer")), sinch.CALL, "continued"),
        (asking(HEADER, start="answer"), sinch.CALL, "no-consent"),
        (profile(rule(when=TO_NUMBER, start="answer", sample=0)), sinch.CALL, "continued"),
        (profile({"name": "nobody", "record": False}, *ON_ANSWER["rules"]), sinch.CALL, "continued"),
        # The header was not kept. So it is unknown, not absent.
        (profile(NOT_SALES, *ON_ANSWER["rules"]), sinch.CALL, "continued"),
    ],
)
def test_an_answer_that_no_rule_awaits_now_continues_the_call(
    now: dict[str, Any], call_id: str | None, outcome: str
) -> None:
    front = Front.of(ON_ANSWER)
    front.answer(ICE)
    front.applications = Applications(application(now))

    assert front.answer(sinch.ace(callid=call_id)) == CONTINUE
    assert front.telemetry.lines[-1].fields["outcome"] == outcome


@pytest.mark.parametrize(
    ("rules", "level", "problem"),
    [(ON_ANSWER, "warning", "BatchGetItem: ReadTimeoutError"), (profile(rule()), "info", None)],
)
def test_an_answered_call_continues_without_the_table(rules: dict[str, Any], level: str, problem: str | None) -> None:
    """A profile that awaits no answer needs no look-up."""
    front = Front.of(rules)
    front.calls.down = True

    assert front.answer(sinch.ace()) == CONTINUE
    assert (front.line.level, front.line.fields["problem"]) == (level, problem)


@pytest.mark.parametrize(
    "batches",
    [[(UNASKED, ended(IDS))], [(UNASKED,), (ended(IDS),)], [(ended(IDS),), (UNASKED,)]],
    ids=["one batch", "decision first", "end first"],
)
def test_a_missed_answer_is_counted_once_and_becomes_due(batches: list[tuple[Any, ...]]) -> None:
    processor = ProcessorUnderTest()

    missed = [name for batch in (*batches, [transcribed(IDS)]) for name in processor.take(*batch).missed]

    assert missed == [sinch.CALL]
    item = processor.table.items[sinch.CALL]
    assert item["dueAt"] == {"S": "2026-11-23T10:01:00Z"}
    assert item["requestedAt"] == {"S": "2026-11-23T09:30:00Z"}
    assert item["applicationDay"]["S"].startswith(f"{sinch.APPLICATION}#2026-11-23#")
    assert "waitingShard" in item
    assert int(item["expiresAt"]["N"]) >= (sinch.NOW + RETENTION).timestamp()


@pytest.mark.parametrize(
    "facts",
    [
        *([fact(), ended(IDS, result)] for result in ("NOANSWER", None)),
        *([fact(), withdrawn(verified=verified), ended(IDS)] for verified in (True, False)),
        [fact(), requested(IDS), ended(IDS)],
    ],
)
def test_an_unanswered_withdrawn_or_recorded_answer_is_not_missed(facts: list[CallDecidedFact | CallEndedFact]) -> None:
    processor = ProcessorUnderTest()

    assert not any(processor.take(each).missed for each in facts)

    assert ("waitingShard" in processor.table.items[sinch.CALL]) == (requested(IDS) in facts)


def test_an_unverified_withdrawal_makes_no_item() -> None:
    processor = ProcessorUnderTest()

    processor.take(withdrawn("made-up", verified=False))
    processor.take(withdrawn("verified"))

    assert processor.table.items.keys() == {"verified"}
    assert int(processor.table.items["verified"]["expiresAt"]["N"]) == int((LATER + timedelta(days=1)).timestamp())


def test_a_decision_for_a_conference_withdraws_the_awaited_answer_of_the_call() -> None:
    processor, withdrawal = ProcessorUnderTest(), WithdrawnAnswer(at=LATER, verified=True)

    processor.take(fact())
    processor.take(fact(recording_id="lobby", conference_id="lobby", awaited=None, withdrawn=withdrawal))

    assert processor.table.recording().withdrawn == {sinch.CALL: LATER}
    assert processor.table.recording("lobby").calls == {sinch.CALL: START}
    assert not processor.table.recording("lobby").withdrawn
