from datetime import timedelta

import pytest

from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.settings import (
    CallbackSettings,
    SettingsRefused,
)
from call_recorder.functions.watchdog import WatchdogSettings
from call_recorder.tracking.outbox_item import Deadlines

CALLBACK = {
    "CALLBACK_PATH": "/callbacks",
    "PARAMETER_PREFIX": "call-recorder",
    "RECORDING_QUEUE_URL": "https://queue.example/recordings",
    "RECORDINGS_BUCKET": "bucket",
    "RECORDINGS_TABLE": "recordings",
}
NOTIFY = {
    "RECORDINGS_TABLE": "recordings",
    "PLACES_TABLE": "places",
    "RECORDINGS_BUS": "bus",
    "RECORDINGS_BUCKET": "bucket",
    "RETENTION_DAYS": "365",
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
WATCHDOG = {
    "RECORDINGS_TABLE": "recordings",
    "PLACES_TABLE": "places",
    "RECORDING_QUEUE_URL": "https://queue.example/recordings",
}


def test_what_may_be_left_out_has_the_value_of_the_design() -> None:
    settings = CallbackSettings.read(CALLBACK)

    assert settings.parameters_ttl_seconds == 300
    assert settings.signature_window.total_seconds() == 300
    assert settings.degraded_answer == "connect"
    assert NotifySettings.read(NOTIFY).retention.days == 365


@pytest.mark.parametrize("name", CALLBACK)
def test_a_missing_variable_of_the_callback_function_is_told_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        CallbackSettings.read({other: value for other, value in CALLBACK.items() if other != name})


@pytest.mark.parametrize("name", NOTIFY)
def test_a_missing_variable_of_the_notify_function_is_told_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        NotifySettings.read({other: value for other, value in NOTIFY.items() if other != name})


@pytest.mark.parametrize("name", WATCHDOG)
def test_a_missing_or_empty_variable_of_the_watchdog_is_told_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        WatchdogSettings.read({other: value for other, value in WATCHDOG.items() if other != name})
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        WatchdogSettings.read(WATCHDOG | {name: ""})


def test_patience_is_given_in_seconds() -> None:
    assert NotifySettings.read(NOTIFY).deadlines == Deadlines(
        grace=timedelta(minutes=30), longest_call=timedelta(hours=4)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALLBACK_PATH", "callbacks"),
        ("CALLBACK_PATH", ""),
        ("CALLBACK_PATH", "/call backs"),
        ("CALLBACK_PATH", "/anrufe-für-alle"),
        ("PARAMETER_PREFIX", "/call-recorder"),
        ("PARAMETER_PREFIX", "call-recorder/"),
        ("PARAMETER_PREFIX", ""),
        ("PARAMETERS_TTL_SECONDS", "0"),
        ("PARAMETERS_TTL_SECONDS", "five minutes"),
        ("SIGNATURE_WINDOW_SECONDS", "29"),
        ("SIGNATURE_WINDOW_SECONDS", "901"),
        ("RECORDING_QUEUE_URL", ""),
        ("RECORDINGS_BUCKET", "ab"),
        ("DEGRADED_ANSWER", "ignore"),
    ],
)
def test_a_wrong_variable_of_the_callback_function_is_told_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        CallbackSettings.read(CALLBACK | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECORDINGS_TABLE", ""),
        ("PLACES_TABLE", ""),
        ("RECORDINGS_BUS", ""),
        ("RECORDINGS_BUCKET", "ab"),
        ("RETENTION_DAYS", "0"),
        ("RETENTION_DAYS", "forever"),
        ("GRACE_SECONDS", "0"),
        ("GRACE_SECONDS", "half an hour"),
        ("LONGEST_CALL_SECONDS", "0"),
        ("LONGEST_CALL_SECONDS", "86401"),
    ],
)
def test_a_wrong_variable_of_the_notify_function_is_told_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        NotifySettings.read(NOTIFY | {name: value})


def test_all_that_is_wrong_is_told_at_once_and_no_value_is_repeated() -> None:
    with pytest.raises(SettingsRefused) as refused:
        CallbackSettings.read({"CALLBACK_PATH": "hush"})

    assert all(name in str(refused.value) for name in CALLBACK)
    assert "hush" not in str(refused.value)


def test_other_variables_do_not_matter() -> None:
    assert NotifySettings.read(NOTIFY | {"PATH": "/usr/bin"}) == NotifySettings.read(NOTIFY)
