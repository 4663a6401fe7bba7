"""In no reachable state does capture begin before consent is in, and no application meets another's calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any

import pytest

from call_recorder.adapters.known_calls import KnownCalls
from call_recorder.adapters.operations import CallFailed
from call_recorder.answering.application import Application
from call_recorder.answering.consent import (
    Announcement,
    ConsentMenu,
    HeaderConsent,
    MenuTicket,
)
from call_recorder.answering.profile import (
    RecordingProfile,
    Rule,
)
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.tracking.fact_processor import Delivery
from local.simulator.menu import FIRST_MENUS, FirstMenu
from tests import profiles, sinch
from tests.fakes import (
    Applications,
    Backend,
    Bus,
    Clock,
    InMemoryTables,
    Queue,
    RecordedTelemetry,
    application,
    callback_settings,
    new_processor,
)
from tests.svaml import assert_legal, captures, names

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

ACTIONS = [
    profiles.PSTN_ACTION,
    profiles.SIP_ACTION,
    profiles.MXP_ACTION,
    profiles.CONF_ACTION,
    {"name": "hangup"},
]
CONDITIONS: dict[str, list[Any]] = {
    "originationType": [["pstn", "sip"], "pstn", "mxp"],
    "domain": ["pstn", "mxp"],
    "toType": ["number", "did", "username", ["number", "sip"], ["number", "did"]],
    "to": ["+1201*", "+46*", "*"],
    "conference": ["standup", "*"],
}


def random_profile(random: Random) -> dict[str, Any]:
    """Return a profile that is taken: rules that are refused with its routes are left out."""
    parts: dict[str, Any] = {
        "routes": [
            {"to": random.choice(["+1201*", "+1202*", "*"]), "action": random.choice(ACTIONS)}
            for _ in range(random.randint(0, 2))
        ]
    }
    if random.random() < 0.3:
        parts["upstream"] = {"url": "https://voice.example/callbacks"}
    rules: list[dict[str, Any]] = []
    while len(rules) < 2 and random.random() < 0.95:
        made = random_rule(random, f"rule {len(rules)}")
        if taken({"rules": [made]} | parts):
            rules.append(made)
    return {"rules": rules} | parts


def random_rule(random: Random, name: str) -> dict[str, Any]:
    # Rules for what phones do are mostly taken, and mostly met.
    when: dict[str, Any] = {"originationType": ["pstn", "sip"], "toType": random.choice(["number", "number", "did"])}
    if random.random() < 0.3:
        when = {condition: random.choice(values) for condition, values in CONDITIONS.items() if random.random() < 0.3}
    if random.random() < 0.1:
        return {"name": name, "when": when, "record": False}
    rule = {"name": name, "when": when, "record": True} | random_consent(random)
    return rule | {"start": random.choice(["connect", "answer", "answer"]), "sample": random.choice([1, 1, 1, 0.5])}


def random_consent(random: Random) -> dict[str, Any]:
    prompt = {"text": random.choice(PROMPTS)}
    by_conference = random.random() < 0.5
    menu = {"kind": "menu", "prompt": prompt, "accept": random.choice("12"), "usernameByConference": by_conference}
    announcement = {"kind": "announcement", "prompt": prompt}
    consent = random.choice([None, announcement, menu, menu, profiles.HEADER])
    return {"consent": consent} if consent else {}


def taken(profile: dict[str, Any]) -> bool:
    try:
        RecordingProfile.parse(json.dumps(profile))
    except ValueError:
        return False
    return True


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
        return {
            "Responses": {name: [self._table.items[each] for each in ids if each in self._table.items]},
            "UnprocessedKeys": {},
        }


@dataclass(frozen=True)
class Told:
    """An answer to an ICE or a PIE, and what the caller or the app has said by then: all that consent can come from.

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
        """Tell whether a call that got this answer may be recorded from its own answer, under a rule."""
        if (self.outcome, self.rule) != ("answer-awaited", rule.name):
            return False
        match rule.consent:
            case Announcement(prompt=prompt):
                return prompt.said in self.said
            case HeaderConsent():
                return "yes" in self.headers
            case ConsentMenu(prompt=prompt, accept=accept):
                return (prompt.said, accept) in self.agreed
            case _:
                return True


@dataclass
class Heard:
    """One call as Sinch and the caller have it.

    Attributes:
        told: its answers so far, lost ones too.
        lost: whether the last answer was lost, so that Sinch asks again, or gives the call up.
        memory: which start of which environment gave the last answer.
        ended_menu: whether a menu of it has ended.
    """

    told: list[Told] = field(default_factory=list)
    lost: bool = False
    memory: object = None
    ended_menu: bool = False


class Environment:
    """One environment of CallbackFunction, with its own way to SSM and a memory of its own."""

    def __init__(self, calling: Calling) -> None:
        self.applications = Applications()
        self.applications.known = calling.applications
        self._calling = calling
        self.start()

    def start(self) -> None:
        """Start afresh, with nothing in memory."""
        calling = self._calling
        self.door = CallbackHandler(
            callback_settings(),
            applications=self.applications,
            queue=calling.queue,
            calls=KnownCalls(calling.client, "recordings"),
            upstream=calling.backend,
            telemetry=calling.telemetry,
            clock=calling.clock,
        )


class Calling:
    """Callbacks of two applications' calls, in any order and to any of two environments.

    Each answer is checked against what was heard before in the call, and most of all in the answer that Sinch obeys.
    """

    def __init__(self, random: Random, first_menu: FirstMenu) -> None:
        self.random, self.first_menu = random, first_menu
        self.applications: dict[str, Application] = {}
        self.put_before: dict[str, list[dict[str, Any] | str]] = {key: [] for key in APPLICATIONS}
        self.clock = Clock()
        self.table, self.bus = InMemoryTables(), Bus()
        self.client = Client(self.table)
        self.queue, self.backend = Queue(), Backend()
        self.drained = 0
        self.heard: dict[tuple[str, str], Heard] = {}
        self.played: list[dict[str, Any]] = []
        self.questions: dict[str, tuple[str, str]] = {}
        self.past: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = RecordedTelemetry()
        self.reached: Counter[tuple[str, ...]] = Counter()
        for key in APPLICATIONS:
            self.put(key)
        self.environments = [Environment(self), Environment(self)]

    def play(self, executor: Executor) -> None:
        """Let some things happen, mostly whole calls."""
        self.processor = new_processor(self.table, self.bus, executor, self.clock)
        for _ in range(self.random.randint(2, 6)):
            self.random.choice([self.whole_call, self.whole_call, self.anything])()
        self.keep_the_books()

    def whole_call(self) -> None:
        """Play what mostly happens, so that much of what follows it is reached, with something in between."""
        key, call_id = self.any_key(), self.any_call()
        heard = self.heard.setdefault((key, call_id), Heard())
        if self.random.random() < 0.7:
            self.find_everything()
        to = self.random.choice([*[("number", NUMBER)] * 3, *(("did", number) for number in DIALLED)])
        self.until_answered(heard, key, lambda: self.ice(key, call_id, to, "pstn", "pstn"))
        menu = heard.told[-1].menu if heard.told else None
        if menu:
            ends = ["1", "1", "1", "2", "2", "", "hangup"]
            self.until_answered(heard, key, lambda: self.press(key, call_id, menu, self.random.choice(ends)))
        self.call(key, call_id, sinch.ace())
        self.perhaps(key)

    def until_answered(self, heard: Heard, key: str, ask: Callable[[], None]) -> None:
        """Ask, and ask again while the answer gets lost, with something in between; Sinch gives up at some time."""
        ask()
        self.perhaps(key)
        while heard.lost and self.random.random() < 0.8:
            ask()
            self.perhaps(key)

    def perhaps(self, key: str) -> None:
        while self.random.random() < 0.5:
            self.random.choice(
                [
                    self.forget,
                    self.keep_the_books,
                    self.keep_the_books,
                    lambda: self.put(key),
                    self.lose_or_find_ssm,
                    self.anything,
                ]
            )()

    def anything(self) -> None:
        key, call_id = self.any_key(), self.any_call()
        self.random.choice(
            [
                lambda: self.ice(key, call_id, self.random.choice(CALLED), *self.random.choices(ORIGINS, k=2)),
                lambda: self.pie(key, call_id),
                lambda: self.call(key, call_id, sinch.ace()),
                lambda: self.send(self.environments[0], key, sinch.dice(callid=call_id, applicationKey=key)),
                self.replay,
                self.speak_for_the_other,
                self.forget,
                self.keep_the_books,
                lambda: self.put(key),
                self.lose_or_find_ssm,
                self.lose_or_find_the_table,
                self.lose_or_find_the_queue,
            ]
        )()

    def any_key(self) -> str:
        return self.random.choice(list(APPLICATIONS))

    def any_call(self) -> str:
        return self.random.choice(CALL_IDS)

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

    def forget(self) -> None:
        """Go on in an environment that has just started."""
        self.random.choice(self.environments).start()

    def find_everything(self) -> None:
        self.client.down = self.queue.down = False
        for environment in self.environments:
            environment.applications.down = False

    def lose_or_find_ssm(self) -> None:
        applications = self.random.choice(self.environments).applications
        applications.down = not applications.down

    def lose_or_find_the_table(self) -> None:
        self.client.down = not self.client.down

    def lose_or_find_the_queue(self) -> None:
        self.queue.down = not self.queue.down

    def keep_the_books(self) -> None:
        """Take what is in the queue into the table."""
        facts = self.queue.sent[self.drained :]
        self.drained = len(self.queue.sent)
        report = self.processor.process([Delivery(str(number), fact) for number, fact in enumerate(facts)])
        assert not report.failed

    def ice(self, key: str, call_id: str, to: tuple[str, str], domain: str | None, origin: str | None) -> None:
        header = self.random.choice(["yes", "yes", "no", None])
        headers = [{"key": "recording-consent", "value": header}] if header else []
        self.call(key, call_id, sinch.ice(*to, domain=domain, originationType=origin, callHeaders=headers))

    def press(self, key: str, call_id: str, menu: dict[str, Any], entry: str) -> None:
        self.call(key, call_id, sinch.after(menu, entry, first_menu=self.first_menu))

    def pie(self, key: str, call_id: str) -> None:
        """End a menu that was played, perhaps to another; or bring a ticket that nobody was given, or none."""
        ended = self.random.choice(ENDS)
        if self.played and self.random.random() < 0.7:
            pressed = sinch.after(self.random.choice(self.played[-3:]), self.random.choice("1122#"))
            self.call(key, call_id, pressed | {"menuResult": pressed["menuResult"] | {"type": ended}})
        else:
            ticket = MenuTicket(self.random.choice(["rule 0", "rule 1"]), "00000000", *self.random.choice(CALLED))
            value = self.random.choice([ticket.value(self.random.choice("12")), "key.1", "key.1.garbled", None])
            self.call(key, call_id, sinch.pie(value, type=ended))

    def replay(self) -> None:
        if self.past:
            key, body = self.random.choice(self.past)
            self.call(key, body["callid"], body)

    def speak_for_the_other(self) -> None:
        """Sign as one application what names the other: refused, or not looked at while nobody can be verified."""
        if self.past:
            key, body = self.random.choice(self.past)
            [other] = APPLICATIONS.keys() - {key}
            environment = self.random.choice(self.environments)
            if not environment.applications.down:
                assert self.send(environment, other, body)["statusCode"] == 401

    def send(self, environment: Environment, key: str, body: dict[str, Any]) -> dict[str, Any]:
        signed = sinch.signed(body, key=key, secret=APPLICATIONS[key], timestamp=sinch.stamp(self.clock.now))
        return environment.door(signed)

    def call(self, key: str, call_id: str, body: dict[str, Any]) -> None:
        """Send a callback that is answered, and check the answer against all that was heard in the call."""
        event, heard = body["event"], self.heard.setdefault((key, call_id), Heard())
        if event == "ace" and heard.lost:
            return  # Without an answer to obey, Sinch has called nobody.
        environment = self.random.choice(self.environments)
        verified = not environment.applications.down
        # Sinch's times are whole seconds. It begins no call, and plays no menu, in the second in which one ended.
        self.clock.advance(self.random.choice([0, 1, 2]) if event != "ice" or not heard.ended_menu else 1)
        upstream = self.random.choice([*UPSTREAM_ANSWERS, *UPSTREAM_ANSWERS[:2] * 4])
        body = body | {"callid": call_id, "applicationKey": key}
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
        # A decision that may stand somewhere is heard of everywhere, or taken back. Else nobody need hear of an answer.
        must_be_kept = not verified or not self.applications[key].recorder or self.written(key).records_on_answer
        assert kept or event == "ace" or not must_be_kept
        told = self.told(event, body, answer, kept=kept)
        if captures(answer):
            assert verified
            rule = self.check_capture(key, event, body, answer, told)
            if event == "ace":
                self.check_obeyed(key, call_id, rule, heard, environment)
            kind = rule.consent.kind if rule.consent else "none"
            self.reached[event, kind, "upstream" if foreign else "profile"] += 1
        elif event == "ace" and heard.told and self.told_everywhere(key, call_id, heard, environment):
            awaited = any(each.outcome == "answer-awaited" for each in heard.told[:-1])
            self.reached["taken back",] += awaited and heard.told[-1].outcome != "answer-awaited"
        if event != "ace":
            heard.told.append(told)
            heard.lost = self.random.random() < 0.3
            heard.memory = environment.door
            heard.ended_menu |= event == "pie"

    def told(self, event: str, body: dict[str, Any], answer: dict[str, Any], *, kept: bool) -> Told:
        line = self.telemetry.lines[-1].fields
        result = body.get("menuResult", {})
        agreed = event == "pie" and str(result["type"]).lower() == "return" and self.agreed(result.get("value"))
        return Told(
            at=self.clock.now,
            outcome=line["outcome"],
            rule=line["rule"],
            said=frozenset(each["text"] for each in answer.get("instructions", []) if each["name"] == "say"),
            headers=frozenset(each["value"] for each in body.get("callHeaders", [])),
            agreed=frozenset(agreed or ()),
            kept=kept,
            menu=answer if answer["action"]["name"] == "runMenu" and answer["action"].get("menus") else None,
        )

    def remember_menus(self, answer: dict[str, Any], body: dict[str, Any]) -> None:
        if answer["action"]["name"] == "runMenu":
            assert "mxp" not in f"{body['domain']}{body['originationType']}".lower(), "no PIE follows in an in-app call"
            asked = self.written(body["applicationKey"]).rule(self.telemetry.lines[-1].fields["rule"])
            assert asked is not None
            assert asked.consent is not None
            assert asked.consent.kind == "menu"
            self.played.append(answer)
            for menu in answer["action"]["menus"]:
                for option in menu["options"]:
                    value = option["action"].removeprefix("return(").removesuffix(")")
                    self.questions[value] = (asked.consent.prompt.said, asked.consent.accept)

    def check_capture(self, key: str, event: str, body: dict[str, Any], answer: dict[str, Any], told: Told) -> Rule:
        """Check that a rule in force records, and that consent is in if it records at once; return the rule."""
        assert f"KEYOF{key.upper()}:" in json.dumps(answer)
        decided = self.written(key).rule(told.rule or "")
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
        # What would let the call be recorded from its answer lets it be recorded at once.
        assert event == "ace" or replace(told, outcome="answer-awaited").lets(decided)
        return decided

    def check_obeyed(self, key: str, call_id: str, rule: Rule, heard: Heard, environment: Environment) -> None:
        """Check that the answer which Sinch obeys lets the call be recorded, and that its proof is on the item."""
        if not self.told_everywhere(key, call_id, heard, environment):
            # Word of that answer is still in the queue, or got lost. Some answer must have been given that lets it.
            assert any(told.lets(rule) for told in heard.told)
            self.reached["recorded without word of the obeyed answer",] += 1
            return
        obeyed = heard.told[-1]
        assert obeyed.lets(rule), "Sinch obeys another answer"
        if any(told.outcome == "answer-awaited" for told in heard.told[:-1]):
            self.reached["decided anew",] += 1
        # Of two proofs of one second, either may be kept.
        if rule.consent is None or self.queue.down or any(told.at == obeyed.at for told in heard.told[:-1]):
            return
        self.keep_the_books()
        [proof] = [
            recording.consents[call_id]
            for recording in map(self.table.recording, self.table.items)
            if recording.application_key == key and call_id in recording.requests
        ]
        assert (proof.kind, proof.rule, proof.at) == (rule.consent.kind, rule.name, obeyed.at)
        assert proof.given
        if rule.consent.kind != "header":
            assert proof.prompt == rule.consent.prompt.said
        self.reached["proof", rule.consent.kind] += 1

    def told_everywhere(self, key: str, call_id: str, heard: Heard, environment: Environment) -> bool:
        """Tell whether an environment can know the last answer of a call: from its own memory, or from the table."""
        obeyed = heard.told[-1]
        if obeyed.kept and heard.memory is environment.door:
            return True
        for recording in map(self.table.recording, self.table.items):
            if recording.application_key == key:
                asked, awaited = recording.asked.get(call_id), recording.awaited.get(call_id)
                times = {"consent-asked": asked and asked.at, "answer-awaited": awaited and awaited.at}
                if times.get(obeyed.outcome, recording.withdrawn.get(call_id)) == obeyed.at:
                    return True
        return False

    def agreed(self, value: str | None) -> set[tuple[str, str]]:
        """Return the question that was asked and that a value agrees to."""
        question = self.questions.get(value or "")
        return {question} if question and (value or "").startswith(f"key.{question[1]}.") else set()

    def check_books(self) -> None:
        """Check that nothing of one application is the other's."""
        for recording_id, item in self.table.items.items():
            [other] = APPLICATIONS.keys() - {item["applicationKey"]["S"]}
            assert other not in json.dumps(item), recording_id
        for event in self.bus.out:
            assert ("first" in event.detail()) != ("second" in event.detail())


@pytest.mark.parametrize("first_menu", FIRST_MENUS)
@pytest.mark.parametrize("part", range(PARTS))
def test_capture_never_begins_before_consent_is_in_whatever_the_sequence(part: int, first_menu: FirstMenu) -> None:
    reached: Counter[tuple[str, ...]] = Counter()
    with ThreadPoolExecutor(1) as executor:
        for number in range(SEQUENCES):
            seed = f"{part} {number}"
            calling = Calling(Random(seed), first_menu)
            try:
                calling.play(executor)
                calling.check_books()
            except AssertionError as error:
                error.add_note(f"Seed: {seed!r}. The last callbacks: {json.dumps(calling.past[-6:], indent=1)}")
                raise
            reached += calling.reached

    for capture in (
        *(("ice", kind, "profile") for kind in ("none", "announcement", "header")),
        *(("ice", kind, "upstream") for kind in ("none", "announcement", "header")),
        *(("ace", kind, "profile") for kind in ("none", "announcement", "header", "menu")),
        ("pie", "menu", "profile"),
        *(("proof", kind) for kind in ("announcement", "header", "menu")),
        ("taken back",),
        ("decided anew",),
    ):
        assert reached[capture] >= 5, f"too few of {capture} were tried to show anything"
