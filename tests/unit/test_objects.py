"""Events of Amazon S3 by Amazon EventBridge, of which some become facts."""

import json
from datetime import timedelta
from typing import Any

import pytest

from call_recorder.adapters.s3_events import read_s3_event
from call_recorder.facts import messages
from call_recorder.facts.facts import ObjectStoredFact
from call_recorder.facts.messages import MalformedFact
from tests import sinch
from tests.aws import object_created
from tests.fakes import BUCKET

KEY = f"recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}.mp3"
STORED = ObjectStoredFact(url=f"s3://{BUCKET}/{KEY}", size=4711, checksum="9b2cf535f27731c9", at=sinch.NOW)


def of_aws(**of_object: Any) -> dict[str, Any]:
    event = object_created(STORED)
    event["detail"]["object"] |= of_object
    return event


def without(*path: str) -> dict[str, Any]:
    event = target = of_aws()
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    return event


@pytest.mark.parametrize(
    ("event", "changed"),
    [
        (of_aws(), {}),
        (of_aws() | {"time": "2026-11-23T09:30:00.250Z"}, {"at": sinch.NOW + timedelta(milliseconds=250)}),
        *(
            (of_aws(key=key), {"url": f"s3://{BUCKET}/{key}"})  # as it is, and not URL-encoded
            for key in ("recordings/a b+ü_5f%2F.mp3", "recordings/a?b#c.mp3")
        ),
        (of_aws(size=0), {"size": 0}),
        (without("detail", "object", "etag"), {"checksum": None}),
    ],
)
def test_a_new_object_has_url_size_checksum_and_time(event: dict[str, Any], changed: dict[str, Any]) -> None:
    assert read_s3_event(json.dumps(event)) == STORED.model_copy(update=changed)


@pytest.mark.parametrize(
    "event",
    [
        *(of_aws() | {"source": source} for source in ("aws.s3.replication", "evil")),
        of_aws() | {"detail-type": "Object Deleted"},
        of_aws() | {"time": "9999-12-31T23:59:59Z"},
        *(of_aws(size=size) for size in (-1, 10**200)),
        *(of_aws(key=key) for key in ("", "k" * 3000)),
        *(without("detail", *path) for path in (["bucket"], ["object", "size"])),
        [of_aws()],
    ],
)
def test_anything_else_is_no_new_object(event: Any) -> None:
    assert read_s3_event(json.dumps(event)) is None


def test_an_s3_event_is_no_fact_and_a_fact_no_s3_event() -> None:
    with pytest.raises(MalformedFact):
        messages.read_message(json.dumps(of_aws()))
    assert read_s3_event(messages.write_message(STORED)) is None
