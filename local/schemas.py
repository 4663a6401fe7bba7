"""Writes `schemas/`: the schema and one sample of every event, and the schemas of the profile and of all reports.

A report is what a command prints with ``--json``. The schema of an event describes the whole event with its envelope,
as a rule's target receives it. It allows additional fields, which a later version may add. Only a change that breaks
consumers makes a new schema version, with its own files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import NullableSchema

from call_recorder.answering.profile import RecordingProfile
from call_recorder.facts.call_details import CallEnd, CallStart, Consent, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.storage_urls import get_location
from call_recorder.tracking import published_events
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.outbox_item import Deadlines
from call_recorder.tracking.recording import Recording
from call_recorder_cli.main import cli
from call_recorder_cli.output import Report

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: Final = Path(__file__).resolve().parent.parent / "schemas"
"""The folder of the files."""

_CALL: Final = "4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88"
_APPLICATION: Final = "6b1d7c52-0f3e-4a86-b7a4-0c9e2f5d8a13"
_RECEIPT: Final = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
_BUCKET: Final = "example-recordings"
_URL: Final = f"s3://{_BUCKET}/recordings/{_APPLICATION}/2026/11/23/{_CALL}.mp3"
_TRANSCRIPT_URL: Final = re.sub(r"\.mp3$", "-transcript.json", _URL)
_DEADLINES: Final = Deadlines(grace=timedelta(minutes=30), longest_call=timedelta(hours=4))
_ABOUT: Final[dict[str, Any]] = {"recording_id": _CALL, "application_key": _APPLICATION, "call_id": _CALL}


class _PublishedSchema(GenerateJsonSchema):
    """Generates the schema of an event: an absent field is left out, never null."""

    def field_title_should_be_set(self, _make_schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return {key: value for key, value in super().default_schema(schema).items() if key != "default"}


class _ProfileSchema(GenerateJsonSchema):
    """Generates the schema of a recording profile."""

    def field_title_should_be_set(self, _make_schema: Any) -> bool:
        return False


def make_files() -> dict[str, str]:
    """Return the text of every file in `schemas/` by its name."""
    texts: dict[str, str] = {}
    for event in _make_samples():
        words = event.detail_type.lower().replace(" ", "-")
        stem = f"{words}.v{published_events.SCHEMA_VERSION}"
        texts[f"{stem}.schema.json"] = _dump(_make_schema(type(event)))
        texts[f"{stem}.sample.json"] = _dump(_wrap(event))
    texts["recording-profile.schema.json"] = _dump(_make_profile_schema())
    for name, report in find_reports(cli):
        schema = report.model_json_schema(mode="serialization")
        texts[f"cli/{name}.schema.json"] = _dump({"$schema": _DIALECT, **schema})
    return texts


def find_reports(command: click.Command, *names: str) -> Iterator[tuple[str, type[Report]]]:
    """Yield every command that prints a report: its words, joined by dashes, and the model of the report."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from find_reports(found, *names, name)
    elif report := getattr(command.callback, "__report__", None):
        yield "-".join(names), report


def _make_profile_schema() -> JsonSchemaValue:
    """Return the schema of the profile, with which an editor checks and completes a profile.

    It has every field and its range. Only `call-recorder explain` finds combinations that Sinch does not allow. The
    recording options are removed: the rules decide on them.
    """
    schema = RecordingProfile.model_json_schema(mode="validation", schema_generator=_ProfileSchema)
    definitions = schema["$defs"]
    del definitions["RecordingOptions"]
    for name in ("ConnectConf", "ConnectMxp", "ConnectPstn", "ConnectSip"):
        for decided_by_rules in ("record", "recordingOptions"):
            del definitions[name]["properties"][decided_by_rules]
    return {"$schema": _DIALECT, "title": "Recording profile"} | schema


def _make_schema(event: type[published_events.Event]) -> JsonSchemaValue:
    detail = event.model_json_schema(mode="serialization", schema_generator=_PublishedSchema)
    definitions = detail.pop("$defs")
    for each in (detail, *definitions.values()):
        del each["additionalProperties"]
    metadata = definitions["Metadata"]
    metadata["properties"]["schemaVersion"] = {"const": published_events.SCHEMA_VERSION}
    metadata["required"].append("schemaVersion")
    return {
        "$schema": _DIALECT,
        "title": event.detail_type,
        "description": event.__doc__,
        "type": "object",
        "properties": {
            "source": {"const": published_events.SOURCE},
            "detail-type": {"const": event.detail_type},
            "detail": {key: value for key, value in detail.items() if key not in ("title", "description")},
        },
        "required": ["source", "detail-type", "detail"],
        "$defs": definitions,
    }


def _make_samples() -> list[published_events.Event]:
    requested = Recording(recording_id=_CALL, application_key=_APPLICATION).merge_all(_call_facts())
    samples = published_events.find_due_events(requested.merge_all(_file_facts()))
    samples += (
        each
        for each in published_events.find_due_events(_missing_recording(requested))
        if isinstance(each, published_events.RecordingMissingEvent)
    )
    samples += published_events.find_due_events(_unattributed_object())
    change = UploaderKeyChangedFact(
        at=_at(3, 15, 0), user="call-recorder-Uploader-1H6ZQ0", key="…7QMD", step="handed-out"
    )
    samples.append(published_events.make_key_change_event(change))
    samples.append(published_events.make_erased_event(requested, _at(16, 20, 0), _RECEIPT, "request"))
    return [*samples, published_events.make_erased_file_event(_stored_object())]


def _missing_recording(requested: Recording) -> Recording:
    return requested.mark_missing(_at(10, 5, 0), _DEADLINES, _BUCKET)


def _stored_object() -> ObjectStoredFact:
    return ObjectStoredFact(at=_at(9, 34, 19), url=_URL, size=1_983_264, checksum="e2b1c0f5a4d39788c6b5a4f3e2d1c0b9")


def _unattributed_object() -> ObjectLocation:
    stored = _stored_object()
    return (
        ObjectLocation(location=get_location(stored.url))
        .with_object(stored, stored.at)
        .mark_unattributed(_at(10, 5, 0), _DEADLINES)
    )


def _call_facts() -> list[Fact]:
    call = CallStart(
        at=_at(9, 30, 0),
        from_="+46700000001",
        to="alice",
        to_type="username",
        domain="pstn",
        origination_type="pstn",
        custom="order 4711",
    )
    request = RecordingRequest(
        at=_at(9, 30, 1),
        rule="everything",
        destination_url=_URL,
        format="mp3",
        notification_events=True,
        transcription=True,
        locale="en-US",
        retention_days=90,
    )
    consent = Consent(
        at=_at(9, 30, 1),
        kind="menu",
        rule="everything",
        outcome="accepted",
        prompt="This call is recorded. Press 1 to agree.",
        key="1",
    )
    return [
        CallDecidedFact(**_ABOUT, call=call, consent=consent, request=request),
        RecordingFinishedFact(**_ABOUT, at=_at(9, 34, 12)),
        CallEndedFact(**_ABOUT, end=CallEnd(at=_at(9, 34, 12), result="ANSWERED", reason="CALLERHANGUP", duration=248)),
    ]


def _file_facts() -> list[Fact]:
    transcript = ObjectStoredFact(
        at=_at(9, 36, 44), url=_TRANSCRIPT_URL, size=5_316, checksum="0f9e8d7c6b5a49382716f5e4d3c2b1a0"
    )
    return [
        FileStoredFact(**_ABOUT, stored=_stored_object()),
        RecordingAvailableFact(**_ABOUT, at=_at(9, 34, 20), destination=_URL),
        FileStoredFact(**_ABOUT, stored=transcript),
        TranscriptionAvailableFact(**_ABOUT, at=_at(9, 36, 45), destination=_TRANSCRIPT_URL),
    ]


def _at(hour: int, minute: int, second: int) -> datetime:
    return datetime(2026, 11, 23, hour, minute, second, tzinfo=UTC)


def _wrap(event: published_events.Event) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "0e1a7b3c-93d5-4c07-8f2b-6a4d1e9c5b70",
        "detail-type": event.detail_type,
        "source": published_events.SOURCE,
        "account": "123456789012",
        "time": f"{event.metadata.occurred_at:%Y-%m-%dT%H:%M:%SZ}",
        "region": "eu-west-1",
        "resources": [],
        "detail": json.loads(event.detail()),
    }


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the files, remove those of events and commands that no longer exist, and print how many have changed."""
    texts = make_files()
    SCHEMAS.mkdir(exist_ok=True)
    changed = 0
    for path in SCHEMAS.rglob("*.json"):
        name = str(path.relative_to(SCHEMAS))
        generated = name.startswith("cli/") or f".v{published_events.SCHEMA_VERSION}." in name
        if generated and name not in texts:
            path.unlink()
            changed += 1
    for name, text in texts.items():
        path = SCHEMAS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed += 1
    print(f"{len(texts)} files are in {SCHEMAS}, {changed or 'none'} of them changed.")


if __name__ == "__main__":
    main()
