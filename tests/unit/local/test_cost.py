"""What a month of calls costs: the counts come from the code, and docs/scaling.md has the tables that they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local.capacity import read_template
from local.cost import __main__ as command
from local.cost import bill, page, report
from local.cost.bill import Month, make_bill, read_prices
from local.cost.play import KINDS, ORDERS, Scenario, play, play_refresh, play_rotation, play_watchdog
from local.cost.usage import Usage
from local.variables import run
from tests.recorded_call import MAX_WRITE_UNITS

DEFAULT = Month.of_template()


def lines(month: Month) -> dict[str, float]:
    """Return the dollars of each line to process a month."""
    return {line.name: line.dollars for line in make_bill(month).process}


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    assert not page.is_stale(), "docs/scaling.md is stale: run `make cost WRITE=1`"


def test_a_page_with_another_figure_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.PAGE.read_text()
    altered = tmp_path / "scaling.md"
    altered.write_text(text.replace("| 5,000,000 requests |", "| 4,000,000 requests |", 1))
    monkeypatch.setattr(page, "PAGE", altered)

    assert page.is_stale()
    page.write()
    assert not page.is_stale()


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(page.MarkMissing, match="made by make cost: bill"):
        page.render("no mark")


def test_a_recorded_call_makes_the_requests_of_its_callbacks_and_facts() -> None:
    usage = play(Scenario())

    counted = {name: usage.get(name) for name in ("API requests", "callback invocations", "facts", "events", "files")}
    assert counted == {"API requests": 5, "callback invocations": 5, "facts": 5, "events": 3, "files": 1}
    # Each fact is sent, received and deleted.
    assert usage.get("SQS requests") == 15
    assert usage.get("notify invocations") == 5


@pytest.mark.parametrize(
    ("scenario", "callbacks", "facts", "events", "files"),
    [
        (Scenario("in-app"), 4, 5, 3, 1),
        (Scenario("announcement"), 5, 5, 3, 1),
        (Scenario("menu"), 6, 6, 3, 1),
        (Scenario("upstream"), 5, 5, 3, 1),
        (Scenario(transcribed=True), 6, 7, 4, 2),
        (Scenario(answered=False), 2, 3, 2, 0),
        (Scenario("unrecorded"), 3, 1, 0, 0),
        (Scenario("unrecorded", kept=True), 3, 2, 0, 0),
    ],
)
def test_each_kind_of_call_is_counted(scenario: Scenario, callbacks: int, facts: int, events: int, files: int) -> None:
    usage = play(scenario)

    assert [usage.get(name) for name in ("API requests", "facts", "events", "files")] == [
        callbacks,
        facts,
        events,
        files,
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_facts_in_one_batch_cost_less_than_alone(order: str) -> None:
    alone, together = (play(Scenario(batched=batched, order=order)) for batched in (False, True))  # type: ignore[arg-type]

    assert together.get("notify invocations") == 2
    assert sum(together.writes.values()) < sum(alone.writes.values())
    assert sum(together.reads.values()) < sum(alone.reads.values())


def test_a_call_is_counted_alike_whatever_was_played_before() -> None:
    first = play.__wrapped__(Scenario())
    for kind in KINDS:
        play(Scenario(kind))

    again = play.__wrapped__(Scenario())

    assert again == first


def test_metrics_are_counted_with_their_dimensions() -> None:
    usage = play(Scenario())

    names = {(name, len(dimensions)) for name, dimensions in usage.metrics}
    assert {("Callbacks", 1), ("Callbacks", 3), ("FactsTaken", 1), ("IceMilliseconds", 1)} <= names


def test_a_measured_duration_does_not_change_the_size_of_a_log() -> None:
    sizes = set()
    for duration in ("0.5123", "23.418722999862434", "1234.56789"):
        usage = Usage()
        usage.log(f'{{"IceMilliseconds":[{duration}]}}\n')
        sizes.add(usage.get("log bytes"))

    assert len(sizes) == 1


def test_the_rounds_by_the_clock_read_every_shard_and_send_nothing() -> None:
    idle = play_watchdog()

    assert idle.get("watchdog invocations") == 1
    assert idle.get("queries") >= 16
    assert not idle.writes
    assert play_rotation().get("rotation invocations") == 1


def test_three_parameters_are_read_and_two_of_them_decrypted() -> None:
    refresh = play_refresh()

    assert (refresh.get("parameters read"), refresh.get("parameters decrypted")) == (3, 2)


def test_a_million_recorded_calls_use_what_one_does_a_million_times() -> None:
    dollars = lines(DEFAULT)

    assert dollars["API Gateway, HTTP API"] == pytest.approx(5.0)
    assert dollars["EventBridge, our events"] == pytest.approx(3.0)
    assert dollars["SQS, messages"] == pytest.approx(6.0, rel=0.01)
    writes = max(sum(play(Scenario(order=order)).writes.values()) for order in ORDERS)
    assert dollars["DynamoDB, writes"] == pytest.approx(writes * 0.625)


def test_shares_of_the_calls_add_up() -> None:
    mixed = replace(DEFAULT, calls=1000, recorded=0.5, answered=0.5, transcription=0.5)

    usage = bill.add_up(mixed)

    assert usage.get("API requests") == pytest.approx(125 * 5 + 125 * 6 + 250 * 2 + 500 * 3)
    assert usage.get("files") == pytest.approx(125 + 125 * 2)


def test_storage_grows_with_the_minutes_and_with_nothing_else() -> None:
    short, long = (make_bill(replace(DEFAULT, minutes=minutes)) for minutes in (3, 6))

    assert long.store[0].dollars == pytest.approx(2 * short.store[0].dollars)
    assert long.processing == pytest.approx(short.processing)


def test_more_memory_costs_more_for_waiting_and_not_for_computing() -> None:
    month = replace(DEFAULT, aws_call_ms=0)
    little, much = (lines(replace(month, memory=memory))["NotifyFunction, time"] for memory in (512, 1024))
    assert much == pytest.approx(little)

    little, much = (lines(replace(DEFAULT, memory=memory))["NotifyFunction, time"] for memory in (512, 1024))
    assert little < much < 2 * little


def test_traces_are_one_a_second_and_a_share_of_the_rest() -> None:
    assert bill.count_traces(replace(DEFAULT, xray=False), Usage(counts={"callback invocations": 1e9})) == 0

    traced = bill.count_traces(replace(DEFAULT, xray=True), Usage(counts={"callback invocations": 1e9}))

    seconds = bill.SECONDS_A_MONTH
    assert traced == pytest.approx(seconds + 0.05 * (1e9 - seconds))


def test_alarms_are_counted_by_the_metrics_that_they_watch() -> None:
    alarms = [each for each in read_template()["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]

    assert bill.count_alarm_metrics() > len(alarms) > 10


def test_every_price_has_a_source_and_a_unit() -> None:
    prices = read_prices()

    assert len(prices) >= 18
    assert all(price.sources and price.unit and price.per >= 1 for price in prices.values())
    assert all(source.startswith("https://") for price in prices.values() for source in price.sources)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CALLS", "many"),
        ("CALLS", "0"),
        ("MINUTES", "nan"),
        ("RECORDED", "2"),
        ("ANSWERED", "-0.1"),
        ("KIND", "fax"),
        ("WINDOW", "61"),
        ("XRAY", "yes"),
        ("MEMORY", "64"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command.main, {name: text}) == 2

    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{name} is '{text}': write ")
    assert sentence.endswith(".")


OPTIONS = {
    "CALLS": ("200", "calls", 200),
    "MINUTES": ("2.5", "minutes", 2.5),
    "KIND": ("menu", "kind", "menu"),
    "RECORDED": ("0.5", "recorded", 0.5),
    "ANSWERED": ("0.25", "answered", 0.25),
    "TRANSCRIPTION": ("1", "transcription", 1.0),
    "WINDOW": ("5", "window", 5),
    "UNRECORDED": ("hashes", "kept", True),
    "XRAY": ("on", "xray", True),
    "MEMORY": ("1024", "memory", 1024),
    "RETENTION": ("6", "retention", 6.0),
    "CALLBACK_CPU_MS": ("3", "callback_cpu_ms", 3.0),
    "FACT_CPU_MS": ("5", "fact_cpu_ms", 5.0),
    "AWS_CALL_MS": ("20", "aws_call_ms", 20.0),
    "INSTANCES": ("30", "environments", 30),
}


def test_every_option_sets_its_own_field_of_the_month() -> None:
    for name, (text, field, value) in OPTIONS.items():
        assert command.read_month({name: text}) == replace(DEFAULT, **{field: value}), name  # type: ignore[arg-type]


def test_a_missed_goal_ends_the_command_with_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "GOAL_DOLLARS", 1.0)

    assert command.main({"CALLS": "10"}) == 1
    assert "MISSED: with the defaults, a million recorded calls cost" in capsys.readouterr().out


def test_met_goals_end_the_command_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "GOAL_DOLLARS", 1000.0)

    assert command.main({"CALLS": "10"}) == 0


def test_the_goal_of_write_units_is_that_of_the_tests() -> None:
    assert report.GOAL_WRITE_UNITS == MAX_WRITE_UNITS
