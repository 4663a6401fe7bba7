"""What strangers send costs no registered application its recording.

How few calls of SSM it takes is for tests/contract/test_calls_to_aws.py to show.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.answering.registered_applications import MAX_MISSES
from local import demo
from local.simulator import HttpTransport, app_to_app
from tests.integration.conftest import COLD_START_SECONDS, new_application, new_environments, parameter

if TYPE_CHECKING:
    from local.simulator import Simulator
    from local.stack import LocalStack

FLOOD = 300
ATTEMPTS = 3
"""A busy machine may keep SSM from answering in time, and then a stranger's call is connected unrecorded."""


def is_recorded(simulator: Simulator) -> bool:
    """Send an application's ICE; return whether the answer has the call recorded."""
    answer = simulator.post(app_to_app("alice").ice(simulator.application.key, datetime.now(UTC)))
    return answer.status == HTTPStatus.OK and b"recordingOptions" in answer.body


def strangers_are_refused(stack: LocalStack, number: int = 2 * MAX_MISSES) -> bool:
    """Send ICEs with made-up keys of all lengths; return whether each is refused, and the next application recorded."""
    stranger = stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
    for _ in range(ATTEMPTS):
        statuses = set()
        with new_application(stack, parameter(stack, demo.DEMO, CREDENTIALS)) as application, new_environments(stack):
            for each in range(number):
                key = f"{uuid4()}-{each}".ljust(each % 128, "x")[:128]
                stranger.application = demo.make_application(key)
                statuses.add(stranger.post(app_to_app("alice").ice(key, datetime.now(UTC))).status)
            if statuses == {HTTPStatus.UNAUTHORIZED}:
                return is_recorded(application)
    return False


@pytest.mark.long
def test_made_up_keys_cost_an_application_that_was_never_seen_nothing(stack: LocalStack) -> None:
    assert strangers_are_refused(stack, FLOOD)
