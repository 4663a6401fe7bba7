"""An unrecorded call leaves why it was not recorded, if the stack keeps that, and never a number in the clear."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters.number_hash_key import NUMBER_HASH_KEY, NumberHashKey
from call_recorder.facts.call_details import AskedConsent, AwaitedAnswer, CallStart, Consent
from call_recorder.facts.errors import ParametersUnavailable
from call_recorder.facts.facts import CallNotRecordedFact
from call_recorder.facts.messages import QueueMessage, read_message, write_message
from call_recorder.functions.notify import FactBatchHandler, compose
from call_recorder.tracking.unrecorded_call import UnrecordedCall
from tests import sinch
from tests.aws import ThroughBoto3
from tests.facts import CALL, ended, requested
from tests.facts import after as later
from tests.fakes import (
    BUCKET,
    RECORD_ALL,
    STORAGE_CREDENTIALS,
    Backend,
    Front,
    RecordedTelemetry,
    callback_settings,
)
from tests.profiles import AGREED, FROM_PHONE, HEADER, MENU, asking, profile, rule
from tests.sinch import ace, after, ice, pie
from tests.tables import PLACES, RECORDINGS, create
from tests.unit.processor_under_test import ProcessorUnderTest
from tests.unrecorded import HASH_KEY, KEPT, UNRECORDED, create_unrecorded, reader, writer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CALLER, CALLEE = "+46700000001", "+46700000009"
TO_NUMBER = ice("number", CALLEE)
ON_ANSWER = profile(rule(when={"toType": "number"}, start="answer"))
NOBODY = profile({"name": "nobody", "record": False})
REPHRASED = asking({**MENU, "accept": "2"})
UNROUTED = ice("did", "+12015550100")
NOT_CONNECTING = json.dumps({"action": {"name": "hangup"}})
BACKEND = {"upstream": {"url": "https://backend.example/sinch"}}
DAY = timedelta(days=1)

Body = dict[str, Any]


def front(rules: Body | str, *, credentials: str | None = STORAGE_CREDENTIALS, keeps: str = "on") -> Front:
    made = Front.of(rules, credentials=credentials)
    made.settings = callback_settings(KEEPS_UNRECORDED_CALLS=keeps)
    return made


def notes(front: Front) -> list[CallNotRecordedFact]:
    sent: list[Any] = list(front.facts.sent)
    return [fact for fact in sent if isinstance(fact, CallNotRecordedFact)]


def reason(note: CallNotRecordedFact) -> tuple[str, str, str | None]:
    return note.event, note.outcome, note.rule


@pytest.mark.parametrize(
    ("rules", "call", "outcome", "by_rule"),
    [
        (NOBODY, TO_NUMBER, "rule-says-no", "nobody"),
        (profile(rule(when={"toType": "sip"})), TO_NUMBER, "no-rule", None),
        (profile(rule("some", sample=0.0)), TO_NUMBER, "not-sampled", "some"),
        (profile(rule()), UNROUTED, "no-route", None),
        (profile(rule(), routes=[{"to": "*", "action": {"name": "hangup"}}]), UNROUTED, "hung-up", None),
        (asking(MENU), TO_NUMBER | {"domain": "mxp"}, "no-consent", "asked"),
        ("{", TO_NUMBER, "degraded", None),
    ],
)
def test_an_incoming_call_that_is_not_recorded_says_why(
    rules: Body | str, call: Body, outcome: str, by_rule: str | None
) -> None:
    called = front(rules)
    called(sinch.signed(call))

    [note] = notes(called)
    assert reason(note) == ("ice", outcome, by_rule)
    assert (note.call_id, note.from_, note.to, note.at) == (sinch.CALL, CALLER, call["to"]["endpoint"], sinch.NOW)
    assert note.verified
    assert bool(note.problem) is (outcome == "degraded")
    assert called.answer(call) == front(rules, keeps="off").answer(call)


def test_a_failed_backend_and_one_that_connects_nobody_are_told_apart() -> None:
    failing, connecting_nobody = front(NOBODY | BACKEND), front(NOBODY | BACKEND)
    connecting_nobody.upstream = Backend(NOT_CONNECTING)
    for each in (failing, connecting_nobody):
        each.answer(TO_NUMBER)

    found = [(note.outcome, note.problem) for each in (failing, connecting_nobody) for note in notes(each)]
    assert found == [("rule-says-no", "upstream: no answer in time"), ("not-recorded", None)]


@pytest.mark.parametrize(
    ("rules", "call"),
    [
        (RECORD_ALL, TO_NUMBER),
        (asking(MENU), TO_NUMBER),
        (ON_ANSWER, TO_NUMBER),
        (asking(HEADER), TO_NUMBER),
        (asking(HEADER), TO_NUMBER | {"callHeaders": AGREED}),
    ],
)
def test_a_call_with_an_item_of_its_own_leaves_nothing_else(rules: Body, call: Body) -> None:
    called = front(rules)
    called.answer(call)

    assert called.facts.sent
    assert not notes(called)


def test_nothing_is_sent_unless_the_stack_keeps_it() -> None:
    called = front(NOBODY, keeps="off")
    called.answer(TO_NUMBER)

    assert not called.facts.sent


@pytest.mark.parametrize(
    ("rules", "key", "expected"),
    [
        (asking(MENU), "2", []),
        (REPHRASED, "1", [("pie", "no-consent", "asked")]),
        ("{", "1", [("pie", "degraded", None)]),
        (profile(rule(when=FROM_PHONE)), "", [("pie", "no-consent", "asked")]),
    ],
)
def test_the_end_of_a_menu_says_why_it_does_not_record(rules: Body | str, key: str, expected: list[Any]) -> None:
    called = front(asking(MENU))
    menu = called.answer(TO_NUMBER)
    called.applications = front(rules).applications
    called.answer(after(menu, key))

    assert [reason(note) for note in notes(called)] == expected
    assert all(note.to == CALLEE for note in notes(called))


@pytest.mark.parametrize(
    ("rules", "down", "expected"),
    [
        (ON_ANSWER, False, []),
        (profile(*NOBODY["rules"], *ON_ANSWER["rules"]), False, [("ace", "continued", "asked", None, CALLER)]),
        (ON_ANSWER, True, [("ace", "continued", None, "BatchGetItem: ReadTimeoutError", None)]),
    ],
)
def test_an_answered_call_says_why_it_is_not_recorded(rules: Body, down: bool, expected: list[Any]) -> None:
    called = front(ON_ANSWER)
    called.answer(TO_NUMBER)
    called.applications, called.calls.down = front(rules).applications, down
    called.answer(ace())

    assert [(*reason(note), note.problem, note.from_) for note in notes(called)] == expected


def test_an_answer_to_a_call_that_no_rule_awaits_adds_nothing() -> None:
    called = front(profile(*NOBODY["rules"], *ON_ANSWER["rules"]))
    for body in (TO_NUMBER, ace(), pie("another system's")):
        called.answer(body)

    assert [note.event for note in notes(called)] == ["ice"]


def test_a_callback_that_may_be_forged_is_marked() -> None:
    called = front(RECORD_ALL)
    called.applications.down = True
    called(sinch.signed(TO_NUMBER, secret=sinch.PREVIOUS_SECRET))

    [note] = notes(called)
    assert (note.outcome, note.verified) == ("degraded", False)
    assert note.problem == "GetParameters: ConnectTimeoutError"


@pytest.mark.parametrize("call_id", [None, "x" * 129])
def test_a_call_without_a_usable_id_leaves_nothing(call_id: str | None) -> None:
    called = front(NOBODY)
    called.answer(TO_NUMBER | {"callid": call_id})

    assert not called.facts.sent


class Notify:
    """NotifyFunction with the table of unrecorded calls."""

    def __init__(self, client: DynamoDBClient, key: Any = lambda: HASH_KEY) -> None:
        self.client, self.behind = client, ProcessorUnderTest()
        self.handler = FactBatchHandler(self.behind.processor, RecordedTelemetry(), writer(client, key))

    def failed(self, *messages: QueueMessage) -> list[str]:
        records = [{"messageId": f"m{n}", "body": write_message(each)} for n, each in enumerate(messages)]
        return [each["itemIdentifier"] for each in self.handler({"Records": records})["batchItemFailures"]]

    def left(self, call_id: str = sinch.CALL, key: str = sinch.APPLICATION) -> list[UnrecordedCall]:
        return reader(self.client).find(key, call_id)


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb")
        create_unrecorded(client)
        yield client


def note(call_id: str = sinch.CALL, **fields: Any) -> CallNotRecordedFact:
    parts: dict[str, Any] = {"application_key": sinch.APPLICATION, "call_id": call_id, "at": sinch.NOW, "event": "ice"}
    parts |= {"outcome": "not-recorded", "from_": CALLER, "to": CALLEE, "to_type": "number"}
    return CallNotRecordedFact(**(parts | fields))


def stored(client: DynamoDBClient) -> list[dict[str, Any]]:
    return client.scan(TableName=UNRECORDED)["Items"]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_later_answer_to_a_callback_stays_in_any_order(client: DynamoDBClient, order: tuple[int, ...]) -> None:
    answers = [note(outcome=outcome, at=later(second)) for second, outcome in enumerate(["a", "b", "c"])]

    assert Notify(client).failed(*(answers[index] for index in order), answers[2]) == []

    assert [each.outcome for each in Notify(client).left()] == ["c"]


def test_a_forged_callback_replaces_no_verified_answer(client: DynamoDBClient) -> None:
    notify = Notify(client)
    notify.failed(note(outcome="not-sampled"), note(outcome="degraded", verified=False, at=later(9)))

    assert [(each.moment, each.outcome) for each in notify.left()] == [
        ("ice", "not-sampled"),
        ("unverified", "degraded"),
    ]


def test_an_answer_that_also_withdraws_an_earlier_one_does_both(client: DynamoDBClient) -> None:
    called, notify = front(ON_ANSWER), Notify(client)
    called.answer(TO_NUMBER)
    called.applications = front(profile(*NOBODY["rules"], *ON_ANSWER["rules"])).applications
    called.answer(TO_NUMBER)

    assert notify.failed(*called.facts.sent) == []

    recording = notify.behind.table.recording()
    assert recording.awaited_answer(sinch.CALL)
    assert recording.withdrawn == {sinch.CALL: sinch.NOW}
    assert [(each.outcome, each.rule) for each in notify.left()] == [("rule-says-no", "nobody")]


ASKED = AskedConsent(at=sinch.NOW, rule="asked", question="q")
DECLINED = Consent(at=later(3), kind="menu", rule="asked", outcome="declined")
AWAITED = AwaitedAnswer(at=later(5), rule="asked")


@pytest.mark.parametrize(
    ("parts", "result", "left"),
    [
        ({"asked": ASKED}, "N/A", [("menu-not-ended", sinch.NOW)]),
        ({"awaited": AWAITED}, "BUSY", [("not-answered", later(5))]),
        ({"asked": ASKED, "awaited": AWAITED}, None, [("not-answered", later(5))]),
        ({"asked": ASKED, "consent": DECLINED}, "N/A", []),
        ({"asked": ASKED, "awaited": AWAITED, "request": requested(CALL).request}, "BUSY", []),
        # It should have been recorded: it is missing, and its item is kept.
        ({"awaited": AWAITED}, "ANSWERED", []),
        ({"awaited": AWAITED.model_copy(update={"contested": True})}, "ANSWERED", [("contested", later(5))]),
    ],
)
@pytest.mark.parametrize("end_first", [False, True])
def test_a_call_that_ends_undecided_leaves_its_last_decision(
    client: DynamoDBClient, parts: Any, result: str | None, left: list[Any], end_first: bool
) -> None:
    start = CallStart(at=sinch.NOW, from_=CALLER, to=CALLEE)
    decision = requested(CALL).model_copy(update={"call": start, "request": None} | parts)
    facts: list[QueueMessage] = [decision, ended(CALL, result)]
    notify = Notify(client)
    for fact in reversed(facts) if end_first else facts:
        assert notify.failed(fact) == []

    found = notify.left(key="app")
    assert [(each.outcome, each.at) for each in found] == left
    assert all((each.moment, each.rule, each.result) == ("end", "asked", result) for each in found)
    assert reader(client).find_call_ids("app", CALLER, sinch.NOW, later(60)) == [sinch.CALL] * len(left)


def test_a_recorded_call_that_ends_leaves_nothing(client: DynamoDBClient) -> None:
    Notify(client).failed(requested(CALL), ended(CALL))

    assert stored(client) == []


def test_without_the_key_only_the_unrecorded_calls_wait(client: DynamoDBClient) -> None:
    def no_key() -> bytes:
        raise ParametersUnavailable("number-hash-key: not there; RotationFunction makes it")

    notify = Notify(client, no_key)

    assert notify.failed(requested(CALL), note("other")) == ["m1"]
    assert notify.behind.table.recording().status == "requested"


NUMBERS = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(caller=NUMBERS, callee=NUMBERS, result=NUMBERS | st.none())
def test_no_number_can_be_read_from_a_table_of_hashes(
    client: DynamoDBClient, caller: str, callee: str, result: str | None
) -> None:
    about = {"rule": f"not {caller}", "problem": f"no route for {callee}", "from_": caller, "to": callee}
    message = json.loads(write_message(note(**about))) | {"laterField": caller}
    undecided = requested(CALL).model_copy(
        update={"call": CallStart(at=sinch.NOW, from_=caller, to=callee), "request": None, "asked": ASKED}
    )
    Notify(client).failed(read_message(json.dumps(message)), undecided, ended(CALL, result))

    text = json.dumps(stored(client))
    for number in filter(None, (caller, callee, result)):
        for spelling in (number, number[1:], number[1:-2]):
            raw = spelling.encode()
            hidden = [hashlib.new(name, raw).hexdigest()[:16] for name in ("sha256", "sha1", "md5")]
            hidden += [raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-1], spelling[::-1]]
            assert not [each for each in (spelling, *hidden) if each in text]


@pytest.mark.parametrize("key", [lambda: HASH_KEY, None])
@pytest.mark.parametrize("number", [CALLER, "0046 70-000 00 01", "46(0)700000001", CALLEE, "46700000009"])
def test_a_call_is_found_by_both_numbers_however_written(client: DynamoDBClient, key: Any, number: str) -> None:
    Notify(client, key).failed(note(), note("late", at=later(61)), note("theirs", application_key="theirs"))
    found = reader(client, key)

    assert found.find_call_ids(sinch.APPLICATION, number, sinch.NOW, later(60)) == [sinch.CALL]
    assert found.find_call_ids(sinch.APPLICATION, f"{number}9", sinch.NOW, later(60)) == []
    assert [each.from_ for each in found.find(sinch.APPLICATION, sinch.CALL)] == [None if key else CALLER]


def test_calls_of_a_dialler_fill_no_partition(client: DynamoDBClient) -> None:
    calls = [note(f"call-{number}") for number in range(64)]
    for first in range(0, len(calls), 10):
        Notify(client).failed(*calls[first : first + 10])

    assert len({item["caller"]["S"] for item in stored(client)}) == 16
    assert len(reader(client).find_call_ids(sinch.APPLICATION, CALLER, sinch.NOW, sinch.NOW)) == 64
    assert {int(item["expiresAt"]["N"]) for item in stored(client)} == {int((sinch.NOW + KEPT).timestamp())}


def test_erasing_a_number_takes_whole_calls_and_no_others(client: DynamoDBClient) -> None:
    notify = Notify(client)
    notify.failed(note(), note(event="pie", from_=None), note("to-them", from_="+1", to=CALLER))
    notify.failed(note("others", from_="+2"), note("later", at=later(61)), note("theirs", application_key="theirs"))
    # Before the stack kept hashes, it kept the numbers.
    Notify(client, None).failed(note("former"))
    erase = reader(client)

    assert erase.erase(sinch.APPLICATION, CALLER, sinch.NOW, later(60)) == 3
    assert erase.erase(sinch.APPLICATION, CALLER, sinch.NOW, later(60)) == 0
    assert {item["callId"]["S"] for item in stored(client)} == {"others", "later", "theirs"}
    assert [erase.erase_call(sinch.APPLICATION, "others"), erase.erase_call(sinch.APPLICATION, "others")] == [1, 0]


def test_the_key_is_made_once_and_never_replaced() -> None:
    with mock_aws():
        ssm = boto3.client("ssm")
        key = NumberHashKey(ThroughBoto3(ssm), "call-recorder")
        with pytest.raises(ParametersUnavailable, match="^number-hash-key: not there; RotationFunction makes it$"):
            key.read()

        assert [key.make_if_absent(), key.make_if_absent()] == [True, False]

        [parameter] = ssm.describe_parameters()["Parameters"]
        assert (parameter["Name"], parameter["Type"]) == (f"/call-recorder/{NUMBER_HASH_KEY}", "SecureString")
        assert len(key.read()) == 32
        ssm.put_parameter(Name=parameter["Name"], Value="no Base64!", Overwrite=True)
        assert len(key.read()) == 32, "it is read once"
        with pytest.raises(ParametersUnavailable, match="^number-hash-key: not Base64$"):
            NumberHashKey(ThroughBoto3(ssm), "call-recorder").read()


def test_a_key_that_the_list_does_not_show_yet_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws():
        ssm = boto3.client("ssm")
        key = NumberHashKey(ThroughBoto3(ssm), "call-recorder")
        key.make_if_absent()
        before = key.read()
        monkeypatch.setattr(ssm, "describe_parameters", lambda **_: {"Parameters": []})

        assert not key.make_if_absent()
        assert NumberHashKey(ThroughBoto3(ssm), "call-recorder").read() == before


def test_notify_function_reads_the_key_when_it_first_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME"):
        monkeypatch.setenv(name, "call-recorder")
    environment = {
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "CUSTODY_TABLE": "custody",
        "RECORDINGS_BUS": "bus",
        "RETENTION_DAYS": "30",
        "RECORDINGS_BUCKET": BUCKET,
        "GRACE_SECONDS": "60",
        "LONGEST_CALL_SECONDS": "600",
        "UNRECORDED_CALLS": "hashes",
        "UNRECORDED_CALLS_TABLE": UNRECORDED,
        "PARAMETER_PREFIX": "calls",
    }
    with mock_aws():
        client = boto3.client("dynamodb")
        create(client)
        create_unrecorded(client)
        handler = compose(environment, clock=lambda: sinch.NOW)
        key = NumberHashKey(ThroughBoto3(boto3.client("ssm")), "calls")
        event = {"Records": [{"messageId": "m", "body": write_message(note())}]}

        assert handler(event)["batchItemFailures"] == [{"itemIdentifier": "m"}]
        key.make_if_absent()
        assert handler(event)["batchItemFailures"] == []
        assert reader(client, key.read).find_call_ids(sinch.APPLICATION, CALLER, sinch.NOW, sinch.NOW) == [sinch.CALL]
