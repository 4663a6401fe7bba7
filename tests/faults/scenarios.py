"""What happens to a stack in a run, step by step, and what may befall one of the steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from call_recorder.answering.parameter_names import CREDENTIALS
from tests import sinch
from tests.faults.injection import Target
from tests.faults.world import BUCKET, World

PLACE: Final = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}"
URL: Final = f"{PLACE}.mp3"
ON_ANSWER: Final = {"type": "number", "endpoint": "+46700000009"}


@dataclass
class Run:
    """A run of a scenario in a world of its own, with one call of one step disturbed.

    Attributes:
        step: the step that is disturbed, or none.
        answers: the status with which each callback was answered, by step.
        recorded: whether Sinch was told to record, and so did.
        made: which calls each step made, as ``PutItem 2``.
    """

    world: World
    step: str | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        self.answers: dict[str, int | None] = {}
        self.recorded = False
        self.made: dict[str, list[str]] = {}

    def at(self, after: timedelta) -> None:
        """Set the functions' clock."""
        self.world.now = sinch.NOW + after

    def callback(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a callback; return the SVAML that it was answered with, or nothing."""
        event = sinch.signed(body, timestamp=sinch.stamp(self.world.now))
        done = self.world.invoke("callback", event, *self._targets(step))
        self._note(step, done.calls)
        self.answers[step] = done.answer["statusCode"] if done.answer else None
        svaml: dict[str, Any] = json.loads((done.answer or {}).get("body") or "{}")
        self.recorded = self.recorded or "recordingOptions" in json.dumps(svaml) or '"options"' in json.dumps(svaml)
        return svaml

    def object(self, url: str = URL, size: int = 4321) -> None:
        """Let the bucket say that it has an object."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": "0123456789abcdef" * 2}}
        event = {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
        self.world.put(json.dumps(event | {"time": sinch.stamp(self.world.now)}))

    def drain(self, step: str) -> None:
        """Have NotifyFunction take what is on the queue."""
        self._note(step, self.world.drain(*self._targets(step)))

    def watchdog(self, step: str) -> None:
        """Run the watchdog; when it fails, its schedule runs it again five minutes later."""
        done = self.world.invoke("watchdog", {}, *self._targets(step))
        self._note(step, done.calls)
        if done.answer is None:
            self.world.now += timedelta(minutes=5)
            assert self.world.invoke("watchdog", {}).answer is not None

    def _targets(self, step: str) -> list[Target]:
        return [self.target] if self.target and step == self.step else []

    def _note(self, step: str, calls: Mapping[str, int]) -> None:
        self.made[step] = [
            f"{name} {number}" for name, count in sorted(calls.items()) for number in range(1, count + 1)
        ]


def recorded_call(run: Run) -> None:
    """A call is recorded, announced by Sinch and witnessed by the bucket, all of it learnt at once."""
    run.world.put_parameter(CREDENTIALS, "AKIDOFTHEUPLOADER:secret:us-east-1")
    run.callback("ice", sinch.ice())
    run.at(timedelta(minutes=1))
    if run.recorded:
        run.callback("finished", sinch.notify("recording_finished"))
        run.object()
        run.callback("available", sinch.notify("recording_available", destination=URL))
        run.object(URL.replace(".mp3", "-transcript.json"), 99)
        run.callback("transcribed", sinch.notify("transcription_available"))
    run.callback("dice", sinch.dice(**({} if run.recorded else {"result": "FAILED"})))
    run.drain("take")
    _look_later(run)


def object_first(run: Run) -> None:
    """The bucket's word overtakes the request, and no notification ever comes."""
    run.recorded = True
    run.world.put_parameter(CREDENTIALS, "AKIDOFTHEUPLOADER:secret:us-east-1")
    run.object()
    run.drain("take the object")
    run.at(timedelta(minutes=20))
    run.callback("ice", sinch.ice())
    run.drain("take the request")
    _look_later(run)


def lost_recording(run: Run) -> None:
    """Sinch records and cannot store: it says that it finished, and then nothing."""
    run.world.put_parameter(CREDENTIALS, "AKIDOFTHEUPLOADER:secret:us-east-1")
    run.callback("ice", sinch.ice())
    run.callback("dice", sinch.dice())
    run.callback("finished", sinch.notify("recording_finished"))
    run.drain("take")
    _look_later(run)


def recorded_on_answer(run: Run) -> None:
    """A call is recorded from its answer, which another process has to decide on."""
    run.world.put_parameter(CREDENTIALS, "AKIDOFTHEUPLOADER:secret:us-east-1")
    run.callback("ice", sinch.ice(to=ON_ANSWER, originationType="MXP"))
    run.drain("take the call")
    run.at(timedelta(minutes=20))
    run.callback("ace", sinch.ace())
    run.at(timedelta(minutes=21))
    if run.recorded:
        run.object()
    run.callback("dice", sinch.dice())
    run.drain("take the rest")
    _look_later(run)


def nobodys_object(run: Run) -> None:
    """An object comes that nobody asked for."""
    run.object(f"s3://{BUCKET}/recordings/of-nobody.mp3")
    run.drain("take")
    _look_later(run)


def _look_later(run: Run) -> None:
    """Look after everything that could have come must have come."""
    run.at(timedelta(hours=6))
    run.watchdog("watchdog")
    run.at(timedelta(hours=7))
    run.drain("take what is overdue")


SCENARIOS: Final[Mapping[str, Callable[[Run], None]]] = {
    "recorded call": recorded_call,
    "object first": object_first,
    "lost recording": lost_recording,
    "recorded on answer": recorded_on_answer,
    "nobody's object": nobodys_object,
}
