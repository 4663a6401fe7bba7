"""The time limits add up: a caller waits for ICE, Sinch for a notification, the queue for the function."""

from __future__ import annotations

from datetime import timedelta

import pytest

from call_recorder.adapters import limits
from call_recorder.answering.registered_applications import LISTING_SECONDS
from call_recorder.tracking.fact_processor import CLAIM
from tests.template.stack import Stack


def test_the_worst_case_of_an_ice_is_under_three_seconds() -> None:
    """SSM may be asked twice: for the list of applications, and for one's parameters."""
    listing = LISTING_SECONDS + limits.LISTING.overall

    assert listing <= limits.PARAMETERS.overall
    assert listing + limits.PARAMETERS.overall + limits.FACT.overall < 3


@pytest.mark.parametrize("within", [limits.PARAMETERS, limits.FACT, limits.KNOWN_CALL, limits.NOTIFICATION])
def test_what_a_caller_waits_for_is_tried_twice(within: limits.Limits) -> None:
    assert within.attempts == 2
    assert within.overall - within.attempt >= 0.3


def test_sinch_is_answered_within_four_seconds_whatever_is_late() -> None:
    assert (
        limits.UPSTREAM_DEADLINE_SECONDS + limits.KNOWN_CALL.overall + limits.FACT.overall
        <= limits.MAX_ANSWER_SECONDS + 1e-9
    )
    assert Stack().properties("CallbackFunction")["Timeout"] > limits.MAX_ANSWER_SECONDS


def test_the_worst_case_of_a_notification_is_under_five_seconds() -> None:
    assert 2 * limits.PARAMETERS.overall + limits.NOTIFICATION.overall < 5


def test_a_call_ends_before_its_function_claim_and_message_do() -> None:
    stack = Stack()
    timeout = timedelta(seconds=stack.properties("NotifyFunction")["Timeout"])
    visibility = timedelta(seconds=stack.properties("RecordingQueue")["VisibilityTimeout"])

    assert timedelta(seconds=limits.BACKGROUND.max_seconds) < timeout < CLAIM < visibility


@pytest.mark.parametrize("within", [limits.BACKGROUND, limits.STORAGE_CREDENTIALS, limits.ACCESS_KEYS])
def test_the_scheduled_functions_have_time_for_several_of_the_longest_calls(within: limits.SdkLimits) -> None:
    for name in ("WatchdogFunction", "RotationFunction"):
        assert 4 * within.max_seconds < Stack().properties(name)["Timeout"]


def test_connections_are_closed_before_load_balancers_drop_them() -> None:
    assert limits.MAX_IDLE_SECONDS < 350


def test_an_access_key_is_created_by_one_attempt_alone() -> None:
    assert limits.ACCESS_KEYS.attempts == 1
