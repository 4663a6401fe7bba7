"""What subscribers rely on: the schemas, their samples, and that what goes out fits them."""

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from call_recorder.recording.events import PUBLISHED, SCHEMA_VERSION, SOURCE, Event, due
from call_recorder.recording.recording import Recording
from local import schemas
from tests.strategies import recordings

STEMS = [f"{event.detail_type.lower().replace(' ', '-')}.v{SCHEMA_VERSION}" for event in PUBLISHED]


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


def test_every_event_has_a_schema_and_a_sample_and_there_is_no_other_file() -> None:
    files = {path.name for path in schemas.SCHEMAS.glob(f"*.v{SCHEMA_VERSION}.*")}

    assert files == {f"{stem}.{kind}.json" for stem in STEMS for kind in ("schema", "sample")}


@pytest.mark.parametrize("name", sorted(schemas.files()))
def test_a_file_says_what_the_code_says(name: str) -> None:
    assert (schemas.SCHEMAS / name).read_text() == schemas.files()[name], "run: python -m local.schemas"


@pytest.mark.parametrize("stem", STEMS)
def test_a_schema_is_one_and_its_sample_fits_it(stem: str) -> None:
    schema = stored(f"{stem}.schema.json")

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(stored(f"{stem}.sample.json"))


@pytest.mark.parametrize("stem", STEMS)
def test_a_sample_shows_every_field_but_those_of_a_conference_and_of_a_header(stem: str) -> None:
    schema, sample = stored(f"{stem}.schema.json"), stored(f"{stem}.sample.json")
    known = names(schema, schema)

    shown = {name for name in paths(sample) if name in known}

    consent = "detail.data.consent"
    assert known - shown == {"detail.data.conferenceId", f"{consent}.header", f"{consent}.headerValue"}


@pytest.mark.parametrize("stem", STEMS)
def test_a_schema_leaves_room_for_a_field_that_comes_later(stem: str) -> None:
    sample = stored(f"{stem}.sample.json")
    sample["detail"]["data"]["later"] = sample["detail"]["later"] = "a later version's"

    Draft202012Validator(stored(f"{stem}.schema.json")).validate(sample)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "without",
    ["source", "detail-type", "detail.metadata.eventId", "detail.metadata.schemaVersion", "detail.data.recordingId"],
)
def test_a_schema_demands_what_a_consumer_cannot_do_without(stem: str, without: str) -> None:
    sample = stored(f"{stem}.sample.json")
    *folders, name = without.split(".")
    target = sample
    for folder in folders:
        target = target[folder]
    del target[name]

    assert not Draft202012Validator(stored(f"{stem}.schema.json")).is_valid(sample)


@given(recordings)
def test_whatever_goes_out_fits_its_schema_and_has_no_field_that_it_does_not_know(recording: Recording) -> None:
    for event in due(recording):
        schema, delivered = schema_of(type(event)), as_delivered(event)
        Draft202012Validator(schema).validate(delivered)
        assert paths(delivered) <= names(schema, schema)
        assert "null" not in re.sub(r'"(\\.|[^"\\])*"', "", event.detail())


@given(recordings)
def test_times_are_utc_to_the_second(recording: Recording) -> None:
    for event in due(recording):
        detail = json.loads(event.detail())
        stamps = [detail["metadata"]["occurredAt"]]
        stamps += [value for name, value in detail["data"].items() if name.endswith("At")]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp) for stamp in stamps)


def test_the_names_that_rules_are_written_with_stay_as_they_are() -> None:
    assert SOURCE == "call-recorder"
    assert [event.detail_type for event in PUBLISHED] == [
        "Recording Requested",
        "Recording Finished",
        "Recording Available",
        "Transcription Available",
    ]
