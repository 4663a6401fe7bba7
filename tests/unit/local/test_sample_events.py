"""The files in events/ are what the samples' own code makes, and what they are named after."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from call_recorder.adapters import s3_events
from call_recorder.answering.application import Application
from call_recorder.facts.messages import (
    MalformedFact,
    read_message,
)
from call_recorder.functions.cleanup import CleanupSettings
from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.rotation import RotationSettings
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.watchdog import WatchdogSettings
from call_recorder.sinch.signature import (
    Authorization,
    SignatureError,
    SignedRequest,
    check_age,
    verify,
)
from local.sample_events import (
    APPLICATION,
    BUCKET,
    EVENTS,
    NAMES,
    PARAMETERS,
    PUBLIC_PATH,
    Event,
    load,
    main,
    received_at,
    sample,
)

CALLBACKS = [name for name in NAMES if name.startswith("callback-")]
BATCHES = [name for name in NAMES if name.startswith("notify-")]
NOT_AUTHENTIC = {"callback-ice-bad-signature", "callback-ice-unsigned", "callback-ice-stale"}
OF_NO_KNOWN_APPLICATION = {"callback-ice-unknown-application"}


def check(event: Event, now: datetime) -> None:
    """Verify a callback as the function does.

    Raises:
        SignatureError: it is not authentic.
    """
    headers = event["headers"]
    body = event.get("body", "")
    content = base64.b64decode(body) if event["isBase64Encoded"] else body.encode()
    authorization = Authorization.parse(headers.get("authorization"))
    check_age(headers["x-timestamp"], now=now, window=timedelta(seconds=300))
    known = Application.from_parameters(APPLICATION.key, PARAMETERS, own_bucket=BUCKET)
    request = SignedRequest(PUBLIC_PATH, headers["content-type"], headers["x-timestamp"], content)
    verify(request, authorization.signature, known.secrets)


def test_there_is_one_file_for_each_sample() -> None:
    assert sorted(path.name for path in EVENTS.iterdir()) == sorted([f"{name}.json" for name in NAMES] + ["env.json"])


def test_what_is_signed_afresh_leaves_the_files_of_the_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in EVENTS.iterdir()}
    monkeypatch.setattr("local.sample_events.SIGNED", tmp_path / "events")

    main([])

    assert {path.name: path.read_bytes() for path in EVENTS.iterdir()} == before
    assert sorted(path.stem for path in (tmp_path / "events").iterdir()) == sorted(NAMES)
    fresh = json.loads((tmp_path / "events" / "callback-ice-username.json").read_text())
    check(fresh, datetime.now(UTC))
    assert str(tmp_path / "events") in capsys.readouterr().out


def test_the_files_of_the_repository_can_be_written_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.sample_events.EVENTS", tmp_path)

    main(["--tracked"])

    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_make_events_would_write_at_that_time(name: str) -> None:
    event = load(name)

    assert event == sample(name, received_at(event)), "run `make events TRACKED=1`"


@pytest.mark.parametrize("name", sorted({*CALLBACKS} - NOT_AUTHENTIC))
def test_a_callback_is_authentic_when_the_clock_says_when_it_came(name: str) -> None:
    event = load(name)

    check(event, received_at(event))


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_says_its_size_and_arrives_with_lower_case_headers(name: str) -> None:
    event = load(name)
    body = event.get("body", "")
    size = len(base64.b64decode(body)) if event["isBase64Encoded"] else len(body.encode())

    assert event["headers"]["content-length"] == str(size)
    assert all(header == header.lower() for header in event["headers"])


@pytest.mark.parametrize("name", sorted(NOT_AUTHENTIC))
def test_a_callback_that_is_not_authentic_stays_so_when_signed_afresh(name: str) -> None:
    now = datetime.now(UTC)

    with pytest.raises(SignatureError):
        check(sample(name, now), now)


def test_a_callback_signed_afresh_is_authentic_now() -> None:
    now = datetime.now(UTC)

    check(sample("callback-ice-username", now), now)


@pytest.mark.parametrize("name", BATCHES)
def test_the_messages_of_a_batch_are_facts_or_the_buckets_unless_the_name_says_otherwise(name: str) -> None:
    of_bucket = malformed = 0
    for record in load(name)["Records"]:
        try:
            read_message(record["body"])
        except MalformedFact:
            of_bucket += s3_events.read_s3_event(record["body"]) is not None
            malformed += s3_events.read_s3_event(record["body"]) is None

    assert (of_bucket > 0) == name.startswith("notify-object")
    assert malformed == (2 if name == "notify-one-malformed" else 0)


def test_the_parameters_of_the_samples_make_an_application_that_records() -> None:
    application = Application.from_parameters(APPLICATION.key, PARAMETERS, own_bucket=BUCKET)

    assert application.problem is None
    assert application.recorder is not None


def test_env_json_gives_the_functions_settings_that_they_accept() -> None:
    environment = json.loads((EVENTS / "env.json").read_text())

    assert CallbackSettings.read(environment["CallbackFunction"]).callback_path == PUBLIC_PATH
    assert CallbackSettings.read(environment["CallbackFunction"]).recordings_bucket == BUCKET
    assert NotifySettings.read(environment["NotifyFunction"]).retention_days == 365
    assert NotifySettings.read(environment["NotifyFunction"]).recordings_bucket == BUCKET
    assert WatchdogSettings.read(environment["WatchdogFunction"]).places_table == "call-recorder-places"
    rotation = RotationSettings.read({**environment["RotationFunction"], "AWS_REGION": "us-east-1"}).policy
    assert rotation.bucket == BUCKET
    assert CleanupSettings.read(environment["CleanupFunction"]).recordings_bus == "call-recorder-recordings"


def test_env_json_names_variables_that_the_template_declares() -> None:
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    environment = json.loads((EVENTS / "env.json").read_text())

    for variables in environment.values():
        for name in variables:
            assert re.search(rf"^ +{name}:", template, re.MULTILINE), f"{name}: `sam local` would not pass it on"
