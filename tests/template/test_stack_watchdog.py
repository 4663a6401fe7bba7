"""The rounds of the watchdog do not overlap, and Lambda gives each the processor time that it needs."""

from __future__ import annotations

from call_recorder.functions.watchdog import MARGIN_MILLISECONDS
from tests.template.stack import Stack

SECONDS_BETWEEN_ROUNDS = 300
COMMANDS_A_SECOND = 500
COMMANDS_OF_A_PROCESSOR_SECOND = 9_400
MEGABYTES_OF_A_PROCESSOR = 1_769
SLOWER_THAN_MEASURED = 3
"""docs/decisions/0013 has the measurement and the source. A processor of Lambda may be this many times as slow."""


def test_a_round_ends_before_the_schedule_starts_the_next(stack: Stack) -> None:
    function, schedule = stack.properties("WatchdogFunction"), stack.properties("WatchdogFunctionRound")

    assert schedule["ScheduleExpression"] == f"rate({SECONDS_BETWEEN_ROUNDS // 60} minutes)"
    assert 0.9 * SECONDS_BETWEEN_ROUNDS < function["Timeout"] < SECONDS_BETWEEN_ROUNDS


def test_lambda_repeats_no_round_beside_the_next(stack: Stack) -> None:
    configs = stack.of_type("AWS::Lambda::EventInvokeConfig").values()
    [repeats] = [each for each in configs if each["FunctionName"] == "WatchdogFunction"]

    assert repeats["Qualifier"] == "$LATEST"
    assert repeats["MaximumRetryAttempts"] == 0
    assert repeats["MaximumEventAgeInSeconds"] <= SECONDS_BETWEEN_ROUNDS


def test_the_memory_brings_enough_processor_time_for_500_a_second(stack: Stack) -> None:
    function = stack.properties("WatchdogFunction")
    seconds = function["Timeout"] - MARGIN_MILLISECONDS / 1000
    processor = function["MemorySize"] / MEGABYTES_OF_A_PROCESSOR

    needed = COMMANDS_A_SECOND * SECONDS_BETWEEN_ROUNDS / COMMANDS_OF_A_PROCESSOR_SECOND
    assert SLOWER_THAN_MEASURED * needed < processor * seconds
