"""The story of the day: the calls over time, the disturbances, and the callbacks of each call."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from call_recorder.answering.parameter_names import PROFILE
from call_recorder.tracking.outbox_item import Deadlines
from local import sample_events
from local.capacity import read_tables
from local.invocations import format_object_created, sign_callback
from local.sample_events import APPLICATION
from local.scale import figures
from local.scale.figures import Quota, Scenario
from local.scale.functions import STACK, CallbackFunction, Environment, NotifyFunction, Response, WatchdogFunction
from local.scale.services import DynamoDb, EventBridge, Sqs, Ssm
from local.scale.world import Limited, World
from local.simulator.calls import End, IncomingCall, app_to_phone, encode_body, phone_to_number
from local.simulator.menu import play_menus
from local.simulator.svaml import RunMenu, read

NUMBER: Final = "+12025550100"
"""The one number that all calls go to."""

MENU, ANNOUNCED, FROM_APP = 0.10, 0.20, 0.15
"""Shares of the calls whose caller is asked by a menu, hears an announcement, or calls from an app."""

UNANSWERED, DECLINED, UPLOAD_FAILS = 0.20, 0.15, 0.005
"""Shares: calls that nobody answers; of the menus, those without consent; files that Sinch cannot store."""

LOST, TWICE = 0.005, 0.02
"""Shares of the notifications of stored files that Sinch does not send, and of the callbacks that it sends twice."""

TALK_SECONDS: Final = 180.0
"""Mean duration of an answered call."""

_RULES = [
    {
        "name": "menu",
        "when": {"originationType": "pstn", "toType": "did", "from": "+4610*"},
        "record": True,
        "consent": {"kind": "menu", "prompt": {"text": "May we record?", "locale": "en-US"}, "accept": "1"},
    },
    {
        "name": "announcement",
        "when": {"toType": "did", "from": "+4620*"},
        "record": True,
        "consent": {"kind": "announcement", "prompt": {"text": "This call is recorded.", "locale": "en-US"}},
    },
    {"name": "everything", "record": True},
]
_PROFILE = {"rules": _RULES, "routes": [{"to": NUMBER, "action": {"name": "connectPstn", "number": "+12025550142"}}]}
_DESTINATION = re.compile(r'"destinationUrl": ?"([^"]+)"')
_TALKED, _NOT_ANSWERED = End("ANSWERED", "CALLERHANGUP"), End("NOANSWER", "TIMEOUT")
_DENSER = 20.0
_AFTER_SECONDS = 43_200.0  # in which what waits must be done


@dataclass
class Call:
    """A sampled call, its expected results, and its failure.

    Attributes:
        made: the call as Sinch has it.
        weight: the calls that it stands for.
        at: when it came.
        expects: the kinds of events that must be published.
        url: the destination of its recording, if Sinch records it.
        due: when its recording counts as missing, if it does.
        failure: the loss of the caller or of the recording, if there was one.
    """

    made: IncomingCall
    weight: float
    at: float
    expects: set[str] = field(default_factory=set)
    url: str = ""
    due: float = math.inf
    failure: str = ""


class Curve:
    """The calls a second over the day: two humps, three bursts, and the minutes with a denser sample.

    Args:
        scenario: the rate and the sample.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._rate = scenario.rate
        self.seconds = scenario.hours * 3_600
        self.bursts = [share * self.seconds for share in (0.30, 0.60, 0.85)]
        self.deployment = 0.46 * self.seconds
        self.slow = {
            name: (begin * self.seconds, (begin + 1 / 24) * self.seconds)
            for name, begin in zip(scenario.slow, (0.38, 0.49, 0.55, 0.64), strict=False)
        }
        self._minute = self.seconds / 1_440
        self._watched = [*self.bursts, self.deployment, *(begin for begin, _ in self.slow.values())]
        calls = sum(self.rate(step * self._minute) for step in range(1_440)) * self._minute
        self.weight = max(1.0, calls / scenario.sample)

    def rate(self, at: float) -> float:
        """Return the calls a second. After the day there are none, and loads are those of its lowest hour."""
        if any(begin <= at < begin + self._minute for begin in self.bursts):
            return self._rate
        share = at / self.seconds
        morning, evening = math.exp(-(((share - 0.46) / 0.20) ** 4)), math.exp(-(((share - 0.70) / 0.20) ** 4))
        return self._rate * (0.08 + 0.92 * max(morning, 0.9 * evening))

    def average(self, at: float) -> float:
        """Return the calls a second by which loads are averaged: in a quiet hour, not over half an hour."""
        return max(self.rate(at), 0.3 * self._rate)

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """Yield the sampled calls: when they come, and how many calls they stand for."""
        at, dense = 0.0, max(1.0, self.weight / _DENSER)
        while at < self.seconds:
            ahead = min((begin - at for begin in self._watched if begin + self._minute > at), default=math.inf)
            # A call before such a minute stands for no call in it.
            weight = min(self.weight, max(dense, ahead * self.rate(at)))
            yield at, weight
            at += weight / self.rate(at)


class Day:
    """A day of calls.

    Args:
        scenario: what is simulated.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = world = World(scenario.seed)
        self.curve = Curve(scenario)
        world.rate = self.curve.average
        self.arrived = 0.0
        self.calls: list[Call] = []
        self.latencies: list[tuple[float, float]] = []
        self.backlog: list[tuple[float, float, float]] = []
        self.callbacks_lost: dict[str, float] = {}
        stack, account = scenario.stack, scenario.account
        self.deadlines = Deadlines(
            timedelta(seconds=stack.grace_seconds), timedelta(seconds=stack.longest_call_seconds)
        )
        parameters = {**sample_events.PARAMETERS, PROFILE: json.dumps(_PROFILE)}
        names = {f"/{STACK}/{APPLICATION.key}/{name}": value for name, value in parameters.items()}
        self.parameters = Ssm(world, account, names)
        self.database = DynamoDb(world, account, read_tables())
        self.bus = EventBridge(world, account)
        self.queue = Sqs(world)
        self.front = CallbackFunction(
            world, scenario, self.parameters, self.queue.service, self.database.service, APPLICATION.key
        )
        self.notify = NotifyFunction(world, scenario, self.queue, self.database, self.bus, self.deadlines)
        self.watch = WatchdogFunction(world, self.database, self.queue)
        self._puts = Limited(world.use(Quota("S3 PUTs a second under the prefix", figures.S3_PUTS, "recordings")))
        for service in (self.parameters, self.queue, self.database, self.bus):
            service.service.slow_hour = self.curve.slow.get(service.service.name)

    def play(self) -> None:
        """Play the day, and go on until the queue and the index of waiting items are empty, for half a day at most."""
        world, curve = self.world, self.curve
        self.front.deploy()
        world.at(curve.deployment, self.front.deploy)
        self._every(figures.WATCHDOG_SECONDS, self.watch.run)
        self._every(60.0, self._look)
        arrivals = curve.arrivals()
        self._next(arrivals)
        world.run(curve.seconds)
        while (self.queue.kept or any(self.database.waiting.values())) and world.now < curve.seconds + _AFTER_SECONDS:
            world.run(world.now + 60)

    def _every(self, seconds: float, action: Any) -> None:
        def again() -> None:
            now = self.world.now
            action()
            self.world.at(now + seconds, again)

        self.world.at(seconds, again)

    def _next(self, arrivals: Iterator[tuple[float, float]]) -> None:
        """Let the next call come, and after it the one after it."""
        arrival = next(arrivals, None)
        if arrival is not None:
            at, weight = arrival
            self.world.at(at, partial(self._arrive, weight, arrivals))

    def _look(self) -> None:
        """Note what waits in the queue for more than a minute."""
        now = self.world.now
        late = [message for message in self.queue.kept.values() if now - message.sent > 60]
        if late:
            self.backlog.append((now, sum(each.weight for each in late), max(now - each.sent for each in late)))

    def _new_call(self, weight: float, like: IncomingCall | None = None) -> Call:
        random, number = self.world.random, len(self.calls)
        call_id = f"{number:08x}-0000-4000-8000-{random.getrandbits(48):012x}"
        if like:
            made = replace(like, call_id=call_id)
        elif random.random() < FROM_APP:
            made = replace(app_to_phone(NUMBER), call_id=call_id, answered=random.random() >= UNANSWERED)
        else:
            chance = random.random()
            area = "+4610" if chance < MENU else "+4620" if chance < MENU + ANNOUNCED else "+4670"
            keys = ("2",) if random.random() < DECLINED else ("1",)
            made = replace(
                phone_to_number(NUMBER, cli=f"{area}{random.randrange(10**7):07d}"),
                call_id=call_id,
                answered=random.random() >= UNANSWERED,
                keys=keys,
            )
        call = Call(made, weight, self.world.now)
        self.calls.append(call)
        self.world.weights[call_id] = weight
        return call

    def _arrive(self, weight: float, arrivals: Iterator[tuple[float, float]]) -> None:
        """Let a call come. Its parts go to several environments if some have just started."""
        self._next(arrivals)
        self.arrived += weight
        now, first = self.world.now, self._new_call(weight)
        parts = self.front.route(weight, splits=True)
        for environment, part in parts[:-1]:
            self.world.now = now
            self._ask_ice(self._new_call(part, first.made), environment)
            first.weight -= part
        self.world.weights[first.made.call_id] = first.weight
        self.world.now = now
        self._ask_ice(first, parts[-1][0])

    def _post(self, call: Call, environment: Environment | None, body: dict[str, Any]) -> Response | None:
        """Send a callback, signed."""
        if environment is None:
            return None
        event = sign_callback(APPLICATION, encode_body(body), self.world.clock())
        return self.front.invoke(environment, event, call.weight)

    def _ask_ice(self, call: Call, environment: Environment | None) -> None:
        world = self.world
        response = self._post(call, environment, call.made.ice(APPLICATION.key, world.clock()))
        if response is None or response.status != 200 or response.seconds > figures.SINCH_SECONDS:
            call.failure = "not answered"
            return
        self.latencies.append((response.seconds, one := self._part(call, environment, response)))
        self.latencies.append((response.seconds - response.reading, call.weight - one))
        self._follow(call, response, after_menu=False)

    def _part(self, call: Call, environment: Environment | None, response: Response) -> float:
        """Return how many calls waited for SSM: one in each environment, whose next callbacks find the parameters."""
        return min(call.weight, environment.weight) if environment and response.reading else 0.0

    def _follow(self, call: Call, response: Response, *, after_menu: bool) -> None:
        """Carry out an answer, as Sinch does."""
        world, random = self.world, self.world.random
        if found := _DESTINATION.search(response.text):
            call.url = found[1]
            call.expects.add("Recording Requested")
        if not after_menu and '"runMenu"' in response.text:
            world.at(world.now + random.uniform(4, 12), partial(self._ask_pie, call, response.text))
            return
        declined = after_menu and call.made.keys != ("1",)  # Every other call matches a rule that records.
        if not call.url and not declined:
            call.failure = "connected without recording"
        if not call.made.answered:
            self._end(call, random.uniform(15, 40), 0)
            return
        ringing = random.uniform(2, 20)
        self._tell(call, ringing, "ace", twice=False)
        self._end(call, ringing, min(random.expovariate(1 / TALK_SECONDS) + 3, 14_400))

    def _ask_pie(self, call: Call, answer: str) -> None:
        menu = cast("RunMenu", read("ice", answer.encode()).action)
        result = play_menus(menu, iter(call.made.keys))
        [(environment, _)] = self.front.route(call.weight, splits=False)
        response = self._post(call, environment, call.made.pie(APPLICATION.key, self.world.clock(), result))
        if response is None or response.status != 200 or response.seconds > figures.SINCH_SECONDS:
            call.failure = "not answered after the menu"
        else:
            self._follow(call, response, after_menu=True)

    def _end(self, call: Call, ringing: float, talk: float) -> None:
        """End a call after it rang and was talked in, and report its recording."""
        random, after = self.world.random, ringing + talk
        self._tell(call, after + random.uniform(0.2, 4), "dice", seconds=round(talk))
        grace, end = self.scenario.stack.grace_seconds, self.world.now + after
        if not call.url:
            return
        if not call.made.answered:
            call.expects.add("Recording Missing")
            call.due = end + grace
            return
        self._tell(call, after + random.uniform(0.3, 2), "recording_finished")
        call.expects.add("Recording Finished")
        if random.random() < UPLOAD_FAILS:
            call.expects.add("Recording Missing")
            call.due = end + grace
            return
        call.expects.add("Recording Available")
        stored = after + random.uniform(1, 6)
        self.world.at(self.world.now + stored, partial(self._store, call))
        if random.random() >= LOST:
            self._tell(call, stored + random.uniform(0, 2), "recording_available", destination=call.url)

    def _tell(self, call: Call, after: float, kind: str, *, twice: bool = True, **fields: Any) -> None:
        """Send a callback later that Sinch sends once, whatever the answer."""
        random = self.world.random
        times = [after, after + random.uniform(0, 30)] if twice and random.random() < TWICE else [after]
        for each in times:
            self.world.at(self.world.now + each, partial(self._report, call, kind, fields))

    def _report(self, call: Call, kind: str, fields: Mapping[str, Any]) -> None:
        now, key = self.world.clock(), APPLICATION.key
        match kind:
            case "ace":
                body = call.made.ace(key, now)
            case "dice":
                body = call.made.dice(key, now, _TALKED if fields["seconds"] else _NOT_ANSWERED, fields["seconds"])
            case _:
                body = call.made.notify(kind, **fields)
        [(environment, _)] = self.front.route(call.weight, splits=False)
        response = self._post(call, environment, body)
        if response is None or response.status != 200 or response.outcome == "not-queued":
            self.callbacks_lost[kind] = self.callbacks_lost.get(kind, 0.0) + call.weight

    def _store(self, call: Call) -> None:
        """Store a file in the bucket, which reports it by EventBridge."""
        world = self.world
        if not self._puts.take(world.now, call.weight, world.spread(call.weight)):
            call.failure = "file refused by S3"
            return
        event = format_object_created(call.url, world.clock(), size=720_000, etag="0" * 32)
        self.bus.deliver(call.weight)
        world.at(world.now + figures.BUCKET_SECONDS, lambda: self.queue.put(event))
