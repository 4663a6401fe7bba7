"""What the functions are given: signed callbacks of calls that are recorded, and a batch of what becomes of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from call_recorder.answering.application import Application
from call_recorder.answering.policy import Policy
from call_recorder.facts.facts import Fact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.facts.messages import write_message
from call_recorder.sinch.callbacks import DiceCallback, IceCallback, NotifyCallback, parse
from local import sample_events
from local.sample_events import APPLICATION, BUCKET, PUBLIC_PATH
from local.simulator.calls import Body, End, IncomingCall, app_to_phone, encode_body

Event = dict[str, Any]

PREFIX = "call-recorder"
PARAMETERS = {f"/{PREFIX}/{APPLICATION.key}/{name}": value for name, value in sample_events.PARAMETERS.items()}
"""What SSM holds: an application whose one rule records everything, with transcripts, into the stack's own bucket."""

BATCH = 10
"""Facts in a batch: as many as the queue hands over at once."""

_TALKED = End("ANSWERED", "CALLERHANGUP")
_JSON = "application/json"


def incoming(number: int) -> Iterator[Event]:
    """Yield so many ICE callbacks, each of another call and signed now, as API Gateway hands them over."""
    frame = sample_events.make_event("callback-ice-number", datetime.now(UTC))
    for _ in range(number):
        at = datetime.now(UTC).replace(microsecond=0)
        call = replace(app_to_phone("+46700000001"), call_id=str(uuid4()))
        body = encode_body(call.ice(APPLICATION.key, at))
        signed = APPLICATION.sign_headers(body, path=PUBLIC_PATH, content_type=_JSON, at=at)
        headers = frame["headers"] | {name.lower(): value for name, value in signed.items()}
        yield frame | {"headers": headers | {"content-length": str(len(body))}, "body": body.decode()}


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of facts, each about another call.

    Attributes:
        before: batches of what was heard of these calls before, in order.
        event: the batch itself.
    """

    before: Sequence[Event]
    event: Event


def batch() -> Batch:
    """Make a batch as there is in steady state, where each recorded call sends one fact of each kind.

    Two calls were just decided on, two have ended, of two Sinch stopped recording, of two the file is stored and of
    two the transcript. What went before is in the table.
    """
    at = datetime.now(UTC).replace(microsecond=0)
    calls = [replace(app_to_phone("+46700000001"), call_id=str(uuid4())) for _ in range(BATCH)]
    histories = [_history(call, at)[: 1 + number // 2] for number, call in enumerate(calls)]
    steps = range(max(map(len, histories)))
    before = [[history[step] for history in histories if step < len(history) - 1] for step in steps]
    return Batch(
        before=[_queue_event(facts) for facts in before if facts],
        event=_queue_event(history[-1] for history in histories),
    )


def _history(call: IncomingCall, at: datetime) -> list[str]:
    """Return all that is heard of a call that is recorded, as CallbackFunction queues it."""
    file = f"s3://{BUCKET}/recordings/{at:%Y/%m/%d}/{call.call_id}"
    bodies: list[Body] = [
        call.ice(APPLICATION.key, at),
        call.dice(APPLICATION.key, at, _TALKED, seconds=42),
        call.notify("recording_finished"),
        call.notify("recording_available", destination=f"{file}.mp3"),
        call.notify("transcription_available", destination=f"{file}-transcript.json"),
    ]
    return [write_message(_fact(encode_body(body), at)) for body in bodies]


def _fact(content: bytes, at: datetime) -> Fact:
    fact: Fact | None = None
    match parse(content):
        case IceCallback() as ice:
            known = Application.from_parameters(APPLICATION.key, sample_events.PARAMETERS, own_bucket=BUCKET)
            fact = Policy(APPLICATION.key, known.recorder, at).ice(ice).fact if known.recorder else None
        case (DiceCallback() | NotifyCallback()) as callback:
            fact = fact_from_callback(callback, application_key=APPLICATION.key, at=at, body=content)
        case _:
            pass
    if fact is None:
        raise ValueError("nothing of this callback goes on the queue")
    return fact


def _queue_event(bodies: Iterable[str]) -> Event:
    """Wrap facts as Lambda's event source does."""
    return {"Records": [_message(number, body) for number, body in enumerate(bodies)]}


def _message(number: int, body: str) -> Event:
    return {
        "messageId": str(uuid5(NAMESPACE_URL, f"{number} {body}")),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1795426200000",
            "SenderId": "AROASAMPLEROLE:call-recorder-callback",
            "ApproximateFirstReceiveTimestamp": "1795426200012",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:call-recorder-call-facts",
        "awsRegion": "eu-west-1",
    }


def lines(events: Iterable[Event]) -> str:
    """Write events as the runner reads them."""
    return "".join(json.dumps(event) + "\n" for event in events)
