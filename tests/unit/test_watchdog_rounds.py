"""A round of the watchdog takes up all that is due in its time, and what is stuck keeps it from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.adapters import dynamodb_waiting_index, limits
from call_recorder.adapters.dynamodb_items import SHARDS, iso_utc
from call_recorder.adapters.dynamodb_waiting_index import FIRST_PAGE
from call_recorder.adapters.operations import CallFailed
from call_recorder.adapters.sqs import MAX_ENTRIES, RecordingQueue
from call_recorder.facts.commands import CheckLocation, Command
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.functions.watchdog import MARGIN_MILLISECONDS, WORKERS, Watchdog
from tests import sinch
from tests.fakes import Clock, RecordedTelemetry
from tests.tables import PLACES, RECORDINGS
from tests.template.stack import Stack
from tests.waiting_items import LAST_DUE, VirtualThreads, VirtualTime, WaitingItems

ALL_SHARDS: Final = [f"{table}_{shard}" for shard in range(SHARDS) for table in (RECORDINGS, PLACES)]
TIMEOUT: Final = float(Stack().properties("WatchdogFunction")["Timeout"])
MARGIN: Final = MARGIN_MILLISECONDS / 1000
SECONDS_BETWEEN_ROUNDS: Final = 300


def names_of(commands: Sequence[Command]) -> list[str]:
    return [each.location if isinstance(each, CheckLocation) else each.recording_id for each in commands]


@contextmanager
def small_pages() -> Iterator[None]:
    """Let a query read five items, and the first from each end two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamodb_waiting_index, "FIRST_PAGE", 2)
        patch.setattr(dynamodb_waiting_index, "MAX_PAGE", 5)
        yield


class Queue:
    """A queue that keeps the names of the items of each round, and takes no batch with one of ``refuses``."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.before_send: Callable[[], object] = lambda: None
        self.refuses: Collection[str] = ()

    def count_waiting(self) -> int:
        return 0

    def send_all(self, commands: Sequence[Command]) -> int:
        self.before_send()
        names = names_of(commands)
        assert len(names) <= MAX_ENTRIES
        if not set(names).isdisjoint(self.refuses):
            raise QueueUnavailable("SendMessageBatch: InternalError")
        self.rounds[-1] += names
        return len(names)


class Rounds:
    """The rounds of a watchdog, in which each call takes some seconds.

    Args:
        items: what is due.
        seconds: the time of a call.
        time: how the threads of a round run.
        shards: the number of shards of each table.
    """

    def __init__(
        self,
        items: WaitingItems,
        *,
        seconds: float = 1.0,
        time: type[VirtualTime] = VirtualTime,
        shards: int = SHARDS,
    ) -> None:
        self.items, self.queue, self.telemetry, self.clock = items, Queue(), RecordedTelemetry(), Clock()
        self.elapsed = 0.0
        self._seconds, self._time, self._shards = seconds, time, shards
        self._index = items.new_index(shards)

    def run(self, within: float = TIMEOUT) -> list[str]:
        """Return the items that are sent in a round that Lambda ends after so many seconds."""
        time = self._time()
        self.items.before_query = self.queue.before_send = lambda: time.wait(self._seconds)
        self.queue.rounds.append([])
        watchdog = Watchdog(self._index, self.queue, self.telemetry, self.clock, time)
        try:
            watchdog(lambda: 1000 * (within - time.now))
        finally:
            self.elapsed = time.now
        sent = self.queue.rounds[-1]
        assert max(Counter(sent).values(), default=1) == 1, "a command is sent twice in a round"
        return sent

    def run_calls(self, number: int) -> list[str]:
        """Return the items that are sent in a round that has time for so many calls, each after the other."""
        return self.run(MARGIN + number * self._seconds)

    def start_new_process(self) -> None:
        """Forget the positions."""
        self._index = self.items.new_index(self._shards)


def test_a_round_takes_up_500_overdue_recordings_a_second() -> None:
    """Each call takes 0.1 s here, about ten times as long as usual."""
    overdue = 500 * SECONDS_BETWEEN_ROUNDS
    shards = {f"{RECORDINGS}_{shard}": overdue // SHARDS for shard in range(SHARDS)}
    rounds = Rounds(WaitingItems(shards), seconds=0.1, time=VirtualThreads)

    assert len(rounds.run()) == overdue == 150_000

    assert rounds.elapsed < TIMEOUT - MARGIN
    assert rounds.telemetry.counts == {"RecordingsOverdue": overdue, "WatchdogRuns": 1}
    assert [line.fields for line in rounds.telemetry.lines] == [
        {"overdue": overdue, "failedCalls": None, "goesOn": None, "queued": None}
    ]


@pytest.mark.parametrize("time", [VirtualTime, VirtualThreads])
def test_a_round_ends_before_lambda_ends_it(time: type[VirtualTime]) -> None:
    slowest = limits.BACKGROUND.max_seconds
    rounds = Rounds(WaitingItems(dict.fromkeys(ALL_SHARDS, 10_000)), seconds=slowest, time=time)

    sent = rounds.run()

    assert TIMEOUT - MARGIN <= rounds.elapsed < TIMEOUT
    assert 0 < len(sent) < 10_000
    assert rounds.telemetry.counts == {"RecordingsOverdue": len(sent), "WatchdogRuns": 1}
    assert [line.fields["goesOn"] for line in rounds.telemetry.lines] == [True]


def test_the_margin_leaves_time_for_the_longest_call_and_the_metrics() -> None:
    assert limits.BACKGROUND.max_seconds + 2 < MARGIN < TIMEOUT / 10


def test_the_timeout_ends_a_round_before_the_next_begins() -> None:
    assert TIMEOUT + MARGIN <= SECONDS_BETWEEN_ROUNDS


def test_real_threads_send_each_command_once() -> None:
    items = WaitingItems({shard: 10 * number for number, shard in enumerate(ALL_SHARDS)})
    queue = Queue()
    queue.rounds.append([])
    with ThreadPoolExecutor(WORKERS) as executor:
        done = Watchdog(items.new_index(SHARDS), queue, RecordedTelemetry(), Clock(), executor)()

    everything = sorted(name for shard in ALL_SHARDS for name in items.names(shard))
    assert done == {"overdue": len(everything)}
    assert sorted(queue.rounds[-1]) == everything


def test_a_call_of_one_second_leaves_time_for_both_ends_of_each_shard() -> None:
    items = WaitingItems(dict.fromkeys(ALL_SHARDS, 10_000))
    rounds = Rounds(items, seconds=1, time=VirtualThreads)

    sent = set(rounds.run())

    for shard in ALL_SHARDS:
        names = items.names(shard)
        assert {*names[:FIRST_PAGE], *names[-FIRST_PAGE:]} <= sent


@pytest.mark.parametrize("stuck_at", ["the earliest end", "the latest end"])
@pytest.mark.parametrize("time", [VirtualTime, VirtualThreads])
def test_stuck_items_leave_room_for_others_in_every_new_process(time: type[VirtualTime], stuck_at: str) -> None:
    items = WaitingItems(dict.fromkeys(ALL_SHARDS, 50) | {"recordings_0": 30_000})
    others = {name for shard in ALL_SHARDS[1:] for name in items.names(shard)}
    at_the_earliest_end = stuck_at == "the earliest end"
    for each in range(50):
        due = LAST_DUE + timedelta(0 if at_the_earliest_end else -9)
        items.add("recordings_0", f"~{each}", iso_utc(due))
        others.add(f"recordings_0-~{each}")
    rounds = Rounds(items, seconds=0.1 if time is VirtualTime else 1, time=time)

    for _ in range(3):
        sent = set(rounds.run())
        assert others <= sent
        assert len(sent) < 30_000
        rounds.start_new_process()


def test_a_round_that_leaves_nothing_costs_a_query_for_each_shard() -> None:
    rounds = Rounds(WaitingItems(dict.fromkeys(ALL_SHARDS, 30)))

    for number in (1, 2, 3):
        rounds.run()
        assert rounds.items.queries == number * len(ALL_SHARDS)


def test_the_next_round_goes_on_where_time_ran_out_and_wraps_around() -> None:
    items = WaitingItems(dict.fromkeys(ALL_SHARDS[:6], 1_500))
    rounds = Rounds(items, shards=3)
    everything = {name for shard in ALL_SHARDS[:6] for name in items.names(shard)}

    sent = [rounds.run_calls(350) for _ in range(3)]

    assert set(sent[0]).isdisjoint(sent[1])
    assert everything - {*sent[0], *sent[1]} <= set(sent[2][:2_500])
    assert len(sent[2]) > 3_000, "the round goes on with items of earlier rounds"
    assert [line.fields["goesOn"] for line in rounds.telemetry.lines] == [True] * 3


def test_what_becomes_due_later_is_sent_before_a_second_command() -> None:
    items = WaitingItems({"recordings_0": 2_000})
    rounds = Rounds(items, shards=1)
    first = rounds.run_calls(150)
    rounds.clock.advance(SECONDS_BETWEEN_ROUNDS)
    new = [f"recordings_0-~{each:02}" for each in range(100)]
    for each, name in enumerate(new):
        items.add("recordings_0", name.partition("-")[2], iso_utc(sinch.NOW + timedelta(seconds=each)))

    second = rounds.run_calls(60)

    left = [name for name in items.names("recordings_0") if name not in {*first, *new}]
    assert second[:100] == new
    assert (second[100], second[200]) == (left[0], left[-1]), "from both ends"
    assert len(second) > 500
    assert set(first).isdisjoint(second)


SECONDS = st.integers(0, 29)

ONE_ROUND = st.tuples(st.integers(0, 12), st.sets(SECONDS, max_size=9), st.sets(SECONDS, max_size=3))
"""How often commands are sent in a round, when items have become due since the last one, and which have disappeared."""


@given(due=st.sets(SECONDS), rounds=st.lists(ONE_ROUND, max_size=8), size=st.integers(1, 4))
def test_no_command_is_repeated_while_items_wait_for_one(
    due: set[int], rounds: list[tuple[int, set[int], set[int]]], size: int
) -> None:
    items, clock = WaitingItems({"recordings_0": 0}), Clock()
    shard, _ = items.new_index(1).start_round(clock(), size)
    present: list[set[str]] = []
    sent: list[set[str]] = []
    with small_pages():
        for number, (calls, new, gone) in enumerate([(0, due, set[int]()), *rounds, (99, set[int](), set[int]())]):
            for second in new:
                items.add("recordings_0", f"{number}.{second}", iso_utc(clock() + timedelta(seconds=second + 1)))
            for name in [each for place, each in enumerate(items.names("recordings_0")) if place in gone]:
                items.remove(name)
            clock.advance(300)
            present.append(set(items.names("recordings_0")))
            sent.append(set())
            shard.start_round(clock(), size)
            for _ in range(calls):
                for name in names_of(shard.find_next()):
                    check_that_none_waits(name, sent, present)
                    sent[-1].add(name)
                shard.confirm()
    assert sent[-1] == present[-1], "a round that has the time sends everything"


def check_that_none_waits(name: str, sent: list[set[str]], present: list[set[str]]) -> None:
    """Check that a second command comes after the first ones of all others, and a third after their second ones."""
    assert name not in sent[-1], "sent twice in a round"
    times = [number for number, names in enumerate(sent) if name in names]
    if times:
        assert not present[-1].difference(*sent)
    if len(times) > 1:
        assert not (present[times[-2]] & present[-1]).difference(*sent[times[-2] :], {name})


def test_items_of_one_second_are_sent_once_in_a_cycle_of_rounds() -> None:
    items = WaitingItems({"recordings_0": 0})
    for each in range(60):
        items.add("recordings_0", f"{each:02}", iso_utc(LAST_DUE - timedelta(seconds=each // 30)))
    shard, _ = items.new_index(1).start_round(sinch.NOW, 3)
    sent: list[str] = []
    with small_pages():
        for _ in range(10):
            shard.start_round(sinch.NOW, 3)
            for _ in range(2):
                sent += names_of(shard.find_next())
                shard.confirm()
            items.remove(sent[-1])

    assert sorted(set(sent)) == sorted(sent)


def test_a_shard_that_cannot_be_read_stops_no_other() -> None:
    """Here, more shards cannot be read than there are threads."""
    items = WaitingItems(dict.fromkeys(ALL_SHARDS, 30))
    rounds = Rounds(items)
    items.broken = set(ALL_SHARDS[: WORKERS + 1])

    with pytest.raises(TableUnavailable, match="^Query: ValidationException$"):
        rounds.run()

    assert set(rounds.queue.rounds[-1]) == {
        name for shard in ALL_SHARDS if shard not in items.broken for name in items.names(shard)
    }
    assert rounds.telemetry.counts == {"RecordingsOverdue": 30 * (len(ALL_SHARDS) - len(items.broken))}
    assert [line.fields["failedCalls"] for line in rounds.telemetry.lines] == [len(items.broken)]
    assert rounds.telemetry.flushed == [{}]

    items.broken = set()
    assert len(rounds.run()) == 30 * len(ALL_SHARDS)
    assert rounds.telemetry.counts["WatchdogRuns"] == 1


@pytest.mark.parametrize("time", [VirtualTime, VirtualThreads])
def test_a_batch_that_is_refused_stops_no_other(time: type[VirtualTime]) -> None:
    items = WaitingItems(dict.fromkeys(ALL_SHARDS, 30))
    rounds = Rounds(items, time=time)
    rounds.queue.refuses = {"recordings_0-000005", "places_3-000030"}

    with pytest.raises(QueueUnavailable, match="^SendMessageBatch: InternalError$"):
        rounds.run()

    missed = {name for shard in ALL_SHARDS for name in items.names(shard)} - set(rounds.queue.rounds[-1])
    assert missed == {*items.names("recordings_0")[:10], *items.names("places_3")[20:]}
    assert rounds.telemetry.counts == {"RecordingsOverdue": 30 * len(ALL_SHARDS) - 20}


@pytest.mark.parametrize("time", [VirtualTime, VirtualThreads])
def test_an_unexpected_error_is_raised_when_all_other_threads_are_done(time: type[VirtualTime]) -> None:
    """Otherwise Lambda would freeze them, and the next round would read the same shards beside them."""
    items = WaitingItems(dict.fromkeys(ALL_SHARDS, 30))
    rounds = Rounds(items, time=time)
    send_all = rounds.queue.send_all

    def break_at_one(commands: Sequence[Command]) -> int:
        if "recordings_0-000005" in names_of(commands):
            raise ZeroDivisionError
        return send_all(commands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds.queue, "send_all", break_at_one)
        with pytest.raises(ZeroDivisionError):
            rounds.run()

    assert set(rounds.queue.rounds[-1]) == {
        name for shard in ALL_SHARDS if shard != "recordings_0" for name in items.names(shard)
    }
    assert rounds.telemetry.counts == {"RecordingsOverdue": 30 * (len(ALL_SHARDS) - 1)}
    assert len(rounds.run()) == 30 * len(ALL_SHARDS)


def test_a_refused_batch_is_the_first_of_the_next_round() -> None:
    items = WaitingItems({"recordings_0": 1_000})
    rounds = Rounds(items, shards=1)
    refused = items.names("recordings_0")[20:30]
    rounds.queue.refuses = refused[3:4]
    with pytest.raises(QueueUnavailable):
        rounds.run_calls(50)
    assert len(rounds.queue.rounds[-1]) > 200, "the round goes on"
    later = items.names("recordings_0")[90:100]
    rounds.queue.refuses = later[:1]
    with pytest.raises(QueueUnavailable):
        rounds.run_calls(30)
    assert rounds.queue.rounds[-1][:10] == refused

    rounds.queue.refuses = ()

    assert rounds.run_calls(4)[:10] == later


def test_commands_that_are_always_refused_keep_no_other_from_a_round() -> None:
    items = WaitingItems({"recordings_0": 3_000})
    names = items.names("recordings_0")
    rounds = Rounds(items, shards=1)
    rounds.queue.refuses = {names[0], names[55], names[1_200], names[2_000], names[-1]}

    for _ in range(30):
        with pytest.raises(QueueUnavailable):
            rounds.run_calls(120)

    assert len({name for each in rounds.queue.rounds for name in each}) == 3_000 - 10 * len(rounds.queue.refuses)


NOTHING_WAITS = {"Attributes": {"ApproximateNumberOfMessages": "0"}}


def test_a_partly_refused_batch_is_reported_and_sent_again() -> None:
    """SQS answers such a batch with 200, so boto3 does not repeat it."""

    class Sqs:
        def __init__(self) -> None:
            self.bodies: list[str] = []
            self.refuses = True

        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "GetQueueAttributes":
                return NOTHING_WAITS
            self.bodies += [entry["MessageBody"] for entry in parameters["Entries"]]
            return {"Failed": [{"Id": "1", "Code": "InternalError"}]} if self.refuses else {}

    sqs, telemetry = Sqs(), RecordedTelemetry()
    index = WaitingItems({"recordings_0": 10}).new_index(1)
    watchdog = Watchdog(index, RecordingQueue(sqs, "https://queue.example"), telemetry, Clock())
    with pytest.raises(QueueUnavailable, match="^SendMessageBatch: InternalError$"):
        watchdog()
    assert (len(sqs.bodies), telemetry.counts["WatchdogRuns"]) == (10, 0)

    sqs.refuses = False

    assert watchdog() == {"overdue": 10}
    assert sqs.bodies[:10] == sqs.bodies[10:]


def test_a_call_that_fails_for_each_batch_is_kept_once() -> None:
    """A queue that cannot be reached refuses a batch for every ten items that are due."""

    class Sqs:
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "GetQueueAttributes":
                return NOTHING_WAITS
            raise CallFailed(operation, "AccessDenied")

    telemetry, items = RecordedTelemetry(), WaitingItems(dict.fromkeys(ALL_SHARDS, 100))
    queue = RecordingQueue(Sqs(), "https://queue.example")

    with pytest.raises(QueueUnavailable, match="^SendMessageBatch: AccessDenied$"):
        Watchdog(items.new_index(SHARDS), queue, telemetry, Clock())()

    assert [line.fields["failedCalls"] for line in telemetry.lines] == [10 * len(ALL_SHARDS)]
    assert telemetry.counts == {"RecordingsOverdue": 0}


def test_a_clock_that_is_set_back_breaks_no_round() -> None:
    """DynamoDB refuses a query whose range ends before it begins."""
    items = WaitingItems({"recordings_0": 2_000})
    rounds = Rounds(items, shards=1)
    rounds.run_calls(20)

    rounds.clock.advance(-86_400)
    rounds.run_calls(20)
    rounds.clock.advance(86_400)

    assert sorted(rounds.run()) == items.names("recordings_0")
