"""Degraded, not down: what is answered, and how soon, while a service that the functions need does not answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.adapters.limits import BACKGROUND, FACT
from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.answering.registered_applications import MAX_MISSES
from tests import sinch
from tests.faults.injection import Fault, Target
from tests.faults.scenarios import ON_ANSWER, SCENARIOS, Run
from tests.faults.test_matrix import ATTEMPTS, Outcome
from tests.faults.world import World
from tests.template.stack import Stack

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

LIMIT: Final = 3.0
"""Seconds within which ICE is answered, whatever does not answer; after 5 s Sinch gives up."""

UNRECORDED: Final = {"action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}}


def hanging(operation: str, number: int = 1) -> Target:
    return Target(operation, number, Fault.HANGS)


@pytest.fixture
def world(aws: Aws) -> World:
    world = World(aws)
    world.put_parameter(CREDENTIALS, "AKIDOFTHEUPLOADER:secret:us-east-1")
    return world


def svaml(answer: dict[str, Any] | None) -> dict[str, Any]:
    assert answer is not None
    assert answer["statusCode"] == 200
    found: dict[str, Any] = json.loads(answer["body"])
    return found


@pytest.mark.parametrize("expected", ["", sinch.APPLICATION], ids=["asked for", "read ahead"])
@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])
@pytest.mark.parametrize("queue", ["queue up", "queue down"])
def test_a_call_is_connected_unrecorded_while_a_cold_function_cannot_read_its_parameters(
    world: World, fault: Fault, expected: str, queue: str
) -> None:
    world.expected = expected
    down = [hanging("SendMessage")] if queue == "queue down" else []

    done = world.invoke("callback", sinch.signed(sinch.ice()), Target("GetParameters", 1, fault), *down)

    assert svaml(done.answer) == UNRECORDED
    # It tells that nothing is awaited of this call, whatever another function decided before.
    assert done.calls == {"GetParameters": 1, "SendMessage": 1}
    assert done.seconds < LIMIT


@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])
def test_parameters_that_could_not_be_read_ahead_are_read_by_the_next_call(world: World, fault: Fault) -> None:
    world.expected = sinch.APPLICATION
    ice = sinch.signed(sinch.ice())

    done = world.invoke("callback", ice, Target("GetParameters", 1, fault), warmed_by=ice)

    assert svaml(done.answer)["action"]["record"] is True
    assert done.calls == {"GetParameters": 2, "SendMessage": 2}


@pytest.mark.parametrize("again", [False, True], ids=["asked once", "asked again while SSM is down"])
def test_an_answer_without_parameters_takes_back_that_a_call_is_to_be_recorded_from_its_answer(
    world: World, again: bool
) -> None:
    """Sinch asks again when an answer was lost. Each callback is answered by another process."""

    def answer(body: dict[str, Any], *faults: Target) -> str:
        done = world.invoke("callback", sinch.signed(body, timestamp=sinch.stamp(world.now)), *faults)
        world.drain()
        return json.dumps(svaml(done.answer))

    ice = sinch.ice(to=ON_ANSWER, originationType="MXP")
    answer(ice)
    if again:
        world.now += timedelta(seconds=2)
        answer(ice, Target("GetParameters", 1, Fault.ERROR))

    assert ("startRecording" in answer(sinch.ace())) is not again


@pytest.mark.parametrize("body", [sinch.ace(), sinch.pie(), sinch.dice(), sinch.notify("recording_available")])
def test_the_other_callbacks_get_503_while_a_cold_function_cannot_read_its_parameters(
    world: World, body: dict[str, Any]
) -> None:
    done = world.invoke("callback", sinch.signed(body), Target("GetParameters", 1, Fault.THROTTLE))

    assert done.answer is not None
    assert done.answer["statusCode"] == 503


def test_a_warm_function_goes_on_recording_while_neither_parameters_nor_queue_answer(world: World) -> None:
    world.ttl = timedelta(seconds=1)
    ice, hang = sinch.signed(sinch.ice()), (hanging("GetParameters", 2), hanging("SendMessage", 2))

    done = world.invoke("callback", ice, *hang, warmed_by=ice, idle=2 * world.ttl)

    assert svaml(done.answer)["action"]["record"] is True
    assert done.calls == {"GetParameters": 2, "SendMessage": 2}
    assert done.seconds < LIMIT


def flood(number: int = 300) -> list[dict[str, Any]]:
    """Return unsigned callbacks of applications that nobody has."""
    return [sinch.signed(sinch.ice(), key=f"made-up-{each}", secret="d3Jvbmc=") for each in range(number)]


@pytest.mark.parametrize("body", [sinch.ice(), sinch.notify("recording_available")], ids=["ice", "notify"])
def test_a_flood_of_made_up_keys_costs_an_application_that_was_never_read_nothing(
    world: World, body: dict[str, Any]
) -> None:
    done = world.invoke("callback", sinch.signed(body), warmed_by=flood())

    assert done.answer is not None
    assert done.answer["statusCode"] == 200
    assert ("recordingOptions" in done.answer["body"]) == (body["event"] == "ice")
    assert done.calls == {"GetParameters": MAX_MISSES + 1, "DescribeParameters": 1, "SendMessage": 1}


@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])
def test_a_made_up_key_is_refused_in_a_flood_while_the_parameters_cannot_be_read(world: World, fault: Fault) -> None:
    down = [Target("GetParameters", number, fault) for number in range(1, 20)]

    *_, made_up = flood()
    done = world.invoke("callback", made_up, *down, warmed_by=flood())

    assert done.answer is not None
    assert done.answer["statusCode"] == 401
    assert (done.calls["GetParameters"], done.calls["DescribeParameters"]) == (MAX_MISSES, 1)


@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])
def test_a_call_is_connected_unrecorded_in_a_flood_while_the_applications_cannot_be_listed(
    world: World, fault: Fault
) -> None:
    """Nothing tells it from a made-up one then. The list is tried once a while, so that it costs no time."""
    down = [Target("DescribeParameters", number, fault) for number in range(1, 20)]

    done = world.invoke("callback", sinch.signed(sinch.ice()), *down, warmed_by=flood())

    assert svaml(done.answer) == UNRECORDED
    assert done.calls["GetParameters"] == MAX_MISSES
    assert done.calls["DescribeParameters"] <= 3
    assert done.seconds < LIMIT


@pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])
def test_the_expected_application_is_recorded_in_a_flood_while_nothing_can_be_listed(
    world: World, fault: Fault
) -> None:
    world.expected = sinch.APPLICATION
    down = [Target("DescribeParameters", number, fault) for number in range(1, 20)]

    done = world.invoke("callback", sinch.signed(sinch.ice()), *down, warmed_by=flood())

    assert svaml(done.answer)["action"]["record"] is True


def test_secrets_that_are_gone_for_one_refresh_stay_in_use(world: World) -> None:
    world.ttl = timedelta(seconds=1)
    ice, gone = sinch.signed(sinch.ice()), Target("GetParameters", 2, Fault.GONE)

    done = world.invoke("callback", ice, gone, warmed_by=ice, idle=2 * world.ttl)

    assert svaml(done.answer)["action"]["record"] is True
    assert done.calls == {"GetParameters": 2, "SendMessage": 2}


def test_a_call_is_connected_and_recorded_while_the_queue_does_not_answer(world: World) -> None:
    done = world.invoke("callback", sinch.signed(sinch.ice()), hanging("SendMessage"))

    assert svaml(done.answer)["action"]["record"] is True
    assert done.seconds < LIMIT


def test_a_notification_gets_503_while_the_queue_does_not_answer(world: World) -> None:
    body = sinch.notify("recording_available", destination="s3://own-bucket/a.mp3")

    done = world.invoke("callback", sinch.signed(body), hanging("SendMessage"))

    assert done.answer is not None
    assert done.answer["statusCode"] == 503
    assert done.seconds < LIMIT


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.THROTTLE, Fault.ERROR])
def test_a_callback_tries_a_call_twice(world: World, fault: Fault) -> None:
    def tried(operation: str, body: dict[str, Any]) -> int:
        return world.invoke("callback", sinch.signed(body), Target(operation, 1, fault)).attempts[operation]

    assert tried("GetParameters", sinch.ice()) == 2
    assert tried("SendMessage", sinch.ice()) == 2
    assert tried("BatchGetItem", sinch.ace()) == 2
    assert tried("SendMessage", sinch.notify("recording_finished")) == 2


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("GetParameters", (400, "ThrottlingException")),
        ("SendMessage", (429, "")),
        ("SendMessage", (400, "RequestThrottled")),
        ("SendMessage", (400, "KMS.ThrottlingException")),
    ],
)
def test_a_fact_is_queued_by_the_second_attempt_whichever_way_a_service_throttles_the_first(
    world: World, operation: str, answer: tuple[int, str]
) -> None:
    throttled = Target(operation, 1, Fault.THROTTLE, attempts=1, answer=answer)

    done = world.invoke("callback", sinch.signed(sinch.ice()), throttled)

    assert svaml(done.answer)["action"]["record"] is True
    assert done.attempts[operation] == 2
    assert len(world.received()) == 1


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "RequestLimitExceeded"])
def test_a_call_is_recorded_from_its_answer_though_the_table_throttles_the_first_attempt(
    world: World, code: str
) -> None:
    ice = sinch.ice(to=ON_ANSWER, originationType="MXP")
    assert world.invoke("callback", sinch.signed(ice)).answer is not None
    world.drain()
    throttled = Target("BatchGetItem", 1, Fault.THROTTLE, attempts=1, answer=(400, code))

    done = world.invoke("callback", sinch.signed(sinch.ace()), throttled)

    assert svaml(done.answer)["instructions"][0]["name"] == "startRecording"
    assert done.attempts["BatchGetItem"] == 2


def test_a_peer_that_drips_delays_an_answer_no_more_than_one_that_is_silent(world: World) -> None:
    """Each piece of its answer comes well within a socket's timeout, and the whole never."""
    ice = sinch.signed(sinch.ice())

    def dripping(operation: str, number: int = 1) -> Target:
        return Target(operation, number, Fault.DRIPS)

    unread = world.invoke("callback", ice, dripping("GetParameters"))
    assert svaml(unread.answer) == UNRECORDED
    assert unread.seconds < LIMIT

    world.ttl = timedelta(seconds=1)
    both = dripping("GetParameters", 2), dripping("SendMessage", 2)
    done = world.invoke("callback", ice, *both, warmed_by=ice, idle=2 * world.ttl)
    assert svaml(done.answer)["action"]["record"] is True
    assert done.seconds < LIMIT

    ace = world.invoke("callback", sinch.signed(sinch.ace()), dripping("BatchGetItem"), dripping("SendMessage"))
    assert ace.answer is not None
    assert ace.seconds < LIMIT


def test_a_connection_that_was_dropped_while_it_was_idle_costs_neither_an_attempt_nor_time(world: World) -> None:
    ice = sinch.signed(sinch.ice())

    done = world.invoke("callback", ice, Target("SendMessage", 2, Fault.DROPPED), warmed_by=ice)

    assert svaml(done.answer)["action"]["record"] is True
    assert done.attempts["SendMessage"] == 2  # one for each of the two calls
    assert done.seconds < FACT.attempt
    assert len(world.received()) == 2


@pytest.mark.parametrize(
    ("operation", "fault"),
    [("BatchGetItem", Fault.TIMEOUT), ("PutItem", Fault.THROTTLE), ("PutEvents", Fault.ERROR)],
)
def test_a_delivery_tries_a_call_three_times(world: World, operation: str, fault: Fault) -> None:
    world.invoke("callback", sinch.signed(sinch.ice()))
    [message] = world.received()

    done = world.invoke("notify", {"Records": [message]}, Target(operation, 1, fault))

    assert done.calls[operation] == 1
    assert done.attempts[operation] == ATTEMPTS


def test_a_delivery_whose_table_does_not_answer_ends_before_lambda_ends_it(world: World) -> None:
    world.invoke("callback", sinch.signed(sinch.ice()))
    [message] = world.received()

    done = world.invoke("notify", {"Records": [message]}, hanging("BatchGetItem"))

    assert done.answer == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    assert done.attempts["BatchGetItem"] == ATTEMPTS
    assert done.seconds < BACKGROUND.max_seconds + 1 < Stack().properties("NotifyFunction")["Timeout"]


@pytest.mark.parametrize("operation", ["BatchGetItem", "PutItem", "PutEvents"])
def test_nothing_is_lost_or_doubled_when_the_table_or_the_bus_is_down_for_an_hour(aws: Aws, operation: str) -> None:
    disturbed, undisturbed = Hour(aws, operation), Run(World(aws))

    for run in (disturbed, undisturbed):
        SCENARIOS["recorded call"](run)

    expected, outcome = Outcome.of(undisturbed.world), Outcome.of(disturbed.world)
    assert disturbed.world.now - sinch.NOW >= timedelta(hours=1)
    assert (outcome.recordings, outcome.places, outcome.events) == (
        expected.recordings,
        expected.places,
        expected.events,
    )


class Hour(Run):
    """A run in which an operation fails for an hour of deliveries."""

    def __init__(self, aws: Aws, operation: str) -> None:
        # Once a minute it would be on AWS; what comes of it does not depend on that.
        super().__init__(World(aws, retried_after=timedelta(minutes=10)))
        self._down = [Target(operation, number, Fault.ERROR) for number in range(1, 9)]

    def drain(self, step: str) -> None:
        """Have NotifyFunction try for an hour, and then succeed."""
        self.world.drain(*self._down, deliveries=6)
