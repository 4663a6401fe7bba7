"""The input of the functions: signed callbacks of calls that are recorded, and a batch of facts about such calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from local import sample_events
from local.sample_events import APPLICATION, PUBLIC_PATH
from local.simulator.calls import app_to_phone, encode_body

Event = dict[str, Any]

PREFIX = "call-recorder"
PARAMETERS = {f"/{PREFIX}/{APPLICATION.key}/{name}": value for name, value in sample_events.PARAMETERS.items()}
"""SSM's parameters: an application whose one rule records everything, with transcripts, into the stack's own bucket."""

MAX_BATCH = 10
"""The number of messages that the queue hands over at once."""


def sign_callbacks(number: int) -> Iterator[Event]:
    """Yield ICE callbacks as API Gateway hands them over, each of another call and signed now."""
    frame = sample_events.make_event("callback-ice-number", datetime.now(UTC))
    for _ in range(number):
        at = datetime.now(UTC).replace(microsecond=0)
        body = encode_body(replace(app_to_phone("+46700000001"), call_id=str(uuid4())).ice(APPLICATION.key, at))
        signed = APPLICATION.sign_headers(body, path=PUBLIC_PATH, content_type="application/json", at=at)
        headers = frame["headers"] | {name.lower(): value for name, value in signed.items()}
        yield frame | {"headers": headers | {"content-length": str(len(body))}, "body": body.decode()}


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of facts, each about another call.

    Attributes:
        before: batches of the earlier facts about these calls, in order.
        event: the batch itself.
    """

    before: Sequence[Event]
    event: Event


def make_batch() -> Batch:
    """Make a batch of the steady state, in which each recorded call sends one fact of each kind.

    Two calls were just decided on, two have ended, of two Sinch stopped recording, of two the file is stored and of
    two the transcript. The earlier facts are in the table already.
    """
    records = sample_events.make_event("notify-whole-call", datetime.now(UTC))["Records"]
    histories = [list(_rename(records[: 1 + number // 2])) for number in range(MAX_BATCH)]
    return Batch(
        before=[
            {"Records": [history[step] for history in histories if step < len(history) - 1]}
            for step in range(len(records) - 1)
        ],
        event={"Records": [history[-1] for history in histories]},
    )


def _rename(records: Sequence[Event]) -> Iterator[Event]:
    """Yield the records of the sample's call as those of another call."""
    known, call_id = json.loads(records[0]["body"])["callId"], str(uuid4())
    for record in records:
        body: str = record["body"].replace(known, call_id)
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        yield record | {"messageId": str(uuid4()), "body": body, "md5OfBody": digest}
