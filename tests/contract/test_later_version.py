"""This version reads, merges and publishes what a later version wrote, and keeps it for when that one is back.

In a rollback an earlier version works on the items and messages of a later one. Here the later version is a copy of
the code with one more field in every model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from call_recorder.adapters.dynamodb_items import from_item, to_item
from call_recorder.facts.call_details import CallEnd
from call_recorder.facts.facts import CallEndedFact
from call_recorder.facts.messages import read_message
from call_recorder.facts.model import Model
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.outbox_item import OutboxItem
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile
from tests import sinch
from tests.contract.test_published_events import assert_fits
from tests.fakes import DEADLINES, RETENTION
from tests.unit.processor_under_test import InTurn, ProcessorUnderTest, messages

ROOT = Path(__file__).parents[2]
CONFIGURED = '    model_config = ConfigDict(\n        frozen=True,\n        extra="allow",'
ONE_MORE_FIELD = '    next_version_note: str = Field(default_factory=lambda: __import__("os").environ["NOTE"])\n\n'
KEPT, LOST = "of a later version", "made without it"


class LaterVersion:
    """A copy of the code in which every model has one more field."""

    def __init__(self, at: Path) -> None:
        shutil.copytree(ROOT / "src" / "call_recorder", at / "call_recorder")
        facts = at / "call_recorder" / "facts" / "model.py"
        code = facts.read_text()
        assert code.count(CONFIGURED) == 1
        facts.write_text(code.replace(CONFIGURED, ONE_MORE_FIELD + CONFIGURED))
        self._path = os.pathsep.join([str(at), str(ROOT)])

    def run(self, command: str, note: str, given: object = None) -> Any:
        done = subprocess.run(  # noqa: S603 - a script of these tests
            [sys.executable, "-m", "tests.contract.later_version", command],
            env=os.environ | {"PYTHONPATH": self._path, "NOTE": note},
            cwd=ROOT,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def notes(self, processor: ProcessorUnderTest) -> dict[str, str]:
        """Return the values of its own field, by path, in the stored items."""
        items = {"items": processor.table.items, "places": processor.table.places}
        found: dict[str, str] = self.run("read", LOST, items)
        return found


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> LaterVersion:
    return LaterVersion(tmp_path_factory.mktemp("later"))


@pytest.fixture(scope="module")
def written(later: LaterVersion) -> Any:
    return later.run("write", KEPT)


@pytest.fixture
def processor(written: Any) -> ProcessorUnderTest:
    """The later version's items, with its claims expired."""
    processor = ProcessorUnderTest(InTurn())
    processor.table.items, processor.table.places = dict(written["items"]), dict(written["places"])
    processor.clock.now = datetime.fromisoformat(written["now"])
    processor.clock.advance(60)
    return processor


def test_the_later_version_writes_its_field_in_every_model(written: Any) -> None:
    items = [*written["items"].values(), *written["places"].values()]

    assert all("nextVersionNote" in item for item in items)
    assert all("nextVersionNote" in message for message in written["messages"])
    nested = {name for item in items for name, value in item.items() if "nextVersionNote" in str(value.get("M"))}
    assert nested == {
        *("calls", "consents", "awaited", "requests", "ends", "files", "transcripts", "notifications", "missing"),
        *("held", "claims", "owner", "objects", "consent"),
    }


def test_a_later_versions_items_are_merged_and_published_and_kept_whole(
    later: LaterVersion, written: Any, processor: ProcessorUnderTest
) -> None:
    before = later.notes(processor)
    assert set(before.values()) == {KEPT}

    processor.drain(messages([read_message(message) for message in written["messages"]]))
    processor.drain(processor.watch(after=DEADLINES.longest_call + DEADLINES.grace))

    assert {name: processor.table.recording(name).status for name in processor.recordings()} == {
        **dict.fromkeys(["asked", "standup", "whole", "missing", "claimed", "nobodys", "new"], "available"),
        **dict.fromkeys(["late-of-a-call", "retro", "planning", "nobody-records-it"], "available"),
    }
    for event in processor.bus.out:
        assert_fits(event)
        assert "note" not in event.detail().lower()
    assert "Recording Missing" not in processor.announced_once()
    after = later.notes(processor)
    gone = {path for path in before if after.get(path) != KEPT}
    # A claim is deleted when its event is out, and a held fact when it is merged.
    assert {path.split("/")[1] for path in gone} <= {"claims", "held"}
    assert {path.split("/")[0] for path in gone} <= {"claimed", "late-of-a-call"}
    for nested in ("asked/ends/asked", "standup/ends/two", "new/calls/new", "new/consents/new", "new/requests/new"):
        assert after[f"{nested}/next_version_note"] == KEPT


def test_a_message_of_a_later_version_is_written_again_as_it_was(written: Any) -> None:
    for message in written["messages"]:
        assert json.loads(read_message(message).model_dump_json(exclude_none=True)) == json.loads(message)


SET = {"SS": ["a", "b"]}
BINARY = {"B": "AAECAw=="}
DECIMAL = {"N": "1.10"}


@pytest.mark.parametrize("kind", [Recording, ObjectLocation])
def test_attributes_of_a_later_version_stay_as_they_are_stored(written: Any, kind: type[OutboxItem]) -> None:
    [item, *_] = (written["items"] if kind is Recording else written["places"]).values()
    later = {"aSet": SET, "aBinary": BINARY, "aNumber": DECIMAL, "unknown": {"S": "a field may be named so"}}

    known = from_item(kind, item | later)
    again = to_item(known.with_published(["event"], sinch.NOW), RETENTION, DEADLINES)

    assert again.items() >= later.items()
    assert from_item(kind, again).unknown.keys() >= later.keys()


def test_a_derived_attribute_goes_with_what_it_is_derived_from(written: Any) -> None:
    item = written["items"]["asked"]
    assert {"dueAt", "waitingShard"} <= item.keys()
    known = from_item(Recording, item)
    about: list[Any] = [
        fact for fact in map(read_message, written["messages"]) if getattr(fact, "call_id", "") == "asked"
    ]

    done = known.merge_all(about)

    assert not {"dueAt", "waitingShard"} & to_item(done, RETENTION, DEADLINES).keys()


def test_a_later_versions_fields_in_a_map_are_not_the_items(written: Any) -> None:
    """Parts of the first call are also flat attributes of the item, and a new part may have any name."""
    item = json.loads(json.dumps(written["items"]["asked"]))
    [call] = item["calls"]["M"].values()
    call["M"] |= {"revision": {"N": "7"}, "status": {"S": "ringing"}, "ends": {"S": "abruptly"}, "share": {"N": "0.5"}}

    again = to_item(from_item(Recording, item), RETENTION, DEADLINES)

    assert again["revision"] == item["revision"]
    assert again["status"] == {"S": "requested"}
    assert "ends" not in again
    assert next(iter(again["calls"]["M"].values())) == call


@pytest.mark.parametrize("turned", [False, True])
def test_a_later_versions_fields_of_a_file_join_alike_in_either_order(turned: bool) -> None:
    one, other = (
        StoredFile.model_validate({"at": sinch.NOW, "url": "s3://b/a.mp3", "channels": number, name: "x"})
        for number, name in ((1, "first"), (2, "second"))
    )

    joined = other.join(one) if turned else one.join(other)

    assert joined.model_extra == {"channels": 1, "first": "x", "second": "x"}


def models(model: type[Model] = Model) -> list[type[Model]]:
    return [each for below in model.__subclasses__() for each in (below, *models(below))]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_a_model_made_here_refuses_an_undeclared_field(model: type[Model]) -> None:
    with pytest.raises((TypeError, ValidationError)):
        model(mispelt="")  # type: ignore[call-arg]


def test_the_error_names_an_undeclared_field() -> None:
    with pytest.raises(TypeError, match="^CallEnd has no field resutl$"):
        CallEnd(at=sinch.NOW, resutl="ANSWERED")  # type: ignore[call-arg]


def test_a_fact_may_have_parts_that_a_later_version_made() -> None:
    end = CallEnd.model_validate({"at": sinch.NOW, "quality": 4})

    ended = CallEndedFact(recording_id="a", application_key="app", call_id="a", end=end)

    assert ended.end.model_extra == {"quality": 4}
