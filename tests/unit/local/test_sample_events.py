"""The files in events/ are what `make events` writes, and contain what their names say."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from call_recorder.adapters import s3_events
from call_recorder.answering.application import Application
from call_recorder.facts.messages import MalformedFact, read_message
from call_recorder.functions.cleanup import CleanupSettings
from call_recorder.functions.custody import CustodySettings
from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.rotation import RotationSettings
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.watchdog import WatchdogSettings
from local.sample_events import (
    APPLICATION,
    BUCKET,
    EVENTS,
    NAMES,
    PARAMETERS,
    PUBLIC_PATH,
    Event,
    load_event,
    main,
    make_event,
    read_arrival,
)
from tests.fakes import Applications, Clock, Front, callback_settings

REFUSED = {
    f"callback-ice-{why}"
    for why in ("bad-signature", "unsigned", "stale", "unknown-application", "of-another-application")
}
KNOWN = Application.from_parameters(APPLICATION.key, PARAMETERS, own_bucket=BUCKET)


def is_accepted(event: Event, now: datetime) -> bool:
    front = Front(Applications(KNOWN), callback_settings(CALLBACK_PATH=PUBLIC_PATH), clock=Clock(now))
    return front.status(event) != 401


def test_make_events_leaves_the_files_of_the_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in EVENTS.iterdir()}
    monkeypatch.setattr("local.sample_events.SIGNED", tmp_path / "events")

    main([])

    assert {path.name: path.read_bytes() for path in EVENTS.iterdir()} == before
    written = {path.stem for path in (tmp_path / "events").iterdir()}
    assert written == {*NAMES} == {Path(name).stem for name in before} - {"env"}
    new = json.loads((tmp_path / "events" / "callback-ice-username.json").read_text())
    assert is_accepted(new, datetime.now(UTC))
    assert str(tmp_path / "events") in capsys.readouterr().out


def test_make_events_can_replace_the_files_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.sample_events.EVENTS", tmp_path)

    main(["--tracked"])

    assert {path.stem for path in tmp_path.iterdir()} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_make_events_writes_at_its_time(name: str) -> None:
    event = load_event(name)

    assert event == make_event(name, read_arrival(event)), "run `make events TRACKED=1`"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("callback-")])
def test_a_callback_is_accepted_at_its_time_unless_its_name_says_otherwise(name: str) -> None:
    event = load_event(name)

    assert is_accepted(event, read_arrival(event)) is (name not in REFUSED)
    assert all(header == header.lower() for header in event["headers"])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("notify-")])
def test_a_batch_has_facts_or_events_of_s3_unless_malformed(name: str) -> None:
    of_bucket = malformed = 0
    for record in load_event(name)["Records"]:
        try:
            read_message(record["body"])
        except MalformedFact:
            of_bucket += s3_events.read_s3_event(record["body"]) is not None
            malformed += s3_events.read_s3_event(record["body"]) is None

    assert (of_bucket > 0) == name.startswith("notify-object")
    assert malformed == (2 if name == "notify-one-malformed" else 0)


def test_env_json_has_declared_variables_that_the_functions_accept() -> None:
    environment = json.loads((EVENTS / "env.json").read_text())
    template = (EVENTS.parent / "template.yaml").read_text()

    callback = CallbackSettings.read(environment["CallbackFunction"])
    notify = NotifySettings.read(environment["NotifyFunction"])
    rotation = RotationSettings.read({**environment["RotationFunction"], "AWS_REGION": "us-east-1"}).policy
    WatchdogSettings.read(environment["WatchdogFunction"])
    CleanupSettings.read(environment["CleanupFunction"])
    CustodySettings.read(environment["CustodyFunction"])

    assert callback.callback_path == PUBLIC_PATH
    assert {callback.recordings_bucket, notify.recordings_bucket, rotation.bucket} == {BUCKET}
    for name in {name for variables in environment.values() for name in variables}:
        assert re.search(rf"^ +{name}:", template, re.MULTILINE), f"{name}: `sam local` would not pass it on"
