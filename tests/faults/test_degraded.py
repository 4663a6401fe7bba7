"""Degraded, not down: what a caller gets, and how soon, while a service that the functions need does not answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.adapters.limits import BACKGROUND
from call_recorder.answering.registered_applications import MAX_MISSES
from tests import sinch
from tests.faults.conftest import FORKS
from tests.faults.injection import Fault, Target
from tests.faults.scenarios import Run, play
from tests.faults.test_matrix import ATTEMPTS, Outcome
from tests.faults.world import Invocation, World
from tests.template.stack import Stack

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = FORKS

LIMIT: Final = 3.0
"""Seconds within which an ICE is answered, whatever does not answer; after 5 s Sinch gives up."""

UNRECORDED: Final = {"action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}}
ICE: Final = sinch.signed(sinch.ice())
AVAILABLE: Final = sinch.notify("recording_available", destination="s3://own-bucket/a.mp3")
ONCE_EACH: Final = {"GetParameters": 1, "SendMessage": 1}
TWICE_EACH: Final = {"GetParameters": 2, "SendMessage": 2}
EXPIRED: Final[dict[str, Any]] = {"warmed_by": [ICE], "idle": timedelta(seconds=2)}
"""Makes the parameters of a warm function older than a ``world.ttl`` of one second."""

every_fault = pytest.mark.parametrize("fault", [Fault.HANGS, Fault.THROTTLE, Fault.ERROR])


def hanging(operation: str, number: int = 1) -> Target:
    return Target(operation, number, Fault.HANGS)


def dripping(operation: str, number: int = 1) -> Target:
    return Target(operation, number, Fault.DRIPS)


@pytest.fixture
def world(aws: Aws) -> World:
    return World(aws)


def svaml(done: Invocation) -> dict[str, Any]:
    assert status(done) == 200
    found: dict[str, Any] = json.loads((done.answer or {})["body"])
    return found


def status(done: Invocation) -> int:
    assert done.answer is not None
    found: int = done.answer["statusCode"]
    return found


def is_recorded(done: Invocation) -> bool:
    return svaml(done)["action"].get("record") is True


# Parameters.


@pytest.mark.parametrize("expected", ["", sinch.APPLICATION], ids=["asked for", "prefetched"])
@every_fault
@pytest.mark.parametrize("queue", ["queue up", "queue down"])
def test_a_cold_function_without_parameters_connects_a_call_unrecorded(
    world: World, fault: Fault, expected: str, queue: str
) -> None:
    world.expected = expected
    down = [hanging("SendMessage")] if queue == "queue down" else []

    done = world.invoke("callback", ICE, Target("GetParameters", 1, fault), *down)

    assert svaml(done) == UNRECORDED
    # The message says that this call awaits no recording, whatever another function decided before.
    assert done.calls == ONCE_EACH
    assert done.seconds < LIMIT


@every_fault
def test_the_next_call_reads_parameters_that_could_not_be_prefetched(world: World, fault: Fault) -> None:
    world.expected = sinch.APPLICATION

    done = world.invoke("callback", ICE, Target("GetParameters", 1, fault), warmed_by=[ICE])

    assert is_recorded(done)
    assert done.calls == TWICE_EACH


@pytest.mark.parametrize(
    "down",
    [
        [hanging("GetParameters", 2), hanging("SendMessage", 2)],
        [dripping("GetParameters", 2), dripping("SendMessage", 2)],
        [Target("GetParameters", 2, Fault.GONE)],
    ],
    ids=["neither SSM nor SQS answers", "both drip", "secrets are gone"],
)
def test_a_warm_function_records_while_its_parameters_cannot_be_refreshed(world: World, down: list[Target]) -> None:
    world.ttl = timedelta(seconds=1)

    done = world.invoke("callback", ICE, *down, **EXPIRED)

    assert is_recorded(done)
    assert done.calls == TWICE_EACH
    assert done.seconds < LIMIT


# A flood of made-up keys.


def flood(number: int = 300) -> list[dict[str, Any]]:
    """Return forged callbacks of applications that do not exist."""
    return [sinch.signed(sinch.ice(), key=f"made-up-{each}", secret="d3Jvbmc=") for each in range(number)]


@every_fault
def test_a_made_up_key_is_refused_in_a_flood_without_parameters(world: World, fault: Fault) -> None:
    down = [Target("GetParameters", number, fault) for number in range(1, 20)]

    done = world.invoke("callback", flood()[-1], *down, warmed_by=flood())

    assert status(done) == 401
    assert (done.calls["GetParameters"], done.calls["DescribeParameters"]) == (MAX_MISSES, 1)


@pytest.mark.parametrize("expected", ["", sinch.APPLICATION], ids=["asked for", "prefetched"])
@every_fault
def test_a_flood_records_only_the_expected_application_while_none_can_be_listed(
    world: World, fault: Fault, expected: str
) -> None:
    """A made-up application looks like any other then. The list is tried once a while, so it costs no time."""
    world.expected = expected
    down = [Target("DescribeParameters", number, fault) for number in range(1, 20)]

    done = world.invoke("callback", ICE, *down, warmed_by=flood())

    assert is_recorded(done) is bool(expected)
    assert expected or svaml(done) == UNRECORDED
    assert expected or done.calls["GetParameters"] == MAX_MISSES
    assert done.calls["DescribeParameters"] <= 3
    assert done.seconds < LIMIT


# The queue, the table, and slow peers.


def test_a_silent_queue_costs_no_recording_and_refuses_a_notification(world: World) -> None:
    ice, notified = (
        world.invoke("callback", sinch.signed(body), hanging("SendMessage")) for body in (sinch.ice(), AVAILABLE)
    )

    assert is_recorded(ice)
    assert status(notified) == 503
    assert max(ice.seconds, notified.seconds) < LIMIT


@pytest.mark.parametrize(
    ("body", "down"),
    [
        (sinch.ice(), [dripping("GetParameters")]),
        (sinch.ace(), [dripping("BatchGetItem"), dripping("SendMessage")]),
    ],
    ids=["ice", "ace"],
)
def test_a_dripping_peer_delays_an_answer_no_more_than_a_silent_one(
    world: World, body: dict[str, Any], down: list[Target]
) -> None:
    """Each piece of its answer comes well within a socket's timeout, and the whole never."""
    done = world.invoke("callback", sinch.signed(body), *down)

    assert svaml(done) == (UNRECORDED if body["event"] == "ice" else {"action": {"name": "continue"}})
    assert done.seconds < LIMIT


# Deliveries.


@pytest.mark.parametrize(
    ("operation", "fault"),
    [("BatchGetItem", Fault.TIMEOUT), ("PutItem", Fault.THROTTLE), ("PutEvents", Fault.ERROR)],
)
def test_a_delivery_tries_a_call_three_times(world: World, operation: str, fault: Fault) -> None:
    world.invoke("callback", ICE)

    done = world.invoke("notify", {"Records": world.received()}, Target(operation, 1, fault))

    assert (done.calls[operation], done.attempts[operation]) == (1, ATTEMPTS)


def test_a_delivery_whose_table_does_not_answer_ends_before_lambda_ends_it(world: World) -> None:
    world.invoke("callback", ICE)
    [message] = world.received()

    done = world.invoke("notify", {"Records": [message]}, hanging("BatchGetItem"))

    assert done.answer == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    assert done.attempts["BatchGetItem"] == ATTEMPTS
    assert done.seconds < BACKGROUND.max_seconds + 1 < Stack().properties("NotifyFunction")["Timeout"]


class Hour(Run):
    """A run in which an operation fails for an hour of deliveries."""

    def drain(self, step: str) -> None:
        assert self.target
        down = [Target(self.target.operation, number, self.target.fault) for number in range(1, 9)]
        self.world.drain(*down, deliveries=6)


@pytest.mark.parametrize("operation", ["BatchGetItem", "PutItem", "PutEvents"])
def test_an_hour_without_the_table_or_the_bus_loses_and_doubles_nothing(aws: Aws, operation: str) -> None:
    # On AWS it would be tried once a minute; the outcome does not depend on that.
    hour = Hour(World(aws, retried_after=timedelta(minutes=10)), target=Target(operation, 1, Fault.ERROR))

    disturbed, undisturbed = (play("recorded call", run) for run in (hour, Run(World(aws))))

    assert disturbed.world.now - sinch.NOW >= timedelta(hours=1)
    assert Outcome.of(disturbed.world) == Outcome.of(undisturbed.world)
