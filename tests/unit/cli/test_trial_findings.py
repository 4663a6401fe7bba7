"""A trial finds out how Sinch behaves, whichever reading of the documents the simulator plays."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from call_recorder_cli.trial.findings import Finding, find
from call_recorder_cli.trial.observations import StoredFile
from local.simulator import NOTIFICATIONS, Delivery, Disturbance, Readings, drop, list_variants, parse_destination
from tests.profiles import MXP_ACTION
from tests.unit.cli.played_trial import NUMBER, Platform, play


@pytest.fixture(autouse=True)
def _service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "trial")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "ERROR")


@pytest.fixture(scope="module")
def usual() -> dict[str, Finding]:
    """What a trial finds of the simulator as it usually is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POWERTOOLS_SERVICE_NAME", "trial")
        patch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
        return by_name(find(play(Platform())[0]))


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {each.name: each for each in findings}


def reading(**readings: Any) -> Platform:
    return Platform(Readings(**readings))


def disturbed(deliveries: dict[str, Delivery], **faults: Any) -> Platform:
    return Platform(disturbance=Disturbance(deliveries, **faults))


# The question that shows each reading, and what is observed.
READINGS: list[tuple[Platform, str, str]] = [
    (Platform(first_menu="main"), "first-menu", "the menu with the id main"),
    (Platform(lenient=True), "undocumented-fields", "accepted"),
    (Platform(skew=-42), "clock", "42.0 to 42.0 s"),
    (Platform(skew=-2000), "problems", "refused: x-timestamp outside the window (14x)"),
    (reading(content_type="application/json; charset=utf-8"), "content-type", "application/json; charset=utf-8"),
    (reading(user_agent="Apache-HttpClient/4.5"), "user-agent", "Apache-HttpClient"),
    (reading(time_form="fraction"), "timestamp-form", "0000-00-00T00:00:00.000000Z"),
    (reading(time_form="no zone"), "timestamp-form", "0000-00-00T00:00:00.000"),
    (reading(menu_value_limit=64), "menu-value", "cut off or changed"),
    (reading(capital_results=True), "spelling", "menuResult.type Return"),
    (reading(phone_after_menu=False), "phone-after-menu", "refused"),
    (reading(phone_after_menu=False), "accepted-answers", "menu: refused (40001) after connectPstn"),
    (reading(records_in_app=False), "records-in-app", "no notification came"),
    (reading(ace_for_all=True), "ace-for-app-users", "yes: in-app, conference"),
    (reading(ace_call_id=False), "ace-call-id", "another id"),
    (reading(notification_fields=("custom", "timestamp")), "notification-fields", "custom, timestamp"),
    (reading(notification_fields=("applicationKey",)), "notification-fields", "applicationKey"),
    (reading(destination="https"), "destination", "https, a host of Sinch, names the call"),
    (reading(destination="absent"), "destination", "none"),
    (reading(transcript_name="follows"), "transcript-name", ".mp3-transcript.json"),
    (reading(failed_upload="recording_failed"), "refused-upload", "recording_finished, recording_failed"),
    (disturbed({"dice": Delivery(times=2)}), "repeats", "yes: dice 2 times"),
    (disturbed({"recording_available": Delivery(delay=400)}), "delay", "at most 400.0 s after the DiCE"),
    (disturbed({}, order=("dice",)), "order", "dice, recording_finished, recording_available (4 of"),
    (disturbed(drop("recording_available")), "missing-callbacks", "menu: recording_available"),
    (disturbed({}, wrong_storage_key=True), "missing-callbacks", "phone: recording_available"),
    (Platform(variant="callId"), "call-id-field", "callId"),
    (Platform(variant="call id with a suffix"), "call-id-form", "uuid with a suffix"),
    (Platform(variant="call id with a host"), "call-id-form", "with a host"),
    (Platform(variant="conference beside the call"), "conference-beside-call", "yes: ace, dice, ice, notify, pie"),
    (Platform(variant="conference beside the call"), "conference-notifications", "both"),
    (Platform(variant="no user rate"), "fields", "ice without userRate"),
    (Platform(variant="no caller"), "caller-form", "phone: absent"),
    (Platform(variant="private caller"), "caller-form", "phone: private"),
    (Platform(variant="caller without +"), "caller-form", "phone: number without +"),
    (Platform(variant="caller with a name"), "caller-form", "phone: name and number"),
    (Platform(variant="headers and custom"), "custom", "in ace, dice, pie"),
    (Platform(variant="unknown fields"), "fields", "ice with leg"),
    (Platform(variant="barest"), "fields", "ice without originationType"),
    (Platform(variant="capitals"), "spelling", "to.type Did"),
    (Platform(variant="lower case"), "spelling", "originationType pstn"),
]


@pytest.mark.parametrize(("platform", "name", "observed"), READINGS, ids=lambda each: str(each)[:60])
def test_a_trial_finds_out_which_reading_sinch_plays(
    platform: Platform, name: str, observed: str, usual: dict[str, Finding]
) -> None:
    found = by_name(find(play(platform)[0]))[name]

    assert observed in (found.observed or "")
    assert observed not in (usual[name].observed or "")
    assert found.verdict != "differs" or found.setting


def test_every_switch_of_the_simulator_has_a_reading_here() -> None:
    played = [platform for platform, _, _ in READINGS]
    usual = Platform()
    switches = {
        each.name for platform in played for each in fields(Readings)
        if getattr(platform.readings, each.name) != getattr(usual.readings, each.name)
    }  # fmt: skip
    variants = {platform.variant for platform in played}

    assert switches == {each.name for each in fields(Readings)}
    assert variants == set(list_variants(parse_destination("did:+12025550100")))
    assert {*NOTIFICATIONS, "dice"} & {kind for platform in played for kind in platform.disturbance.deliveries}


def test_the_usual_reading_is_as_documented_but_for_open_questions(usual: dict[str, Finding]) -> None:
    assert {name: each.observed for name, each in usual.items() if each.verdict == "differs"} == {}
    heard = {"connected-after-menu", "without-ringing", "announcement-heard", "stored-file", "custom"}
    assert {name for name, each in usual.items() if each.verdict == "not seen"} == heard


def test_what_people_hear_and_the_table_says_are_findings() -> None:
    evidence, _ = play(Platform(), "announcement", "phone")
    calls = dict(evidence.calls)
    calls["announcement"] = replace(calls["announcement"], answer=False, file=StoredFile("available", 0))
    calls["phone"] = replace(calls["phone"], answer=True, file=StoredFile("missing"))
    found = by_name(find(replace(evidence, calls=calls)))

    assert (found["announcement-heard"].observed, found["without-ringing"].observed) == ("no", "yes")
    assert "consent.kind menu" in (found["announcement-heard"].setting or "")
    assert found["stored-file"].observed == "announcement: empty, phone: missing"


def test_the_log_of_a_trial_names_nobody() -> None:
    own = f'{{"routes": [{{"to": "+1303*", "action": {MXP_ACTION}}}]}}'.replace("'", '"')
    _, log = play(Platform(variant="headers and custom"), "in-app", "phone", "menu", own=own)
    observed = "\n".join(line for line in log.splitlines() if "callback observed" in line)

    assert observed.count("\n") > 10
    private = (NUMBER[1:], "2025550142", "46700000009", "alice", "bob", "order 4711", "desk", "own-bucket", "secret")
    assert [each for each in private if each in observed] == []
