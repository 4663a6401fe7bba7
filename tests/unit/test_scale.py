"""A small simulated day, and the quotas of its model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest

from call_recorder.adapters.operations import CallFailed
from local.capacity import read_tables, read_template
from local.emulator import ROOT
from local.fake_tables import RECORDINGS, Refused
from local.scale import day as story
from local.scale import figures
from local.scale.__main__ import main, read_scenario, simulate
from local.scale.figures import Account, Quota, Stack
from local.scale.results import FINE, Results
from local.scale.services import DynamoDb, Service, Ssm
from local.scale.world import Killed, Level, Limited, World
from local.variables import run

SMALL = {"RATE": "20", "SAMPLE": "150", "HOURS": "1"}
SHORT = {"RATE": "20", "SAMPLE": "60", "HOURS": "0.5", "SLOW": "none"}
BY_KEY = "DynamoDB write units a second, one key of recordings/"


@pytest.fixture(scope="module")
def day() -> Results:
    return simulate(read_scenario(SMALL))


@pytest.fixture(scope="module")
def one_shard() -> Iterator[Results]:
    """A day whose partitions take a fiftieth, so that 20 calls a second are like 1,000, and whose grace is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("local.scale.services.PARTITION_WRITES", 20)
        yield simulate(read_scenario(SHORT | {"SHARDS": "1", "WITH": "grace_seconds=60"}))


def test_every_call_that_comes_in_is_accounted_for(day: Results) -> None:
    assert sum(day.calls.values()) == pytest.approx(day.day.arrived)
    assert len(day.day.calls) > 150


def test_no_event_of_a_good_day_is_lost(day: Results) -> None:
    assert day.problems == []
    assert set(day.calls) <= set(FINE)
    for call in day.day.calls:
        kinds = {kind for _, kind, _ in day.day.bus.published.get(call.made.call_id, [])}
        assert kinds == (call.expects if call.url else set())


def test_every_message_is_taken_or_still_there(day: Results) -> None:
    queue, taken = day.day.queue, day.day.notify.taken
    assert queue.sent == pytest.approx(taken + sum(each.weight for each in queue.kept.values()))


def test_the_same_seed_makes_the_same_day() -> None:
    reports = [list(simulate(read_scenario(SHORT | {"SEED": seed})).report()) for seed in ("1", "1", "2")]
    assert reports[0] == reports[1] != reports[2]


def test_one_shard_gives_way_and_fails_the_day(one_shard: Results) -> None:
    uses = one_shard.day.world.uses
    assert uses[f"{BY_KEY}due"].refused > 0
    assert max(age for _, _, age in one_shard.day.backlog) > 300
    assert one_shard.problems


def test_sixteen_shards_hold_at_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.scale.services.PARTITION_WRITES", 20)
    results = simulate(read_scenario(SHORT))
    assert results.problems == []
    assert not results.day.world.uses[f"{BY_KEY}due"].minutes


def test_a_standard_ssm_fails_at_a_deployment_of_many_environments() -> None:
    settings = "callback_provisioned_concurrency=60 get_parameters=20"
    results = simulate(read_scenario(SHORT | {"WITH": settings}))
    assert results.calls["connected without recording"] > 0
    assert results.problems


@pytest.mark.parametrize("rules", [[], [{"name": "nothing", "record": False}]])
def test_a_day_on_which_no_rule_records_fails(rules: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(story._PROFILE, "rules", rules)
    results = simulate(read_scenario(SHORT))
    assert results.calls == {"connected without recording": pytest.approx(results.day.arrived)}
    assert results.problems


def test_too_little_concurrency_costs_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(figures.SLOW_HOURS, "sqs", figures.Slowness(60, 0.0))
    settings = "callback_reserved_concurrency=12 callback_provisioned_concurrency=0"
    results = simulate(read_scenario(SHORT | {"SLOW": "sqs", "WITH": settings}))
    assert results.calls["not answered"] > 0
    refused = {name for name, use in results.day.world.uses.items() if use.refused and use.quota.costs == "callers"}
    assert refused == {"CallbackFunction at once"}


def test_a_low_rate_of_the_api_costs_callers() -> None:
    results = simulate(read_scenario(SHORT | {"WITH": "throttling_rate_limit=50"}))
    assert any("API requests" in problem for problem in results.problems)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RATE", "fast", "RATE is 'fast': write a number from 0.1 to 100000."),
        ("SHARDS", "17", "SHARDS is '17': write a whole number from 1 to 16."),
        ("SLOW", "s3", "SLOW is 's3': write some of ssm sqs dynamodb events, or none."),
        ("WITH", "luck=1", "WITH is 'luck=1': write name=number with one of throttling_rate_limit"),
        ("WITH", "get_parameters=much", "get_parameters is 'much': write a number"),
    ],
)
def test_a_bad_variable_gets_one_sentence(name: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, {name: value}) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith(says)


def test_defaults_are_those_of_a_new_account() -> None:
    scenario = read_scenario({"DEFAULTS": "1"})
    assert (scenario.stack, scenario.account) == (Stack(), Account())


def test_a_load_lasts_as_long_as_its_parts() -> None:
    level = Level()
    level.add(0.0, 2.0, 10.0)
    level.add(5.0, 3.0, 10.0)
    assert [level.read(at) for at in (6.0, 11.0, 16.0)] == [5.0, 3.0, 0.0]


def test_a_quota_refuses_what_exceeds_it() -> None:
    world = World(1)
    limited = Limited(world.use(Quota("calls a second", 10, "delay")))
    taken = [limited.take(0.0, 4.0, 1.0) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert (limited.use.refused, limited.use.minutes) == (8.0, {0})
    assert limited.take(1.0, 10.0, 1.0)


def new_database(account: Account) -> tuple[World, DynamoDb]:
    world = World(1)
    world.rate = lambda _at: 30.0  # so that a load of weight 1 lasts for a second
    return world, DynamoDb(world, account, read_tables())


def new_item(number: int, day: str = "app#2026-11-23#0", **more: str) -> dict[str, dict[str, str]]:
    item = {"recordingId": f"call-{number}", "applicationDay": day, "requestedAt": "2026-11-23T09:30:00Z"} | more
    return {name: {"S": value} for name, value in item.items()}


def put(database: DynamoDb, item: Mapping[str, Mapping[str, str]]) -> None:
    database.put_item({"TableName": RECORDINGS, "Item": item})


def test_a_full_partition_of_an_index_throttles_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.scale.services.PARTITION_WRITES", 5)
    _, database = new_database(Account())
    for number in range(5):
        put(database, new_item(number))
    with pytest.raises(Refused, match="Throughput"):
        put(database, new_item(5))
    assert database.find(RECORDINGS, "call-5") is None
    put(database, new_item(6, day="app#2026-11-24#0"))


def test_a_new_table_takes_twice_its_earlier_peak_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world, database = new_database(Account(warm_writes=10))
    for number in range(10):
        put(database, new_item(number, day=f"app#{number}#0"))
    with pytest.raises(Refused):
        put(database, new_item(10, day="app#10#0"))
    world.now = figures.ON_DEMAND_SECONDS + 301
    for number in range(20, 40):
        put(database, new_item(number, day=f"app#{number}#0"))
    with pytest.raises(Refused):
        put(database, new_item(40, day="app#40#0"))


def test_a_query_reads_a_shard_from_both_ends() -> None:
    _, database = new_database(Account())
    for number in range(5):
        put(database, new_item(number, waitingShard="3", dueAt=f"2026-11-23T10:0{number}:00Z"))
    put(database, new_item(9, waitingShard="4", dueAt="2026-11-23T10:00:00Z"))
    asked = {
        "TableName": RECORDINGS,
        "KeyConditionExpression": "waitingShard = :shard AND dueAt BETWEEN :low AND :high",
        "ExpressionAttributeValues": {":shard": {"S": "3"}, ":low": {"S": "0"}, ":high": {"S": "2026-11-23T10:03:00Z"}},
        "Limit": 3,
    }
    for forward, expected in ((True, [0, 1, 2, 3]), (False, [3, 2, 1, 0])):
        first = database.query(asked | {"ScanIndexForward": forward})
        after = {"ScanIndexForward": forward, "ExclusiveStartKey": first["LastEvaluatedKey"]}
        second = database.query(asked | after)
        found = [item["recordingId"]["S"] for item in (*first["Items"], *second["Items"])]
        assert found == [f"call-{number}" for number in expected]
        assert "LastEvaluatedKey" not in second


def test_ssm_refuses_more_reads_than_its_quota() -> None:
    world = World(1)
    store = Ssm(world, Account(get_parameters=40), {"/a": "1"})
    store.weight = 30.0
    store.service.attempt("GetParameters", {"Names": ["/a"]}, 1.0)
    with pytest.raises(CallFailed, match="Throttling"):
        store.service.attempt("GetParameters", {"Names": ["/a"]}, 1.0)


def test_a_slow_service_times_out_and_carries_the_call_out() -> None:
    world, done = World(1), list[Mapping[str, Any]]()

    def carry_out(call: Mapping[str, Any]) -> dict[str, Any]:
        done.append(call)
        return {}

    service = Service(world, "sqs", {"SendMessage": carry_out})
    with pytest.raises(CallFailed, match="TimeoutError"):
        service.attempt("SendMessage", {}, 0.0001)
    assert len(done) == 1
    assert world.now == pytest.approx(0.0001)


def test_an_invocation_ends_at_its_time_limit() -> None:
    world = World(1)
    world.deadline = 5.0
    with pytest.raises(Killed):
        world.spend(6.0)
    assert world.now == 5.0


def test_parallel_calls_take_as_long_as_the_longest() -> None:
    world = World(1)
    assert list(world.map(lambda seconds: world.spend(seconds), [1.0, 3.0, 2.0])) == [None] * 3
    assert world.now == 3.0


@pytest.mark.parametrize("rate", [100, 1_000])
def test_the_parameters_are_those_that_the_page_recommends(rate: int) -> None:
    page = (ROOT / "docs/scaling.md").read_text("utf-8")
    block = page.partition(f"**For {rate:,} calls a second:**")[2].split("```")[1]
    stack, _ = figures.recommend(rate)
    parameters = {
        "ThrottlingRateLimit": stack.throttling_rate_limit,
        "NotifyMaximumConcurrency": stack.notify_maximum_concurrency,
        "CallbackReservedConcurrency": stack.callback_reserved_concurrency,
        "CallbackProvisionedConcurrency": stack.callback_provisioned_concurrency,
    }
    written = dict(re.findall(r"(\w+)=(\d+)", block))
    assert {name: float(written[name]) for name in parameters} == parameters
    assert stack.prefetched_application == ("PrefetchedApplicationKey=" in block)


def test_the_stack_has_the_defaults_of_the_template() -> None:
    parameters = read_template()["Parameters"]
    for field in fields(Stack):
        name = "".join(part.capitalize() for part in field.name.split("_"))
        if name in parameters:
            assert field.default == parameters[name]["Default"]
    assert "ThrottlingRateLimit" in parameters
