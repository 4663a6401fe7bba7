"""Events of Amazon S3 by Amazon EventBridge, as AWS documents them and as the emulator writes them."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from call_recorder.adapters.s3_events import read_s3_event
from call_recorder.facts import messages
from call_recorder.facts.facts import ObjectStoredFact
from call_recorder.facts.messages import MalformedFact
from tests import sinch
from tests.fakes import BUCKET

KEY = f"recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}.mp3"
ETAG = "9b2cf535f27731c974343645a3985328"


def of_aws(**of_object: Any) -> dict[str, Any]:
    """Return an event with every field that AWS documents."""
    return {
        "version": "0",
        "id": "7d0ab8a4-5b11-4f6e-9d1c-2e8f3a6b9c04",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "210987654321",
        "time": "2026-11-23T09:30:07Z",
        "region": "eu-west-1",
        "resources": [f"arn:aws:s3:::{BUCKET}"],
        "detail": {
            "version": "0",
            "bucket": {"name": BUCKET},
            "object": {
                "key": KEY,
                "size": 4711,
                "etag": ETAG,
                "version-id": "aXk3vZ0QqW1eRt5yUiOp",
                "sequencer": "0065A1B2C3D4E5F607",
            }
            | of_object,
            "request-id": "8QJ5Z3F1K7N2T6VB",
            "requester": "210987654321",
            "source-ip-address": "192.0.2.7",
            "reason": "PutObject",
        },
    }


def of_the_emulator(**of_object: Any) -> dict[str, Any]:
    """Return an event with another set of fields, and a time to the millisecond."""
    event = of_aws(**of_object) | {"time": "2026-11-23T09:30:07.250Z", "account": "000000000000"}
    event["detail"]["event-version"] = "1.0"
    del event["detail"]["object"]["version-id"]
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
        (of_the_emulator(), {"at": "2026-11-23T09:30:07.250000Z"}),
        *(
            (of_aws(key=key), {"url": f"s3://{BUCKET}/{key}"})  # as it is, and not URL-encoded
            for key in ("recordings/a b+ü_5f%2F.mp3", "recordings/會議.mp3", "recordings/a?b#c.mp3")
        ),
        (of_aws(size=0), {"size": 0}),
        (without("detail", "object", "etag"), {"checksum": None}),
    ],
)
def test_a_new_object_has_url_size_checksum_and_time(event: dict[str, Any], changed: dict[str, Any]) -> None:
    stored = read_s3_event(json.dumps(event))

    assert stored is not None
    assert (
        stored.model_dump(mode="json")
        == {
            "fact": "object-stored",
            "at": "2026-11-23T09:30:07Z",
            "url": f"s3://{BUCKET}/{KEY}",
            "size": 4711,
            "checksum": ETAG,
        }
        | changed
    )


@pytest.mark.parametrize(
    "event",
    [
        *(of_aws() | {"source": source} for source in ("aws.s3.replication", "evil")),
        *(of_aws() | {"detail-type": kind} for kind in ("Object Deleted", "Object Restore Completed")),
        of_aws() | {"detail": {}},
        of_aws() | {"detail": None},
        *(of_aws() | {"time": time} for time in ("yesterday", "9999-12-31T23:59:59Z")),
        *(of_aws(size=size) for size in (-1, "many", 10**200)),
        *(of_aws(key=key) for key in ("", "k" * 3000, None)),
        *(without("detail", *path) for path in (["bucket"], ["object"], ["object", "key"], ["object", "size"])),
        without("time"),
        {"fact": "object-stored", "url": f"s3://{BUCKET}/{KEY}", "at": "2026-11-23T09:30:07Z", "size": 1},
        [of_aws()],
        {},
        "Object Created",
        None,
    ],
)
def test_anything_else_is_no_new_object(event: Any) -> None:
    assert read_s3_event(json.dumps(event)) is None


@example("")
@example("{")
@example("\x00")
@example('{"source":"aws.s3"')
@example("[" * 5000)
@example("1" * 5000)
@example("NaN")
@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_message_breaks_the_reader(message: str) -> None:
    assert read_s3_event(message) is None


def test_an_s3_event_is_no_fact_and_a_fact_no_s3_event() -> None:
    with pytest.raises(MalformedFact):
        messages.read_message(json.dumps(of_aws()))
    stored = read_s3_event(json.dumps(of_aws()))
    assert isinstance(stored, ObjectStoredFact)
    assert messages.read_message(messages.write_message(stored)) == stored
    assert read_s3_event(messages.write_message(stored)) is None
