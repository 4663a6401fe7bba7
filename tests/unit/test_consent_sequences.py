"""Capture never begins before consent is in, and no application meets the calls of another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any, cast

import pytest

from call_recorder.adapters.known_calls import KnownCalls
from call_recorder.adapters.operations import CallFailed
from call_recorder.answering.application import Application
from call_recorder.answering.consent import Announcement, ConsentMenu, HeaderConsent, MenuTicket
from call_recorder.answering.profile import RecordingProfile, Rule
from call_recorder.tracking.item_names import list_item_names
from local.simulator.menu import FIRST_MENUS
from tests import profiles, sinch
from tests.fakes import Applications, Backend, Calls, Front, InMemoryTables, Queue, RecordedTelemetry, application
from tests.svaml import assert_legal, captures, names
from tests.unit.processor_under_test import ProcessorUnderTest

PARTS = 4
SEQUENCES = 800
"""Sequences in each part. They are drawn from seeds, so that every run plays the same."""

APPLICATIONS = {"first": "c2VjcmV0IG9mIHRoZSBmaXJzdA==", "second": "c2VjcmV0IG9mIHRoZSBzZWNvbmQ="}
"""Secrets by application key."""

CALL_IDS = ["call-1", "call-2"]
DIALLED = ["+12015550100", "+12025550100"]
NUMBER = "+46700000002"
CALLED = [
    ("number", NUMBER),
    ("username", "alice"),
    ("sip", "bob@sip.example"),
    ("conference", "standup"),
    ("conference", "recorder-call-call-1"),
    *(("did", number) for number in DIALLED),
]
ENDS = [*["return"] * 4, "Return", "timeout", "hangup", "invalidinput", "error", "sequence"]
PROMPTS = ["This call is recorded.", "May we record? Press a key."]
ORIGINS = ["pstn", "PSTN", "mxp", "MXP", "sip", None]
UPSTREAM_ANSWERS = [
    '{"action": {"name": "connectPstn", "number": "+46700000003", "leg": {"x": 1}}}',
    '{"instructions": [{"name": "say", "text": "Hello"}], "action": {"name": "ConnectMXP", "destination": {}}}',
    '{"action": {"name": "connectConf", "conferenceId": "standup"}}',
    '{"action": {"name": "connectConf", "conferenceId": "recorder-call-call-1"}}',
    '{"action": {"name": "connectConf", "conferenceId": 7}}',
    '{"action": {"name": "runMenu", "menus": []}}',
    '{"action": {"name": "hangup"}}',
    '{"action": {"name": "park"}}',
    '{"action": {}}',
    "not JSON",
    None,
]

ACTIONS = [profiles.PSTN_ACTION, profiles.SIP_ACTION, profiles.MXP_ACTION, profiles.CONF_ACTION, {"name": "hangup"}]
CONDITIONS: dict[str, list[Any]] = {
    "originationType": [["pstn", "sip"], "pstn", "mxp"],
    "domain": ["pstn", "mxp"],
    "toType": ["number", "did", "username", ["number", "sip"], ["number", "did"]],
    "to": ["+1201*", "+46*", "*"],
    "conference": ["standup", "*"],
}


def random_profile(random: Random) -> dict[str, Any]:
    """Return a profile that is taken: rules that are refused with its routes are left out."""
    routes = [
        {"to": random.choice(["+1201*", "+1202*", "*"]), "action": random.choice(ACTIONS)}
        for _ in range(random.randint(0, 2))
    ]
    upstream = {"upstream": {"url": "https://voice.example/callbacks"}} if random.random() < 0.3 else {}
    rules: list[dict[str, Any]] = []
    while len(rules) < 2 and random.random() < 0.95:
        rule = random_rule(random, f"rule {len(rules)}")
        with suppress(ValueError):
            RecordingProfile.parse(json.dumps({"rules": [rule], "routes": routes} | upstream))
            rules.append(rule)
    return {"rules": rules, "routes": routes} | upstream


def random_rule(random: Random, name: str) -> dict[str, Any]:
    # Rules for what phones do are mostly taken, and mostly met.
    when: dict[str, Any] = {"originationType": ["pstn", "sip"], "toType": random.choice(["number", "number", "did"])}
    if random.random() < 0.3:
        when = {condition: random.choice(values) for condition, values in CONDITIONS.items() if random.random() < 0.3}
    if random.random() < 0.1:
        return {"name": name, "when": when, "record": False}
    prompt = {"text": random.choice(PROMPTS)}
    by_conference = random.random() < 0.5
    menu = {"kind": "menu", "prompt": prompt, "accept": random.choice("12"), "usernameByConference": by_conference}
    consent = random.choice([None, {"kind": "announcement", "prompt": prompt}, menu, menu, profiles.HEADER])
    start, sample = random.choice(["connect", "answer", "answer"]), random.choice([1, 1, 1, 0.5])
    rule = {"name": name, "when": when, "record": True, "start": start, "sample": sample}
    return rule | ({"consent": consent} if consent else {})


class Client:
    """DynamoDB's one call that CallbackFunction makes, over a table in memory."""

    def __init__(self, table: InMemoryTables) -> None:
        self._table = table
        self.down = False

    def preconnect(self) -> None:
        """Connect to nothing."""

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "BatchGetItem"
        if self.down:
            raise CallFailed(operation, "TimeoutError")
        [(name, wanted)] = parameters["RequestItems"].items()
        ids = [key["recordingId"]["S"] for key in wanted["Keys"]]
        items = [self._table.items[each] for each in ids if each in self._table.items]
        return {"Responses": {name: items}, "UnprocessedKeys": {}}


@dataclass(frozen=True)
class Given:
    """An answer to an ICE or a PIE, and what the caller or the app has said by then: all the sources of consent.

    ``kept`` is whether there was anything to remember, ``menu`` the answer itself if it plays one.
    """

    at: datetime
    outcome: str
    rule: str | None
    said: frozenset[str]
    headers: frozenset[str]
    agreed: frozenset[tuple[str, str]]
    kept: bool
    menu: dict[str, Any] | None

    def lets(self, rule: Rule) -> bool:
        """Tell whether a call that got this answer may be recorded when the callee answers, under a rule."""
        if (self.outcome, self.rule) != ("answer-awaited", rule.name):
            return False
        match rule.consent:
            case Announcement(prompt=prompt):
                return prompt.content in self.said
            case HeaderConsent():
                return "yes" in self.headers
            case ConsentMenu(prompt=prompt, accept=accept):
                return (prompt.content, accept) in self.agreed
            case _:
                return True


@dataclass
class Call:
    """One call as Sinch and the caller know it.

    Attributes:
        answers: its answers so far, lost ones too.
        lost: whether the last answer was lost, so that Sinch asks again, or gives the call up.
        memory: which start of which environment gave the last answer.
        ended_menu: whether a menu of it has ended.
    """

    key: str
    id: str
    answers: list[Given] = field(default_factory=list)
    lost: bool = False
    memory: object = None
    ended_menu: bool = False


class Calling:
    """Callbacks of two applications' calls, in any order and to any of two environments.

    Each answer is checked against all earlier answers of the call, and most of all against the one that Sinch obeys.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.first_menu = random.choice(FIRST_MENUS)
        self.applications: dict[str, Application] = {}
        self.put_before: dict[str, list[dict[str, Any] | str]] = {key: [] for key in APPLICATIONS}
        self.processor = ProcessorUnderTest()
        self.clock, self.table = self.processor.clock, self.processor.table
        self.client = Client(self.table)
        self.queue, self.backend = Queue(), Backend()
        self.processed = 0
        self.calls = {(key, id_): Call(key, id_) for key in APPLICATIONS for id_ in CALL_IDS}
        self.played: list[dict[str, Any]] = []
        self.questions: dict[str, tuple[str, str]] = {}
        self.past: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = RecordedTelemetry()
        self.reached: Counter[tuple[str, ...]] = Counter()
        for key in APPLICATIONS:
            self.put(key)
        self.environments = [self.new_environment() for _ in range(2)]

    def play(self) -> None:
        """Let some things happen, mostly whole calls."""
        for _ in range(self.random.randint(2, 6)):
            self.random.choice([self.whole_call, self.whole_call, self.anything])()
        self.process_facts()
        for recording_id, item in self.table.items.items():
            [other] = APPLICATIONS.keys() - {item["applicationKey"]["S"]}
            assert other not in json.dumps(item), recording_id
        for event in self.processor.bus.out:
            assert ("first" in event.detail()) != ("second" in event.detail())

    def whole_call(self) -> None:
        """Play what mostly happens, so that much of what follows it is reached, with something in between."""
        call = self.any_call()
        if self.random.random() < 0.7:
            self.client.down = self.queue.down = False
            for environment in self.environments:
                environment.applications.down = False
        to = self.random.choice([*[("number", NUMBER)] * 3, *(("did", number) for number in DIALLED)])
        self.until_answered(call, lambda: self.ice(call, to, "pstn", "pstn"))
        menu = call.answers[-1].menu if call.answers else None
        if menu:
            ends = ["1", "1", "1", "2", "2", "", "hangup"]
            self.until_answered(call, lambda: self.press(call, menu, self.random.choice(ends)))
        self.send_and_check(call, sinch.ace())
        self.perhaps(call.key)

    def until_answered(self, call: Call, ask: Callable[[], None]) -> None:
        """Ask, and ask again while the answer gets lost, with something in between; Sinch gives up at some time."""
        ask()
        self.perhaps(call.key)
        while call.lost and self.random.random() < 0.8:
            ask()
            self.perhaps(call.key)

    def perhaps(self, key: str) -> None:
        while self.random.random() < 0.5:
            happens: list[Callable[[], None]] = [self.forget, self.turn_service, self.anything, lambda: self.put(key)]
            self.random.choice([*happens, self.process_facts, self.process_facts])()

    def anything(self) -> None:
        call = self.any_call()
        dice = sinch.dice(callid=call.id, applicationKey=call.key)
        self.random.choice(
            [
                lambda: self.ice(call, self.random.choice(CALLED), *self.random.choices(ORIGINS, k=2)),
                lambda: self.pie(call),
                lambda: self.send_and_check(call, sinch.ace()),
                lambda: self.send(self.environments[0], call.key, dice),
                *(self.replay, self.forget, self.process_facts),
                *(lambda: self.put(call.key), *[self.turn_service] * 3),
            ]
        )()

    def any_call(self) -> Call:
        return self.random.choice(list(self.calls.values()))

    def put(self, key: str) -> None:
        """Put a profile, perhaps in the middle of calls, perhaps one that was there before, perhaps a broken one."""
        before = self.put_before[key]
        again = self.random.random() < 0.4 and before
        profile = self.random.choice(before) if again else random_profile(self.random)
        profile = "{" if self.random.random() < 0.05 else profile
        before.append(profile)
        credentials = f"KEYOF{key.upper()}:SECRET:eu-west-1"
        self.applications[key] = application(profile, key=key, secrets=APPLICATIONS[key], credentials=credentials)

    def written(self, key: str) -> RecordingProfile:
        """Return the profile in force; a broken one has no rules."""
        recorder = self.applications[key].recorder
        return recorder.profile if recorder else RecordingProfile()

    def new_environment(self) -> Front:
        """Return an environment of CallbackFunction that has just started, with its own way to SSM and memory."""
        applications = Applications()
        applications.known = self.applications
        calls = cast("Calls", KnownCalls(self.client, "recordings"))
        front = Front(applications, facts=self.queue, notifications=self.queue, calls=calls, upstream=self.backend)
        return replace(front, telemetry=self.telemetry, clock=self.clock)

    def forget(self) -> None:
        """Continue in an environment that has just started."""
        number = self.random.randrange(len(self.environments))
        down, self.environments[number] = self.environments[number].applications.down, self.new_environment()
        self.environments[number].applications.down = down

    def turn_service(self) -> None:
        """Break SSM for one environment, the table or the queue, or repair it."""
        ssm = self.random.choice(self.environments).applications
        services: list[Applications | Client | Queue] = [ssm, self.client, self.queue]
        service = self.random.choice(services)
        service.down = not service.down

    def process_facts(self) -> None:
        """Bring what is in the queue into the table."""
        facts = self.queue.sent[self.processed :]
        self.processed = len(self.queue.sent)
        self.processor.take(*facts)

    def ice(self, call: Call, to: tuple[str, str], domain: str | None, origin: str | None) -> None:
        header = self.random.choice(["yes", "yes", "no", None])
        headers = [{"key": "recording-consent", "value": header}] if header else []
        self.send_and_check(call, sinch.ice(*to, domain=domain, originationType=origin, callHeaders=headers))

    def press(self, call: Call, menu: dict[str, Any], entry: str) -> None:
        self.send_and_check(call, sinch.after(menu, entry, first_menu=self.first_menu))

    def pie(self, call: Call) -> None:
        """End a menu that was played, perhaps to another; or bring a ticket that nobody was given, or none."""
        ended = self.random.choice(ENDS)
        if self.played and self.random.random() < 0.7:
            pressed = sinch.after(self.random.choice(self.played[-3:]), self.random.choice("1122#"))
            self.send_and_check(call, pressed | {"menuResult": pressed["menuResult"] | {"type": ended}})
        else:
            ticket = MenuTicket(self.random.choice(["rule 0", "rule 1"]), "00000000", *self.random.choice(CALLED))
            value = self.random.choice([ticket.value(self.random.choice("12")), "key.1", "key.1.garbled", None])
            self.send_and_check(call, sinch.pie(value, type=ended))

    def replay(self) -> None:
        if self.past:
            key, body = self.random.choice(self.past)
            self.send_and_check(self.calls[key, body["callid"]], body)

    def send(self, environment: Front, key: str, body: dict[str, Any]) -> dict[str, Any]:
        signed = sinch.signed(body, key=key, secret=APPLICATIONS[key], timestamp=sinch.stamp(self.clock.now))
        return environment(signed)

    def send_and_check(self, call: Call, body: dict[str, Any]) -> None:
        """Send a callback that is answered, and check the answer against all earlier ones of the call."""
        event, key = body["event"], call.key
        if event == "ace" and call.lost:
            return  # Without an answer to obey, Sinch has called nobody.
        environment = self.random.choice(self.environments)
        verified = not environment.applications.down
        # Sinch's times are whole seconds. It begins no call, and plays no menu, in the second in which one ended.
        self.clock.advance(self.random.choice([0, 1, 2]) if event != "ice" or not call.ended_menu else 1)
        upstream = self.random.choice([*UPSTREAM_ANSWERS, *UPSTREAM_ANSWERS[:2] * 4])
        body = body | {"callid": call.id, "applicationKey": key}
        self.past.append((key, body))
        self.backend.text = upstream
        queued, failed = len(self.queue.sent), self.telemetry.counts["FactsNotQueued"]
        response = self.send(environment, key, body)
        if not verified and event != "ice":
            assert response["statusCode"] == 503
            return
        assert response["statusCode"] == 200
        answer = json.loads(response["body"])
        asked_upstream = verified and self.written(key).upstream is not None
        foreign = asked_upstream and upstream is not None and '"name"' in upstream
        if not foreign:
            assert_legal(event, answer)
            self.remember_menus(answer, body)
        kept = (len(self.queue.sent), self.telemetry.counts["FactsNotQueued"]) != (queued, failed)
        # A decision that may be stored somewhere is made known everywhere, or taken back. Other answers need not be.
        must_be_kept = not verified or not self.applications[key].recorder or self.written(key).records_on_answer
        assert kept or event == "ace" or not must_be_kept
        given = self.given(event, body, answer, kept=kept)
        if captures(answer):
            assert verified
            rule = self.check_capture(key, event, body, answer, given)
            if event == "ace":
                self.check_obeyed(call, rule, environment)
            kind = rule.consent.kind if rule.consent else "none"
            self.reached[event, kind, "upstream" if foreign else "profile"] += 1
        elif event == "ace" and call.answers and self.can_know_the_last_answer(call, environment):
            awaited = any(each.outcome == "answer-awaited" for each in call.answers[:-1])
            self.reached["taken back",] += awaited and call.answers[-1].outcome != "answer-awaited"
        if event != "ace":
            call.answers.append(given)
            call.lost = self.random.random() < 0.3
            call.memory = environment
            call.ended_menu |= event == "pie"

    def given(self, event: str, body: dict[str, Any], answer: dict[str, Any], *, kept: bool) -> Given:
        line = self.telemetry.lines[-1].fields
        result = body.get("menuResult", {})
        value = result.get("value") or ""
        question = self.questions.get(value)
        returned = event == "pie" and str(result["type"]).lower() == "return"
        agreed = returned and question is not None and value.startswith(f"key.{question[1]}.")
        return Given(
            at=self.clock.now,
            outcome=line["outcome"],
            rule=line["rule"],
            said=frozenset(each["text"] for each in answer.get("instructions", []) if each["name"] == "say"),
            headers=frozenset(each["value"] for each in body.get("callHeaders", [])),
            agreed=frozenset({question} if question and agreed else ()),
            kept=kept,
            menu=answer if answer["action"]["name"] == "runMenu" and answer["action"].get("menus") else None,
        )

    def remember_menus(self, answer: dict[str, Any], body: dict[str, Any]) -> None:
        if answer["action"]["name"] == "runMenu":
            assert "mxp" not in f"{body['domain']}{body['originationType']}".lower(), "no PIE follows in an in-app call"
            asked = self.written(body["applicationKey"]).rule(self.telemetry.lines[-1].fields["rule"])
            assert asked is not None
            assert isinstance(asked.consent, ConsentMenu)
            self.played.append(answer)
            for option in (option for menu in answer["action"]["menus"] for option in menu["options"]):
                value = option["action"].removeprefix("return(").removesuffix(")")
                self.questions[value] = (asked.consent.prompt.content, asked.consent.accept)

    def check_capture(self, key: str, event: str, body: dict[str, Any], answer: dict[str, Any], given: Given) -> Rule:
        """Check that a rule in force records, and that consent is in if it records at once; return the rule."""
        assert f"KEYOF{key.upper()}:" in json.dumps(answer)
        decided = self.written(key).rule(given.rule or "")
        assert decided is not None
        assert decided.record
        assert decided.start == ("answer" if event == "ace" else "connect")
        conference = answer["action"].get("conferenceId")
        kind = decided.consent.kind if decided.consent else "none"
        match event:
            case "ace":
                assert names(answer) == ["startRecording"]
                assert answer["action"] == {"name": "continue"}
            case "pie":
                assert kind == "menu"
                assert conference in (None, f"recorder-call-{body['callid']}")
            case _:
                assert kind != "menu"
                assert not (conference or "").startswith("recorder-call-")
                assert kind != "header" or conference is None, "whoever declined may be in it"
        # Consent that would let the call be recorded when it is answered lets it be recorded at once.
        assert event == "ace" or replace(given, outcome="answer-awaited").lets(decided)
        return decided

    def check_obeyed(self, call: Call, rule: Rule, environment: Front) -> None:
        """Check that the answer which Sinch obeys lets the call be recorded, and that its proof is on the item."""
        *earlier, obeyed = call.answers
        if not self.can_know_the_last_answer(call, environment):
            # The fact of that answer is still in the queue, or got lost. Some answer must have been given that lets it.
            assert any(given.lets(rule) for given in call.answers)
            return
        assert obeyed.lets(rule), "Sinch obeys another answer"
        self.reached["decided anew",] += any(given.outcome == "answer-awaited" for given in earlier)
        # Of two proofs of one second, either may be kept.
        if rule.consent is None or self.queue.down or any(given.at == obeyed.at for given in earlier):
            return
        # The same call may also be recorded as a conference, by an answer that was lost.
        recorded = self.queue.sent[-1].recording_id
        self.process_facts()
        [proof] = [
            recording.consents[call.id]
            for recording in map(self.table.recording, self.table.items)
            if recording.application_key == call.key and recording.recording_id in list_item_names(recorded, call.key)
        ]
        assert (proof.kind, proof.rule, proof.at) == (rule.consent.kind, rule.name, obeyed.at)
        assert proof.given
        if rule.consent.kind != "header":
            assert proof.prompt == rule.consent.prompt.content
        self.reached["proof", rule.consent.kind] += 1

    def can_know_the_last_answer(self, call: Call, environment: Front) -> bool:
        """Tell whether an environment can know it: from its own memory, or from the table."""
        obeyed = call.answers[-1]
        if obeyed.kept and call.memory is environment:
            return True
        for recording in map(self.table.recording, self.table.items):
            if recording.application_key == call.key:
                asked, awaited = recording.asked.get(call.id), recording.awaited.get(call.id)
                times = {"consent-asked": asked and asked.at, "answer-awaited": awaited and awaited.at}
                if times.get(obeyed.outcome, recording.withdrawn.get(call.id)) == obeyed.at:
                    return True
        return False


@pytest.mark.parametrize("part", range(PARTS))
def test_capture_never_begins_before_consent_is_in(part: int) -> None:
    reached: Counter[tuple[str, ...]] = Counter()
    for number in range(SEQUENCES):
        calling = Calling(Random(f"{part} {number}"))
        try:
            calling.play()
        except AssertionError as error:
            error.add_note(f"Sequence {number}. The last callbacks: {json.dumps(calling.past[-6:], indent=1)}")
            raise
        reached += calling.reached

    kinds = ("none", "announcement", "header")
    for capture in (
        *(("ice", kind, answered_by) for kind in kinds for answered_by in ("profile", "upstream")),
        *(("ace", kind, "profile") for kind in (*kinds, "menu")),
        ("pie", "menu", "profile"),
        *(("proof", kind) for kind in ("announcement", "header", "menu")),
        *(("taken back",), ("decided anew",)),
    ):
        assert reached[capture] >= 5, f"too few of {capture} were tried to show anything"
