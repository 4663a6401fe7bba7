"""A function does not start without its environment variables, and says which are wrong."""

from datetime import timedelta

import pytest

from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.settings import CallbackSettings, Settings, SettingsRefused
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


def test_an_optional_variable_has_its_documented_default() -> None:
    settings = CallbackSettings.read(CALLBACK)
    assert settings.parameters_ttl_seconds == 300
    assert settings.signature_window.total_seconds() == 300
    assert settings.degraded_answer == "connect"


def test_retention_and_patience_are_read_with_their_units() -> None:
    settings = NotifySettings.read(NOTIFY | {"PATH": "/usr/bin"})

    assert settings.retention == timedelta(days=365)
    assert settings.deadlines == Deadlines(grace=timedelta(minutes=30), longest_call=timedelta(hours=4))


FUNCTIONS: dict[type[Settings], dict[str, str]] = {
    CallbackSettings: CALLBACK,
    NotifySettings: NOTIFY,
    WatchdogSettings: WATCHDOG,
}


@pytest.mark.parametrize(("settings", "name"), [(each, name) for each, names in FUNCTIONS.items() for name in names])
def test_a_missing_or_empty_variable_is_refused_by_name(settings: type[Settings], name: str) -> None:
    environment = FUNCTIONS[settings]
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        settings.read({other: value for other, value in environment.items() if other != name})
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        settings.read(environment | {name: ""})


WRONG: dict[type[Settings], dict[str, list[str]]] = {
    CallbackSettings: {
        "CALLBACK_PATH": ["callbacks", "/call backs", "/anrufe-für-alle"],
        "PARAMETER_PREFIX": ["/call-recorder", "call-recorder/"],
        "PARAMETERS_TTL_SECONDS": ["0", "five minutes"],
        "SIGNATURE_WINDOW_SECONDS": ["29", "901"],
        "RECORDINGS_BUCKET": ["ab"],
        "DEGRADED_ANSWER": ["ignore"],
    },
    NotifySettings: {
        "RECORDINGS_BUCKET": ["ab"],
        "RETENTION_DAYS": ["0", "forever"],
        "GRACE_SECONDS": ["0", "half an hour"],
        "LONGEST_CALL_SECONDS": ["0", "86401"],
    },
}


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [(each, name, value) for each, names in WRONG.items() for name, values in names.items() for value in values],
)
def test_a_wrong_variable_is_refused_by_name(settings: type[Settings], name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        settings.read(FUNCTIONS[settings] | {name: value})


def test_all_wrong_variables_are_named_at_once_without_their_values() -> None:
    with pytest.raises(SettingsRefused) as refused:
        CallbackSettings.read({"CALLBACK_PATH": "hush"})

    assert all(name in str(refused.value) for name in CALLBACK)
    assert "hush" not in str(refused.value)
