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
    "CUSTODY_TABLE": "custody",
    "RECORDINGS_BUS": "bus",
    "RECORDINGS_BUCKET": "bucket",
    "RETENTION_DAYS": "365",
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
WATCHDOG = {
    "RECORDINGS_TABLE": "recordings",
    "PLACES_TABLE": "places",
    "DUE_INDEX": "due",
    "RECORDING_QUEUE_URL": "https://queue.example/recordings",
}


def test_retention_and_patience_are_read_with_their_units() -> None:
    settings = NotifySettings.read(NOTIFY | {"PATH": "/usr/bin"})

    assert settings.retention == timedelta(days=365)
    assert settings.deadlines == Deadlines(grace=timedelta(minutes=30), longest_call=timedelta(hours=4))


FUNCTIONS: dict[type[Settings], dict[str, str]] = {
    CallbackSettings: CALLBACK,
    NotifySettings: NOTIFY,
    WatchdogSettings: WATCHDOG,
}


WRONG: dict[type[Settings], dict[str, list[str]]] = {
    CallbackSettings: {
        "CALLBACK_PATH": ["callbacks", "/call backs", "/anrufe-für-alle"],
        "PARAMETER_PREFIX": ["/call-recorder", "call-recorder/"],
        "PARAMETERS_TTL_SECONDS": ["0"],
        "SIGNATURE_WINDOW_SECONDS": ["29", "901"],
        "RECORDINGS_BUCKET": ["ab"],
        "DEGRADED_ANSWER": ["ignore"],
    },
    NotifySettings: {
        "RETENTION_DAYS": ["0"],
        "GRACE_SECONDS": ["0"],
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


@pytest.mark.parametrize("settings", FUNCTIONS)
def test_all_missing_and_wrong_variables_are_named_without_their_values(settings: type[Settings]) -> None:
    with pytest.raises(SettingsRefused) as missing:
        settings.read({})
    with pytest.raises(SettingsRefused) as empty:
        settings.read(dict.fromkeys(FUNCTIONS[settings], ""))

    for name in FUNCTIONS[settings]:
        assert f"{name}: Field required" in str(missing.value)
        assert f"{name}: " in str(empty.value)
    with pytest.raises(SettingsRefused, match="CALLBACK_PATH: (?!.*hush)"):
        CallbackSettings.read({"CALLBACK_PATH": "hush"})
