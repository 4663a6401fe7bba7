"""In no reachable state does capture begin before consent is in, and no application meets another's calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.aws.calls import Calls
from call_recorder.aws.operations import CallFailed
from call_recorder.handlers.front_door import FrontDoor
from call_recorder.recording.consent import MenuTicket
from call_recorder.recording.ledger import Message
from call_recorder.recording.profile import RecordingProfile
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
    new_ledger,
)
from tests.svaml import assert_legal, captures, names

if TYPE_CHECKING:
    pass


PARTS = 4
SEQUENCES = 1000
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
    while len(rules) < 2 and random.random() < 0.9:
        made = random_rule(random, f"rule {len(rules)}")
        if taken({"rules": [made]} | parts):
            rules.append(made)
    return {"rules": rules} | parts


def random_rule(random: Random, name: str) -> dict[str, Any]:
    # Rules for what phones do are mostly taken, and mostly met.
    when: dict[str, Any] = {"originationType": ["pstn", "sip"], "toType": random.choice(["number", "did"])}
    if random.random() < 0.3:
        when = {condition: random.choice(values) for condition, values in CONDITIONS.items() if random.random() < 0.3}
    if random.random() < 0.1:
        return {"name": name, "when": when, "record": False}
    rule = {"name": name, "when": when, "record": True} | random_consent(random)
    return rule | {"start": random.choice(["connect", "answer"]), "sample": random.choice([1, 1, 1, 0.5])}


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

    def open_ahead(self) -> None:
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


@dataclass
class Heard:
    """What Sinch and the caller have told and been told in one call, which is all that consent can come from."""

    said: set[str] = field(default_factory=set)
    headers: set[str] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)
    ices: int = 0


class Calling:
    """Callbacks of two applications' calls, in any order, each answer checked against all that was heard before."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.applications = Applications()
        self.written: dict[str, RecordingProfile] = {}
        self.table, self.bus = InMemoryTables(), Bus()
        self.client = Client(self.table)
        self.queue, self.backend = Queue(), Backend()
        self.drained = 0
        self.heard: dict[tuple[str, str], Heard] = {}
        self.played: list[str] = []
        self.questions: dict[str, tuple[str, str]] = {}
        self.past: list[tuple[str, dict[str, Any]]] = []
        self.telemetry = RecordedTelemetry()
        self.reached: Counter[tuple[str, str, str]] = Counter()
        for key in APPLICATIONS:
            self.put(key)
        self.forget()

    def play(self, executor: Executor) -> None:
        """Let some things happen, mostly whole calls."""
        self.ledger = new_ledger(self.table, self.bus, executor)
        for _ in range(self.random.randint(2, 6)):
            self.random.choice([self.whole_call, self.whole_call, self.anything])()
        self.keep_the_books()

    def whole_call(self) -> None:
        """Play what mostly happens, so that much of what follows it is reached, with something in between."""
        key, call_id, played = self.any_key(), self.any_call(), len(self.played)
        to = self.random.choice([("number", NUMBER), *(("did", number) for number in DIALLED)])
        self.ice(key, call_id, to, "pstn", "pstn")
        self.perhaps(key)
        if len(self.played) > played:
            self.pie(key, call_id, self.played[played], self.random.choice(["return"] * 5 + ["timeout", "hangup"]))
            self.perhaps(key)
        self.call(key, call_id, sinch.ace())
        self.perhaps(key)

    def perhaps(self, key: str) -> None:
        while self.random.random() < 0.4:
            self.random.choice([self.forget, self.keep_the_books, lambda: self.put(key), self.anything])()

    def anything(self) -> None:
        key, call_id = self.any_key(), self.any_call()
        menu = self.random.choice([*self.played[-3:], "main", "main.garbled", None])
        self.random.choice(
            [
                lambda: self.ice(key, call_id, self.random.choice(CALLED), *self.random.choices(ORIGINS, k=2)),
                lambda: self.pie(key, call_id, menu, self.random.choice(ENDS)),
                lambda: self.forged_pie(key, call_id),
                lambda: self.call(key, call_id, sinch.ace()),
                lambda: self.send(key, sinch.dice(callid=call_id, applicationKey=key)),
                self.replay,
                self.speak_for_the_other,
                self.forget,
                self.keep_the_books,
                lambda: self.put(key),
                self.lose_or_find_the_table,
                self.lose_or_find_the_queue,
            ]
        )()

    def any_key(self) -> str:
        return self.random.choice(list(APPLICATIONS))

    def any_call(self) -> str:
        return self.random.choice(CALL_IDS)

    def put(self, key: str) -> None:
        """Put a profile, perhaps in the middle of calls."""
        credentials = f"KEYOF{key.upper()}:SECRET:eu-west-1"
        profile = random_profile(self.random)
        made = application(profile, key=key, secrets=APPLICATIONS[key], credentials=credentials)
        assert made.recorder is not None
        self.applications.known[key] = made
        self.written[key] = made.recorder.profile

    def forget(self) -> None:
        """Go on in a function that has just started."""
        self.door = FrontDoor(
            callback_settings(),
            applications=self.applications,
            facts=self.queue,
            notifications=self.queue,
            calls=Calls(self.client, "recordings"),
            upstream=self.backend,
            telemetry=self.telemetry,
            clock=Clock(),
        )

    def lose_or_find_the_table(self) -> None:
        self.client.down = not self.client.down

    def lose_or_find_the_queue(self) -> None:
        self.queue.down = not self.queue.down

    def keep_the_books(self) -> None:
        """Take what is in the queue into the table."""
        facts = self.queue.sent[self.drained :]
        self.drained = len(self.queue.sent)
        report = self.ledger.record([Message(str(number), fact) for number, fact in enumerate(facts)])
        assert not report.failed

    def ice(self, key: str, call_id: str, to: tuple[str, str], domain: str | None, origin: str | None) -> None:
        header = self.random.choice(["yes", "yes", "no", None])
        headers = [{"key": "recording-consent", "value": header}] if header else []
        self.call(key, call_id, sinch.ice(*to, domain=domain, originationType=origin, callHeaders=headers))

    def pie(self, key: str, call_id: str, menu: str | None, ended: str) -> None:
        self.call(key, call_id, sinch.pie(menu, self.random.choice("1122#"), type=ended))

    def forged_pie(self, key: str, call_id: str) -> None:
        """Bring the ticket of a menu that nobody was played."""
        ticket = MenuTicket(self.random.choice(["rule 0", "rule 1"]), "00000000", *self.random.choice(CALLED))
        self.call(key, call_id, sinch.pie(ticket.menu_id(), self.random.choice("12")))

    def replay(self) -> None:
        if self.past:
            key, body = self.random.choice(self.past)
            self.call(key, body["callid"], body)

    def speak_for_the_other(self) -> None:
        """Sign as one application what names the other: refused."""
        if self.past:
            key, body = self.random.choice(self.past)
            [other] = APPLICATIONS.keys() - {key}
            assert self.send(other, body)["statusCode"] == 401

    def send(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.door(sinch.signed(body, key=key, secret=APPLICATIONS[key]))

    def call(self, key: str, call_id: str, body: dict[str, Any]) -> None:
        """Send a callback that is answered, and check the answer against all that was heard in the call."""
        upstream = self.random.choice([*UPSTREAM_ANSWERS, *UPSTREAM_ANSWERS[:2] * 4])
        body = body | {"callid": call_id, "applicationKey": key}
        self.past.append((key, body))
        self.backend.text = upstream
        heard = self.heard.setdefault((key, call_id), Heard())
        event = body["event"]
        self.listen(heard, event, body)
        response = self.send(key, body)
        assert response["statusCode"] == 200
        answer = json.loads(response["body"])
        foreign = self.written[key].upstream is not None and upstream is not None and '"name"' in upstream
        if not foreign:
            assert_legal(event, answer)
            self.remember_menus(answer, body)
        heard.said |= {each["text"] for each in answer.get("instructions", []) if each["name"] == "say"}
        if captures(answer):
            kind = self.check_capture(key, event, body, answer, heard)
            self.reached[event, kind, "upstream" if foreign else "profile"] += 1

    def listen(self, heard: Heard, event: str, body: dict[str, Any]) -> None:
        if event == "ice":
            heard.ices += 1
            heard.headers |= {each["value"] for each in body["callHeaders"]}
        if event == "pie" and body["menuResult"]["type"].lower() == "return":
            heard.keys.add((body["menuResult"]["menuId"], body["menuResult"]["value"]))

    def remember_menus(self, answer: dict[str, Any], body: dict[str, Any]) -> None:
        if answer["action"]["name"] == "runMenu":
            assert "mxp" not in f"{body['domain']}{body['originationType']}".lower(), "no PIE follows in an in-app call"
            name = self.telemetry.lines[-1].fields["rule"]
            asked = self.written[body["applicationKey"]].rule(name)
            assert asked is not None
            assert asked.consent is not None
            assert asked.consent.kind == "menu"
            main = answer["action"]["mainMenu"]
            self.played.append(main)
            self.questions[main] = (asked.consent.prompt.said, asked.consent.accept)

    def check_capture(self, key: str, event: str, body: dict[str, Any], answer: dict[str, Any], heard: Heard) -> str:
        """Check that consent is in; return its kind."""
        assert f"KEYOF{key.upper()}:" in json.dumps(answer)
        decided = self.written[key].rule(self.telemetry.lines[-1].fields["rule"])
        assert decided is not None
        assert decided.record
        assert decided.start == ("answer" if event == "ace" else "connect")
        conference = answer["action"].get("conferenceId")
        if event == "ice":
            assert not (conference or "").startswith("recorder-call-")
        if event == "ace":
            assert names(answer) == ["startRecording"]
            assert answer["action"] == {"name": "continue"}
        consent = decided.consent
        if consent is None:
            assert event != "pie"
        elif consent.kind == "announcement":
            assert event != "pie"
            if event == "ice":
                assert consent.prompt.said in {each.get("text") for each in answer["instructions"]}
            # Before an ACE the rule's prompt may have changed: what counts is that the caller was told.
            assert event == "ice" or heard.said & set(PROMPTS)
        elif consent.kind == "header":
            assert event != "pie"
            assert conference is None, "whoever declined may be in it"
            said = {each["value"] for each in body["callHeaders"]} if event == "ice" else heard.headers
            assert "yes" in said
        else:
            assert event != "ice"
            assert conference in (None, f"recorder-call-{body['callid']}")
            if event == "pie":
                assert body["menuResult"]["type"].lower() == "return"
                pressed = {(body["menuResult"]["menuId"], body["menuResult"]["value"])}
                assert self.agreed(pressed) == {(consent.prompt.said, consent.accept)}
            else:
                assert self.agreed(heard.keys)
        return consent.kind if consent else "none"

    def agreed(self, pressed: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the questions that were asked and that one of these keys agrees to."""
        asked = {(self.questions[menu], value) for menu, value in pressed if menu in self.questions}
        return {(prompt, accept) for (prompt, accept), value in asked if value == f"key.{accept}"}

    def check_books(self) -> None:
        """Check that nothing of one application is the other's."""
        for recording_id, item in self.table.items.items():
            [other] = APPLICATIONS.keys() - {item["applicationKey"]["S"]}
            assert other not in json.dumps(item), recording_id
        for event in self.bus.out:
            assert ("first" in event.detail()) != ("second" in event.detail())


@pytest.mark.parametrize("part", range(PARTS))
def test_capture_never_begins_before_consent_is_in_whatever_the_sequence(part: int) -> None:
    reached: Counter[tuple[str, str, str]] = Counter()
    with ThreadPoolExecutor(1) as executor:
        for number in range(SEQUENCES):
            seed = f"{part} {number}"
            calling = Calling(Random(seed))
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
    ):
        assert reached[capture] >= 5, f"too few of {capture} were tried to show anything"
