"""What subscribers rely on: the schemas, their samples, and events that fit them."""

import json
import re
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from moto.events.models import EventPattern

from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import (
    PUBLISHED,
    SCHEMA_VERSION,
    SOURCE,
    Event,
    RecordingMissingEvent,
    find_due_events,
    make_erased_event,
    make_erased_file_event,
    make_key_change_event,
)
from call_recorder.tracking.recording import Recording
from local import schemas
from tests import sinch
from tests.facts import stored as stored_object
from tests.fakes import BUCKET, DEADLINES
from tests.strategies import places, recordings

STEMS = [f"{event.detail_type.lower().replace(' ', '-')}.v{SCHEMA_VERSION}" for event in PUBLISHED]
ERASED = f"recording-erased.v{SCHEMA_VERSION}"
OTHERS = ("recording-unattributed", "uploader-key-changed", "recording-erased", "erased-file-stored")
OF_RECORDINGS = [stem for stem in STEMS if not stem.startswith(OTHERS)]
FIRST = Path(__file__).parent / "first_v1"
"""The samples as they were when version 1 was first published."""


def stored(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((schemas.SCHEMAS / name).read_text())
    return document


@cache
def schema_of(event: type[Event]) -> dict[str, Any]:
    return stored(f"{event.detail_type.lower().replace(' ', '-')}.v{SCHEMA_VERSION}.schema.json")


def as_delivered(event: Event) -> dict[str, Any]:
    return {"source": SOURCE, "detail-type": event.detail_type, "detail": json.loads(event.detail())}


def names(schema: dict[str, Any], definition: dict[str, Any]) -> set[str]:
    """Return the paths of all fields that a schema knows."""
    found: set[str] = set()
    for name, field in definition.get("properties", {}).items():
        target = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
        found |= {name, *(f"{name}.{inner}" for inner in names(schema, target))}
    return found


def paths(value: Any) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {name for key, inner in value.items() for name in (key, *(f"{key}.{each}" for each in paths(inner)))}


def assert_fits(event: Event) -> None:
    schema, delivered = schema_of(type(event)), as_delivered(event)
    Draft202012Validator(schema).validate(delivered)
    assert paths(delivered) <= names(schema, schema)
    assert "null" not in re.sub(r'"(\\.|[^"\\])*"', "", event.detail())


def test_every_event_has_a_schema_and_a_sample_and_nothing_else_has() -> None:
    files = {path.name for path in schemas.SCHEMAS.glob(f"*.v{SCHEMA_VERSION}.*")}

    assert files == {f"{stem}.{kind}.json" for stem in STEMS for kind in ("schema", "sample")}


@pytest.mark.parametrize("name", sorted(schemas.make_files()))
def test_a_file_says_what_the_code_says(name: str) -> None:
    assert (schemas.SCHEMAS / name).read_text() == schemas.make_files()[name], "run: python -m local.schemas"


@pytest.mark.parametrize("stem", STEMS)
def test_a_sample_fits_its_schema_also_with_a_field_that_comes_later(stem: str) -> None:
    schema, sample = stored(f"{stem}.schema.json"), stored(f"{stem}.sample.json")

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(sample)
    sample["detail"]["data"]["later"] = sample["detail"]["later"] = "a later version's"
    Draft202012Validator(schema).validate(sample)


@pytest.mark.parametrize("path", sorted(FIRST.iterdir()), ids=lambda path: path.name)
def test_an_event_of_the_first_version_still_fits_its_schema(path: Path) -> None:
    schema = stored(path.name.replace(".sample.", ".schema."))

    Draft202012Validator(schema).validate(json.loads(path.read_text()))


@pytest.mark.parametrize("name", ["recording-requested.v1.sample.json", "recording-finished.v1.sample.json"])
def test_the_id_of_an_event_stays_as_in_the_first_version(name: str) -> None:
    """An event that was published before an update is not published again after it."""
    first = json.loads((FIRST / name).read_text())

    assert stored(name)["detail"]["metadata"]["eventId"] == first["detail"]["metadata"]["eventId"]


@pytest.mark.parametrize("stem", STEMS)
def test_a_sample_shows_every_field_but_those_of_conferences_and_headers(stem: str) -> None:
    schema, consent = stored(f"{stem}.schema.json"), "detail.data.consent"

    missing = names(schema, schema) - paths(stored(f"{stem}.sample.json"))

    alternatives = {"detail.data.conferenceId", f"{consent}.header", f"{consent}.headerValue"}
    of_others = {"detail.data.conferenceId"} if stem == ERASED else set()
    assert missing == (alternatives if stem in OF_RECORDINGS else of_others)


ENVELOPE = ["source", "detail-type", "detail.metadata.eventId", "detail.metadata.schemaVersion"]
"""What every schema demands, beside the fields of its data below."""
DEMANDED = {
    "recording-requested": ["recordingId", "applicationKey", "destinationUrl", "format", "transcription"],
    "recording-finished": ["recordingId", "applicationKey", "finishedAt"],
    "recording-available": ["recordingId", "applicationKey", "availableAt", "file"],
    "transcription-available": ["recordingId", "applicationKey", "availableAt", "file"],
    "recording-missing": ["recordingId", "applicationKey", "missingSince", "reason", "witnesses"],
    "recording-unattributed": ["storedAt", "file"],
    "uploader-key-changed": ["user", "key", "step"],
    "recording-erased": ["recordingId", "applicationKey", "erasedAt", "reason", "receiptId"],
    "erased-file-stored": ["storedAt", "file"],
}


@pytest.mark.parametrize(
    ("stem", "without"),
    [
        (f"{kind}.v{SCHEMA_VERSION}", each)
        for kind, fields in DEMANDED.items()
        for each in (*ENVELOPE, *(f"detail.data.{field}" for field in fields))
    ],
)
def test_a_schema_demands_what_a_consumer_needs(stem: str, without: str) -> None:
    sample = stored(f"{stem}.sample.json")
    *folders, name = without.split(".")
    target = sample
    for folder in folders:
        target = target[folder]
    del target[name]

    assert not Draft202012Validator(stored(f"{stem}.schema.json")).is_valid(sample)


@given(recordings, st.sampled_from([BUCKET, "bucket"]))
def test_every_event_of_a_recording_fits_its_schema(recording: Recording, own_bucket: str) -> None:
    marked = recording.mark_missing(sinch.NOW + timedelta(days=1), DEADLINES, own_bucket)

    for event in (*find_due_events(recording), *find_due_events(marked)):
        assert_fits(event)
        detail = json.loads(event.detail())
        stamps = [detail["metadata"]["occurredAt"]]
        stamps += [value for name, value in detail["data"].items() if name.endswith(("At", "Since"))]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp) for stamp in stamps)
    named = [event.data.reason for event in find_due_events(marked) if isinstance(event, RecordingMissingEvent)]
    assert named == [missing.reason for missing in marked.missing.values()]


@given(places())
def test_every_event_of_an_unattributed_file_fits_its_schema(place: ObjectLocation) -> None:
    for event in find_due_events(place):
        assert_fits(event)


@given(recordings, st.sampled_from(["request", "retention"]))
def test_every_erasure_and_late_file_fits_its_schema(
    recording: Recording, reason: Literal["request", "retention"]
) -> None:
    assert_fits(make_erased_event(recording, sinch.NOW, "3fa85f64-5717-4562-b3fc-2c963f66afa6", reason))
    assert_fits(make_erased_file_event(stored_object()))


@pytest.mark.parametrize("step", ["created", "handed-out", "deactivated", "deleted"])
def test_every_step_of_an_uploader_key_fits_its_schema(
    step: Literal["created", "handed-out", "deactivated", "deleted"],
) -> None:
    assert_fits(make_key_change_event(UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step=step)))


def test_the_names_in_subscribers_rules_stay_as_they_are() -> None:
    assert SOURCE == "call-recorder"
    assert [event.detail_type for event in PUBLISHED] == [
        *("Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"),
        *("Recording Missing", "Recording Unattributed", "Uploader Key Changed"),
        *("Recording Erased", "Erased File Stored"),
    ]


def matched(pattern: dict[str, Any]) -> list[str]:
    """Return the samples that a rule with this pattern matches."""
    rule = EventPattern.load(json.dumps(pattern))
    return [stem for stem in STEMS if rule.matches_event(stored(f"{stem}.sample.json"))]  # type: ignore[arg-type]


KINDS: tuple[type[Event], ...] = PUBLISHED
VERSION: dict[str, Any] = {"detail": {"metadata": {"schemaVersion": [SCHEMA_VERSION]}}}
OF_MISSING = [
    *({"reason": [{"anything-but": ["not-answered"]}]}, {"reason": ["not-stored", "empty-file"]}),
    *({"witnesses": ["storage"]}, {"result": ["ANSWERED"]}),
]
OF_A_FILE = {"file": {"bucket": ["example-recordings"], "size": [{"numeric": [">", 0]}]}}
STORED = [
    *("recording-available.v1", "transcription-available.v1", "recording-unattributed.v1"),
    "erased-file-stored.v1",
]
RULES: list[tuple[dict[str, Any], list[str]]] = [
    *(
        ({"source": [SOURCE], "detail-type": [event.detail_type]} | VERSION, [stem])
        for stem, event in zip(STEMS, KINDS, strict=True)
    ),
    ({"detail": {"data": {"applicationKey": ["6b1d7c52-0f3e-4a86-b7a4-0c9e2f5d8a13"]}}}, [*OF_RECORDINGS, ERASED]),
    *(
        ({"detail-type": ["Recording Missing"], "detail": {"data": data}}, ["recording-missing.v1"])
        for data in OF_MISSING
    ),
    ({"detail": {"data": OF_A_FILE}}, STORED),
]


@pytest.mark.parametrize(("pattern", "expected"), RULES)
def test_a_rule_matches_by_kind_application_reason_or_file(pattern: dict[str, Any], expected: list[str]) -> None:
    assert matched(pattern) == expected
