"""``why`` says of every call why it was recorded or not, or what it means that nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from call_recorder.adapters.number_hash_key import NumberHashKey
from call_recorder.facts.call_details import AskedConsent, AwaitedAnswer, CallingError, CallStart, Consent
from call_recorder.facts.commands import CheckRecording
from call_recorder.facts.facts import AnswerRefusedFact, CallDecidedFact, CallNotRecordedFact
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.functions.notify import FactBatchHandler
from tests import sinch
from tests.aws import ThroughBoto3
from tests.facts import after, available, ended, finished, named, requested
from tests.fakes import Bus, RecordedTelemetry, new_processor
from tests.tables import tables
from tests.unit.cli.conftest import Run
from tests.unit.processor_under_test import InTurn
from tests.unrecorded import UNRECORDED, create_unrecorded, writer

APP = "app"
CALLER, CALLEE = "+46701234567", "+12015550100"
START = CallStart(at=sinch.NOW, from_=CALLER, to=CALLEE)
AT = ("--at", "2026-11-23T09:30")
LATER = after(minutes=600)

Take = Callable[..., None]


@pytest.fixture
def take(aws: boto3.Session, outputs: dict[str, str], parameters: dict[str, str]) -> Take:
    """Let NotifyFunction take facts, as the stack's ``UnrecordedCalls`` says."""
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name=f"/call-recorder/{APP}/application-secrets", Value="a secret", Type="SecureString")
    client = boto3.client("dynamodb")

    def take(*facts: QueueMessage, kept: str = "hashes") -> None:
        unrecorded = None
        parameters.update(UnrecordedCalls=kept, UnrecordedCallsDays="30", RetentionDays="365")
        if kept != "nothing":
            if UNRECORDED not in client.list_tables()["TableNames"]:
                create_unrecorded(client)
            outputs["UnrecordedCallsTableName"] = UNRECORDED
            key = NumberHashKey(ThroughBoto3(ssm), "call-recorder")
            key.make_if_absent()
            unrecorded = writer(client, key.read if kept == "hashes" else None)
        handler = FactBatchHandler(new_processor(tables(client), Bus(), InTurn()), RecordedTelemetry(), unrecorded)
        for number, fact in enumerate(facts):
            record = {"messageId": str(number), "body": write_message(fact)}
            assert handler({"Records": [record]})["batchItemFailures"] == []

    return take


def decided(call_id: str, **parts: Any) -> CallDecidedFact:
    return CallDecidedFact(**named(call_id), call=START, **parts)


def recorded(call_id: str) -> CallDecidedFact:
    return requested(named(call_id)).model_copy(update={"call": START})


def note(call_id: str, outcome: str, **parts: Any) -> CallNotRecordedFact:
    fields: dict[str, Any] = {"application_key": APP, "call_id": call_id, "at": sinch.NOW, "event": "ice"}
    fields |= {"outcome": outcome, "from_": CALLER, "to": CALLEE} | parts
    return CallNotRecordedFact(**fields)


def consent(outcome: Any) -> Consent:
    return Consent(at=sinch.NOW, kind="menu", rule="asked", outcome=outcome, prompt="May we?")


ASKED = AskedConsent(at=sinch.NOW, rule="asked", question="q")
AWAITED = AwaitedAnswer(at=sinch.NOW, rule="asked")
CHECK = CheckRecording(recording_id="one", application_key=APP, at=LATER)
REFUSED = AnswerRefusedFact(**named("one"), error=CallingError(at=sinch.NOW, code="40001", message="Illegal SVAML"))


@pytest.mark.parametrize(
    ("facts", "recorded_", "outcome", "rule", "says"),
    [
        ([recorded("one")], None, "requested", "all", "No file is known yet"),
        ([recorded("one"), finished(named("one"))], None, "finished", "all", "no file is known yet"),
        ([recorded("one"), available(named("one"))], True, "available", "all", "The recording is stored."),
        ([recorded("one"), ended(named("one"), "BUSY"), CHECK], False, "not-answered", "all", "was not answered"),
        ([recorded("one"), REFUSED, ended(named("one")), CHECK], None, "not-announced", "all", "Illegal SVAML"),
        ([available(named("one"))], True, "available", None, "No request to record it is known."),
        ([decided("one", consent=consent("declined"))], False, "declined", "asked", "the caller declined"),
        ([decided("one", asked=ASKED)], None, "consent-asked", "asked", "no answer is known yet"),
        ([decided("one", awaited=AWAITED)], None, "answer-awaited", "asked", "no answer is known yet"),
        (
            [decided("one", asked=ASKED), ended(named("one"), None)],
            False,
            "menu-not-ended",
            "asked",
            "before an answer",
        ),
        ([decided("one", awaited=AWAITED), ended(named("one"), "BUSY")], False, "not-answered", "asked", "BUSY"),
        (
            [
                decided("one", awaited=AWAITED),
                note("one", "continued", event="ace", rule="asked", problem="x: y", at=after(5)),
                ended(named("one")),
            ],
            *(False, "not-recorded", "asked", "did not decide again"),
        ),
        ([note("one", "rule-says-no", rule="nobody")], False, "rule-says-no", "nobody", "“nobody” says not to"),
        ([note("one", "no-rule")], False, "no-rule", None, "No rule matches"),
        ([note("one", "degraded", problem="x: broken.")], False, "degraded", None, "The problem: x: broken.\n"),
        ([note("one", "of a later version")], False, "of a later version", None, "The outcome was of a later version."),
        ([note("one", "degraded", verified=False)], False, "degraded", None, "may be forged"),
        (
            [note("one", "no-rule"), note("one", "degraded", verified=False, at=after(9))],
            *(False, "no-rule", None, "No rule matches"),
        ),
        (
            [note("one", "no-rule"), note("one", "continued", event="ace", problem="no table", at=after(9))],
            *(False, "no-rule", None, "No rule matches"),
        ),
        ([ended(named("one"))], False, "not-requested", None, "Why is not kept."),
    ],
)
def test_a_call_says_why_it_was_recorded_or_not(
    run: Run, take: Take, facts: list[QueueMessage], recorded_: bool | None, outcome: str, rule: str | None, says: str
) -> None:
    take(*facts)

    [call] = json.loads(run("why", "one", "--json").out)["calls"]
    assert (call["recorded"], call["outcome"], call["rule"]) == (recorded_, outcome, rule)
    assert says in run("why", "one").out


def test_a_stack_that_keeps_nothing_knows_the_calls_of_the_last_day(run: Run, take: Take) -> None:
    take(decided("one", asked=ASKED), ended(named("one"), None), kept="nothing")

    [call] = json.loads(run("why", "one", "--json").out)["calls"]
    assert (call["outcome"], call["rule"], call["from"]) == ("menu-not-ended", "asked", "+*********67")


@pytest.mark.parametrize("kept", ["hashes", "numbers"])
@pytest.mark.parametrize("number", ["0046 70 123 45 67", CALLEE])
def test_calls_are_found_by_number_and_time(run: Run, take: Take, kept: str, number: str) -> None:
    far = CallStart(at=after(minutes=11), from_=CALLER, to=CALLEE)
    take(
        *(recorded("two"), note("one", "no-rule", at=after(-9))),
        *(note("late", "no-rule", at=after(minutes=11)), note("other", "no-rule", from_="+1", to="+2")),
        requested(named("late-too"), at=far.at).model_copy(update={"call": far}),
        kept=kept,
    )

    calls = json.loads(run("why", "--number", number, *AT, "--json").out)["calls"]
    assert [each["callId"] for each in calls] == ["one", "two"]
    assert calls[0]["from"] == (None if kept == "hashes" else "+*********67")
    calls = json.loads(run("why", "--number", number, *AT, "--within", "5s", "--json").out)["calls"]
    assert [each["callId"] for each in calls] == ["two"]
    assert CALLER not in run("why", "--number", number, *AT).out


@pytest.mark.parametrize(
    ("kept", "says"), [("nothing", "set its parameter UnrecordedCalls"), ("hashes", "30 days ago")]
)
def test_an_unknown_call_says_what_that_means(run: Run, take: Take, kept: str, says: str) -> None:
    take(kept=kept)

    for words in (("why", "unknown"), ("why", "--number", CALLER, *AT)):
        printed = run(*words)
        assert (printed.code, printed.out) == (3, "")
        assert says in printed.err


def test_another_application_is_asked_only_without_a_choice(run: Run, take: Take) -> None:
    take(note("one", "no-rule", application_key="other"), note("one", "not-sampled", rule="some"))
    boto3.client("ssm").put_parameter(
        Name="/call-recorder/other/application-secrets", Value="another secret", Type="SecureString"
    )

    def outcomes(*words: str) -> list[str]:
        return [each["outcome"] for each in json.loads(run("why", "one", "--json", *words).out)["calls"]]

    assert outcomes() == ["not-sampled", "no-rule"]
    assert outcomes("--application", "other") == ["no-rule"]


@pytest.mark.parametrize(
    "words",
    [(), ("one", "--number", CALLER), ("--number", CALLER), ("one", *AT), ("--number", CALLER, "--at", "noon")],
)
def test_a_call_is_named_in_one_way(run: Run, take: Take, words: tuple[str, ...]) -> None:
    assert run("why", *words).code == 2


def test_without_the_key_numbers_cannot_be_looked_up(run: Run, take: Take) -> None:
    take(note("one", "no-rule"))
    boto3.client("ssm").delete_parameter(Name="/call-recorder/number-hash-key")

    printed = run("why", "--number", CALLER, *AT)
    assert printed.code == 1
    assert "number-hash-key: not there" in printed.err
    assert run("why", "one").code == 0


@pytest.mark.parametrize(
    ("operation", "error", "code", "says"),
    [
        (
            "BatchGetItem",
            "AccessDeniedException",
            4,
            "to BatchGetItem: ask for the stack's InvestigatorPolicy.",
        ),
        ("Query", "ThrottlingException", 5, "AWS limits the rate of Query"),
        ("GetParameter", "ExpiredTokenException", 4, "have expired"),
    ],
)
def test_an_error_of_aws_is_a_sentence(
    run: Run, take: Take, monkeypatch: pytest.MonkeyPatch, operation: str, error: str, code: int, says: str
) -> None:
    take(note("one", "no-rule"))
    call: Any = vars(BaseClient)["_make_api_call"]

    def refuse(client: BaseClient, name: str, parameters: Any) -> Any:
        if name == operation:
            raise ClientError({"Error": {"Code": error, "Message": "refused"}}, name)
        return call(client, name, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)

    printed = run("why", "--number", CALLER, *AT)
    assert (printed.code, printed.out) == (code, "")
    assert says in printed.err
