"""What happens to a stack in a run, step by step. One call of one step may be disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from call_recorder.facts.facts import ObjectStoredFact
from tests import sinch
from tests.aws import object_created
from tests.fakes import BUCKET
from tests.faults.injection import Target
from tests.faults.world import ON_ANSWER, Invocation, World

URL: Final = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}.mp3"


@dataclass
class Run:
    """A run of a scenario in a world of its own.

    Attributes:
        step: the step that is disturbed, or none.
        answers: the status with which each callback was answered, by step.
        recorded: whether Sinch was asked to record, and so did.
        made: which calls each step made, as ``PutItem 2``.
    """

    world: World
    step: str | None = None
    target: Target | None = None
    answers: dict[str, int | None] = field(default_factory=dict)
    recorded: bool = False
    made: dict[str, list[str]] = field(default_factory=dict)

    def at(self, **after: float) -> None:
        """Set the functions' clock to a time after the call began."""
        self.world.now = sinch.NOW + timedelta(**after)

    def callback(self, step: str, body: dict[str, Any]) -> None:
        """Send a callback."""
        event = sinch.signed(body, timestamp=sinch.stamp(self.world.now))
        answer = self._note(step, self.world.invoke("callback", event, *self._targets(step))).answer or {}
        self.answers[step] = answer.get("statusCode")
        self.recorded = self.recorded or "recordingOptions" in answer.get("body", "") or '"options"' in str(answer)

    def object(self, url: str = URL, size: int = 4321) -> None:
        """Have the bucket announce an object."""
        event = object_created(ObjectStoredFact(at=self.world.now, url=url, size=size, checksum="0123456789abcdef" * 2))
        self.world.aws.sqs.send_message(QueueUrl=self.world.queue_url, MessageBody=json.dumps(event))

    def drain(self, step: str) -> None:
        """Deliver what is on the queue to NotifyFunction."""
        self._note(step, self.world.drain(*self._targets(step)))

    def look_later(self) -> None:
        """Run the watchdog when everything must have come. If it fails, its schedule runs it again."""
        self.at(hours=6)
        done = self._note("watchdog", self.world.invoke("watchdog", {}, *self._targets("watchdog")))
        if done.answer is None:
            self.world.now += timedelta(minutes=5)
            assert self.world.invoke("watchdog", {}).answer is not None
        self.at(hours=7)
        self.drain("take what is overdue")

    def _targets(self, step: str) -> list[Target]:
        return [self.target] if self.target and step == self.step else []

    def _note(self, step: str, done: Invocation) -> Invocation:
        self.made[step] = done.made
        return done


def recorded_call(run: Run) -> None:
    """Record a call that Sinch and the bucket announce, and take all of it at once."""
    run.callback("ice", sinch.ice())
    run.at(minutes=1)
    if run.recorded:
        run.callback("finished", sinch.notify("recording_finished"))
        run.object()
        run.callback("available", sinch.notify("recording_available", destination=URL))
        run.object(URL.replace(".mp3", "-transcript.json"), 99)
        run.callback("transcribed", sinch.notify("transcription_available"))
    run.callback("dice", sinch.dice(**({} if run.recorded else {"result": "FAILED"})))
    run.drain("take")


def object_first(run: Run) -> None:
    """Have the bucket announce the object before the request comes, and Sinch never."""
    run.recorded = True
    run.object()
    run.drain("take the object")
    run.at(minutes=20)
    run.callback("ice", sinch.ice())
    run.drain("take the request")


def lost_recording(run: Run) -> None:
    """Have Sinch record and not store: it announces the end of the recording, and then nothing."""
    run.callback("ice", sinch.ice())
    run.callback("dice", sinch.dice())
    run.callback("finished", sinch.notify("recording_finished"))
    run.drain("take")


def recorded_on_answer(run: Run) -> None:
    """Record a call from its answer, which another process has to decide on."""
    run.callback("ice", sinch.ice("number", ON_ANSWER, originationType="MXP"))
    run.drain("take the call")
    run.at(minutes=20)
    run.callback("ace", sinch.ace())
    run.at(minutes=21)
    if run.recorded:
        run.object()
    run.callback("dice", sinch.dice())
    run.drain("take the rest")


def unknown_object(run: Run) -> None:
    """Announce an object that no call asked for."""
    run.object(f"s3://{BUCKET}/recordings/unknown.mp3")
    run.drain("take")


SCENARIOS: Final[Mapping[str, Callable[[Run], None]]] = {
    "recorded call": recorded_call,
    "object first": object_first,
    "lost recording": lost_recording,
    "recorded on answer": recorded_on_answer,
    "unknown object": unknown_object,
}


def play(scenario: str, run: Run) -> Run:
    """Play a scenario to its end, and return the run."""
    SCENARIOS[scenario](run)
    run.look_later()
    return run
