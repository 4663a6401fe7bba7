"""One recorded call as its callbacks and the bucket report it, with ids, numbers and times of ordinary length."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

from call_recorder.answering.application import Application
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.facts.messages import QueueMessage
from tests import sinch
from tests.facts import stored
from tests.fakes import RECORD_ALL, STORAGE_CREDENTIALS, Applications, Front

BUCKET: Final = "call-recorder-recordingsbucket-1a2b3c4d5e6f"
"""The stack's bucket, with a name as CloudFormation makes them."""

MAX_WRITE_UNITS: Final = 30
"""What the writes of a recorded call may use at most, each fact in a batch of its own."""

_ENDED, _FINISHED, _STORED, _ANNOUNCED = (timedelta(minutes=3, seconds=each) for each in (0, 1, 3, 4))

ORDERS: Final = {
    "notification first": ("decided", "ended", "finished", "announced", "stored"),
    "bucket first": ("decided", "ended", "finished", "stored", "announced"),
}
"""The orders in which the two witnesses of a file can come."""


def play() -> dict[str, QueueMessage]:
    """Return the messages of a phone call of three minutes that is recorded into the stack's own bucket."""
    parameters = {SECRETS: sinch.SECRET, PROFILE: json.dumps(RECORD_ALL), CREDENTIALS: STORAGE_CREDENTIALS}
    application = Application.from_parameters(sinch.APPLICATION, parameters, own_bucket=BUCKET)
    front = Front(applications=Applications(application))
    answer = front.answer(sinch.ice("number", "+46700000002", userId="alice"))
    url = answer["action"]["recordingOptions"]["destinationUrl"]
    _report(front, sinch.dice(timestamp=sinch.stamp(sinch.NOW + _ENDED), duration=180), _ENDED)
    _report(front, sinch.notify("recording_finished"), _FINISHED)
    _report(front, sinch.notify("recording_available", destination=url), _ANNOUNCED)
    decided, *reports = [*front.facts.sent, *front.notifications.sent]
    ended, finished, announced = reports
    return {
        "decided": decided,
        "ended": ended,
        "finished": finished,
        "announced": announced,
        "stored": stored(url, size=720_000, at=sinch.NOW + _STORED, checksum="9b2cf535f27731c974343645a3985328"),
    }


def _report(front: Front, body: dict[str, Any], after: timedelta) -> None:
    """Deliver a callback that Sinch sends some time after the ICE."""
    front.clock.now = sinch.NOW + after
    assert front.status(sinch.signed(body, timestamp=sinch.stamp(front.clock.now))) == 200
