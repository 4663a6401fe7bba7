"""What Amazon S3 says by Amazon EventBridge, in the form of AWS's documents and in the emulator's."""

import json
from typing import Any

import pytest
from hypothesis import given
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


@pytest.mark.parametrize("made", [of_aws, of_the_emulator])
def test_a_new_object_is_told_by_url_size_checksum_and_time(made: Any) -> None:
    stored = read_s3_event(json.dumps(made()))

    assert stored is not None
    assert stored.model_dump(mode="json") == {
        "fact": "object-stored",
        "at": made()["time"].replace(".250Z", ".250000Z"),
        "url": f"s3://{BUCKET}/{KEY}",
        "size": 4711,
        "checksum": ETAG,
    }


@pytest.mark.parametrize("key", ["recordings/a b+ü_5f%2F.mp3", "recordings/會議.mp3", "recordings/a?b#c.mp3"])
def test_a_key_comes_as_it_is_and_not_url_encoded(key: str) -> None:
    stored = read_s3_event(json.dumps(of_aws(key=key)))

    assert stored is not None
    assert stored.url == f"s3://{BUCKET}/{key}"


def test_an_empty_object_is_one() -> None:
    stored = read_s3_event(json.dumps(of_aws(size=0)))

    assert stored is not None
    assert stored.size == 0


def test_an_object_without_a_checksum_is_one() -> None:
    event = of_aws()
    del event["detail"]["object"]["etag"]

    stored = read_s3_event(json.dumps(event))

    assert stored is not None
    assert stored.checksum is None


def without(*path: str) -> dict[str, Any]:
    event = target = of_aws()
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    return event


@pytest.mark.parametrize(
    "event",
    [
        of_aws() | {"source": "aws.s3.replication"},
        of_aws() | {"source": "evil"},
        of_aws() | {"detail-type": "Object Deleted"},
        of_aws() | {"detail-type": "Object Restore Completed"},
        of_aws() | {"detail": {}},
        of_aws() | {"detail": None},
        of_aws() | {"time": "yesterday"},
        of_aws() | {"time": "9999-12-31T23:59:59Z"},
        of_aws(size=-1),
        of_aws(size="many"),
        of_aws(size=10**200),
        of_aws(key=""),
        of_aws(key="k" * 3000),
        of_aws(key=None),
        without("time"),
        without("detail", "bucket"),
        without("detail", "object"),
        without("detail", "object", "key"),
        without("detail", "object", "size"),
        {"fact": "object-stored", "url": f"s3://{BUCKET}/{KEY}", "at": "2026-11-23T09:30:07Z", "size": 1},
        [of_aws()],
        {},
        "Object Created",
        None,
    ],
)
def test_anything_else_is_no_new_object(event: Any) -> None:
    assert read_s3_event(json.dumps(event)) is None


@pytest.mark.parametrize("message", ["", "{", "\x00", '{"source":"aws.s3"', "[" * 5000, "1" * 5000, "NaN"])
def test_what_is_no_json_is_no_new_object(message: str) -> None:
    assert read_s3_event(message) is None


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_message_breaks_the_reader(message: str) -> None:
    assert read_s3_event(message) is None


def test_what_the_bucket_says_is_no_call_fact_and_the_other_way_round() -> None:
    with pytest.raises(MalformedFact):
        messages.read_message(json.dumps(of_aws()))
    stored = read_s3_event(json.dumps(of_aws()))
    assert isinstance(stored, ObjectStoredFact)
    assert messages.read_message(messages.write_message(stored)) == stored
    assert read_s3_event(messages.write_message(stored)) is None
