import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.handlers.telemetry import Telemetry, masked

Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each test a service of its own: Powertools keeps one logger for each, bound to its first output."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", request.node.name)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(metrics: dict[str, Any]) -> dict[str, float]:
    names = [metric["Name"] for metric in metrics["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    return {name: sum(metrics[name]) for name in names}


def test_a_log_line_has_the_fields_that_are_known(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.info("callback", event="ice", outcome="recorded", rule=None)

    [line] = written()
    assert (line["level"], line["message"], line["event"], line["outcome"]) == ("INFO", "callback", "ice", "recorded")
    assert "rule" not in line
    assert "location" not in line


def test_a_warning_is_one_and_an_exception_has_its_trace(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.warning("see to this")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        telemetry.exception("broke")

    warning, exception = written()
    assert warning["level"] == "WARNING"
    assert exception["level"] == "ERROR"
    assert "ZeroDivisionError" in exception["exception"]


def test_metrics_count_for_the_service_and_again_by_dimension(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.count("Callbacks")
    telemetry.count("Callbacks", 2)
    telemetry.flush(event="ice", outcome="recorded")

    [metrics] = written()
    [directive] = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "CallRecorder"
    assert values(metrics) == {"Callbacks": 3}
    assert sorted(map(sorted, directive["Dimensions"])) == [["event", "outcome", "service"], ["service"]]
    assert (metrics["event"], metrics["outcome"]) == ("ice", "recorded")


def test_each_invocation_has_metrics_of_its_own(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.count("Callbacks")
    telemetry.flush(event="ice", outcome="recorded")
    telemetry.count("FactsTaken", 4)
    telemetry.flush()

    _, second = written()
    assert values(second) == {"FactsTaken": 4}
    assert second["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert "outcome" not in second


def test_a_duration_is_written_in_milliseconds(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.measure("IceMilliseconds", 0.25)
    telemetry.flush(event="ice", outcome="recorded")

    [metrics] = written()
    [directive] = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Metrics"] == [{"Name": "IceMilliseconds", "Unit": "Milliseconds"}]
    assert values(metrics) == {"IceMilliseconds": 250}


@pytest.mark.parametrize("name", ["boto3", "botocore", "botocore.auth", "botocore.endpoint", "urllib3.connectionpool"])
def test_what_prints_requests_at_debug_is_kept_above_it(name: str) -> None:
    Telemetry()
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    finally:
        root.setLevel(before)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (None, None),
        ("", ""),
        ("alice", "alice"),
        ("standup-2026", "standup-2026"),
        ("12345", "***45"),
        ("+46700000001", "+*********01"),
        ("Alice <+46 70-000 00 01>", "Alice <+** **-*** ** 01>"),
        ("sip:46700000001@pbx.example", "sip:*********01@pbx.example"),
    ],
)
def test_an_address_shows_of_a_phone_number_the_end_only(address: str | None, shown: str | None) -> None:
    assert masked(address) == shown


@given(st.text(), st.text("0123456789", min_size=5), st.text())
def test_no_address_shows_a_whole_phone_number(before: str, number: str, after: str) -> None:
    shown = masked(before + number + after)

    assert shown is not None
    assert sum(char.isdecimal() and char.isascii() for char in shown) <= 2
