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
def test_what_a_caller_waits_for_is_tried_twice_and_the_second_attempt_has_time_of_its_own(
    within: limits.Limits,
) -> None:
    assert within.attempts == 2
    assert within.overall - within.attempt >= 0.3


def test_a_late_backend_a_table_and_a_queue_that_do_not_answer_leave_an_answer_within_four_seconds() -> None:
    after_upstream = limits.KNOWN_CALL.overall + limits.FACT.overall

    assert limits.UPSTREAM_DEADLINE_SECONDS + after_upstream <= limits.MAX_ANSWER_SECONDS + 1e-9
    assert Stack().properties("CallbackFunction")["Timeout"] > limits.MAX_ANSWER_SECONDS


def test_the_worst_case_of_a_notification_is_under_what_sinch_documents_for_its_newer_api() -> None:
    assert 2 * limits.PARAMETERS.overall + limits.NOTIFICATION.overall < 5


def test_a_call_by_boto3_ends_before_the_function_the_function_before_the_claim_the_claim_before_the_message() -> None:
    stack = Stack()
    timeout = timedelta(seconds=stack.properties("NotifyFunction")["Timeout"])
    visibility = timedelta(seconds=stack.properties("RecordingQueue")["VisibilityTimeout"])

    assert timedelta(seconds=limits.BACKGROUND.max_seconds) < timeout < CLAIM < visibility


@pytest.mark.parametrize("within", [limits.BACKGROUND, limits.STORAGE_CREDENTIALS, limits.ACCESS_KEYS])
def test_the_scheduled_functions_have_time_for_several_calls_that_take_their_longest(within: limits.SdkLimits) -> None:
    for name in ("WatchdogFunction", "RotationFunction"):
        assert 4 * within.max_seconds < Stack().properties(name)["Timeout"]


def test_connections_are_not_kept_for_as_long_as_load_balancers_keep_them() -> None:
    assert limits.MAX_IDLE_SECONDS < 350
