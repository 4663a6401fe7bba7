"""Log lines and metrics in the form that CloudWatch reads, in which no phone number is whole."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.functions.masking import mask_address, masked_id
from call_recorder.functions.telemetry import Telemetry

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


def read_metrics(line: dict[str, Any]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the sum of each metric of a line, by its name and its dimensions."""
    return {
        (metric["Name"], tuple(dimensions)): sum(line[metric["Name"]])
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for dimensions in directive["Dimensions"]
    }


SERVICE = ("service",)
BOTH = ("service", "event", "outcome")
RECORDED = {"event": "ice", "outcome": "recorded"}


def test_log_lines_have_their_level_and_the_fields_that_are_known(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.info("callback", event="ice", outcome="recorded", rule=None)
    telemetry.warning("look at this")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        telemetry.exception("broke")

    info, warning, exception = written()
    assert (info["level"], info["message"], info["event"], info["outcome"]) == ("INFO", "callback", "ice", "recorded")
    assert not {"rule", "location"} & info.keys()
    assert warning["level"] == "WARNING"
    assert exception["level"] == "ERROR"
    assert "ZeroDivisionError" in exception["exception"]


def test_each_invocation_writes_its_own_metrics_by_service(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.count("FactsTaken")
    telemetry.count("FactsTaken", 2)
    telemetry.measure("IceMilliseconds", 0.2501239)
    telemetry.flush()
    telemetry.count("FactsTaken", 4)
    telemetry.flush()
    telemetry.flush()

    first, second = written()
    [directive] = first["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "CallRecorder"
    assert directive["Metrics"][1] == {"Name": "IceMilliseconds", "Unit": "Milliseconds"}
    assert read_metrics(first) == {("FactsTaken", SERVICE): 3, ("IceMilliseconds", SERVICE): 250.124}
    assert read_metrics(second) == {("FactsTaken", SERVICE): 4}


def test_one_line_has_the_log_and_the_metrics(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-6b04678c-3fc73f22;Parent=53995c3f42cd8ad8;Sampled=1")
    telemetry = Telemetry()
    telemetry.info("callback", **RECORDED)
    telemetry.measure("IceMilliseconds", 0.25)
    telemetry.summarize("callback", "Callbacks", RECORDED, warns=False, rule="all", problem=None)

    by_powertools, line = written()
    assert {name: line[name] for name in ("level", "message", "event", "outcome", "rule")} == {
        "level": "INFO",
        "message": "callback",
        "event": "ice",
        "outcome": "recorded",
        "rule": "all",
    }
    assert "problem" not in line
    # Powertools writes the other lines, and one query reads them all.
    assert by_powertools.keys() - line.keys() == {"timestamp"}
    assert (line["service"], line["xray_trace_id"]) == (by_powertools["service"], by_powertools["xray_trace_id"])
    assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 60


def test_only_the_total_has_further_dimensions(written: Written) -> None:
    telemetry = Telemetry()
    telemetry.count("DegradedAnswers")
    telemetry.summarize("callback", "Callbacks", RECORDED, warns=False)
    telemetry.summarize("callback", "Callbacks", RECORDED, warns=False)

    first, second = written()
    total = {("Callbacks", SERVICE): 1, ("Callbacks", BOTH): 1}
    assert read_metrics(first) == total | {("DegradedAnswers", SERVICE): 1}
    assert read_metrics(second) == total


@pytest.mark.parametrize(
    ("log_level", "warns", "level"),
    [("INFO", False, "INFO"), ("WARNING", True, "WARNING"), ("WARNING", False, None), ("ERROR", True, None)],
)
def test_the_log_level_leaves_out_the_log_and_no_metric(
    written: Written, monkeypatch: pytest.MonkeyPatch, log_level: str, warns: bool, level: str | None
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", log_level)
    Telemetry().summarize("callback", "Callbacks", RECORDED, warns=warns, rule="all")

    [line] = written()
    assert line.get("level") == level
    assert ("rule" in line, "message" in line) == (bool(level), bool(level))
    assert (line["event"], line["outcome"]) == ("ice", "recorded")
    assert read_metrics(line) == {("Callbacks", SERVICE): 1, ("Callbacks", BOTH): 1}


@pytest.mark.parametrize("trace", ["", "Root=1-6b04678c-3fc73f22;Parent=53995c3f42cd8ad8;Sampled=0"])
def test_a_line_names_no_trace_that_is_not_kept(written: Written, monkeypatch: pytest.MonkeyPatch, trace: str) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    Telemetry().summarize("callback", "Callbacks", RECORDED, warns=False)

    [line] = written()
    assert "xray_trace_id" not in line


@pytest.mark.parametrize("name", ["boto3", "botocore.auth", "urllib3.connectionpool"])
def test_a_library_that_prints_requests_at_debug_stays_above_it(name: str) -> None:
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
        ("standup-2026", "standup-2026"),
        ("12345", "***45"),
        ("Alice <+46 70-000 00 01>", "Alice <+** **-*** ** 01>"),
    ],
)
def test_an_address_shows_the_end_of_a_phone_number_only(address: str | None, shown: str | None) -> None:
    assert mask_address(address) == shown


@given(st.text(), st.text("0123456789", min_size=5), st.text())
def test_no_address_shows_a_whole_phone_number(before: str, number: str, after: str) -> None:
    shown = mask_address(before + number + after)

    assert shown is not None
    assert sum(char.isdecimal() and char.isascii() for char in shown) <= 2


UUID = "822aa4b7-05b4-4d83-87c7-1f835ee0b6f6"
HEX = "4398599d1ba84ef3bde0a82dfb61abed"
SINCHS_OWN = [
    *(UUID, UUID.upper(), "01234567-89ab-cdef-fedc-ba9876543210", "12345678-1234-1234-1234-12345678901a"),
    *(f"{UUID}_257", f"{UUID}@193.45.63.102", f"{HEX}@193.45.63.102", HEX, "b0c1d2e3@192.0.2.7"),
    *(f"recorder-call-{UUID}", f"unattributed-{HEX}"),
    *("standup-2026-11-23T09:30:00Z", "room 1234"),
]


@pytest.mark.parametrize(
    ("recording_id", "shown"),
    [
        *((each, each) for each in SINCHS_OWN),
        ("call(070)0000001@sip.example", "call(***)*****01@sip.example"),
        ("+46700000001 with +12025550100", "+*********01 with +*********00"),
        ("conf_46_700_000_001", "conf_**_***_***_*01"),
        (f"{UUID}_46700000001", f"{UUID}_*********01"),
        (f"46700000001-{UUID}", f"*********01-{UUID}"),
        ("20250100-12345678@10.0.0.1", "********-******78@10.0.0.1"),
        ("2026-11-23 46700000001", "****-**-** *********01"),
        ("2026-11-23T09:30:00.46700000001", "2026-11-23T09:30:**.*********01"),
        ("ext 12345", "ext ***45"),
        ("٠١٢٣٤٥٦٧٨", "*******٧٨"),
    ],
)
def test_an_id_shows_sinchs_own_ids_but_of_a_number_the_end(recording_id: str, shown: str) -> None:
    assert masked_id(recording_id) == shown


NUMBERS = st.text("0123456789", min_size=7, max_size=15)
SEPARATORS = st.lists(st.sampled_from(["", "", " ", "-", ".", "(", ") ", "_"]), min_size=15, max_size=15)


@given(st.text("abc xyz-_@", max_size=12), NUMBERS, SEPARATORS, st.text("gh -_@"))
def test_no_id_shows_a_whole_phone_number(before: str, number: str, separators: list[str], after: str) -> None:
    written = "".join(f"{digit}{separator}" for digit, separator in zip(number, separators, strict=False)).rstrip()

    shown = masked_id(before + written + after)

    assert shown is not None
    assert sum(char.isdecimal() for char in shown) <= 2 or written in SINCHS_OWN


@pytest.mark.parametrize("field", ["problem", "applicationKey"])
def test_no_field_of_a_log_line_shows_a_whole_phone_number(written: Written, field: str) -> None:
    telemetry = Telemetry()
    telemetry.info("callback", **{field: "the route to +46700000001 is not 65536"})
    telemetry.warning("callback", **{field: f"{UUID} and 0700-00 00 01"})
    telemetry.summarize("callback", "Callbacks", RECORDED, warns=True, **{field: f"{UUID} and 0700-00 00 01"})

    info, warning, summary = written()
    assert info[field] == "the route to +*********01 is not 65536"
    assert warning[field] == f"{UUID} and ****-** ** 01"
    assert summary[field] == warning[field]
