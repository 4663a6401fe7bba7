"""What strangers send costs a bounded number of calls to SSM, and a registered application nothing."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from call_recorder.answering.application_cache import ApplicationCache
from call_recorder.answering.parameter_names import PROFILE, SECRETS
from call_recorder.answering.registered_applications import (
    FAILURES_SECONDS,
    LISTED_SECONDS,
    LISTING_SECONDS,
    MAX_FAILURES,
    MAX_LISTING_SECONDS,
    MAX_MISSES,
    MAX_PAGES,
    MISSES_SECONDS,
    RELIST_SECONDS,
    UNKNOWN_SECONDS,
    Page,
)
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication
from tests import sinch
from tests.fakes import BUCKET

TTL = 300.0
FLOOD = 300
APPS = ("app-a", "app-b", "app-c")
"""ApplicationCache that are registered from the beginning."""

GET, LIST = "GetParameters", "DescribeParameters"


class Store:
    """SSM as the applications see it, with its pages; it notes the calls and their times, and can be down."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.apps = set(APPS)
        self.others = 0  # parameters in the pages before them
        self.page = 50  # parameters that one page looks through
        self.seconds = 0.0  # that a call takes
        self.down: set[str] = set()
        self.fails_at: int | None = None  # the number of a call
        self.asked: list[tuple[str, float]] = []
        self.keys_looked_up: list[str] = []

    @property
    def counts(self) -> Counter[str]:
        return Counter(operation for operation, _ in self.asked)

    def read(self, key: str) -> dict[str, str]:
        self.take_call(GET)
        self.keys_looked_up.append(key)
        return {PROFILE: "{}"} | ({SECRETS: sinch.SECRET} if key in self.apps else {})

    def list_applications(self, after: str | None) -> Page:
        self.take_call(LIST)
        stored = [""] * self.others + sorted(self.apps)
        first, last = int(after or 0), int(after or 0) + self.page
        return Page([app for app in stored[first:last] if app], str(last) if last < len(stored) else None)

    def take_call(self, operation: str) -> None:
        self.asked.append((operation, self.now))
        self.now += self.seconds
        if operation in self.down or len(self.asked) == self.fails_at:
            raise ParametersUnavailable(f"{operation}: ThrottlingException")


class Environment:
    """One of Lambda's environments, as far as it finds applications."""

    def __init__(self, ssm: Store | None = None, *, expected: str = "") -> None:
        self.ssm = ssm = ssm or Store()
        self.stale: list[str] = []
        self.applications = ApplicationCache(
            ssm,
            own_bucket=BUCKET,
            ttl_seconds=TTL,
            expected=expected,
            report_stale=self.stale.append,
            clock=lambda: ssm.now,
        )

    def found(self, key: str) -> str:
        """Look for an application; tell how a callback in its name is answered."""
        try:
            assert self.applications.get(key).key == key
        except UnknownApplication:
            return "refused"
        except ParametersUnavailable:
            return "unavailable"
        return "served"

    def flood(self, number: int = FLOOD, name: str = "made-up") -> Counter[str]:
        return Counter(self.found(f"{name}-{each}") for each in range(number))

    def flood_each_second(self, seconds: int, outcome: str) -> None:
        """Let 20 made-up keys come every second, which all have the same outcome."""
        for _ in range(seconds):
            assert self.flood(20, f"at-{self.ssm.now}") == {outcome: 20}
            self.ssm.now += 1


@pytest.fixture
def env() -> Environment:
    return Environment()


@pytest.fixture
def ssm(env: Environment) -> Store:
    return env.ssm


@pytest.mark.parametrize("noise", [0, MAX_MISSES - 1])
def test_the_first_callback_of_each_application_costs_one_call(env: Environment, ssm: Store, noise: int) -> None:
    env.flood(noise)
    ssm.asked.clear()
    more = [f"more-{number}" for number in range(20)]
    ssm.apps |= {*more}

    assert {env.found(key) for key in more * 3} == {"served"}
    assert ssm.counts == {GET: 20}


def test_a_long_flood_looks_up_few_keys_and_seldom_lists(env: Environment, ssm: Store) -> None:
    env.flood_each_second(600, "refused")

    assert ssm.counts[LIST] <= 2 * 600 / LISTED_SECONDS + 1
    assert ssm.counts[GET] == MAX_MISSES


def test_an_application_registered_in_a_flood_is_served_within_a_minute(env: Environment, ssm: Store) -> None:
    env.flood()
    ssm.apps.add("new")
    since = ssm.now
    while env.found("new") != "served":
        env.flood_each_second(1, "refused")

    assert ssm.now - since <= LISTED_SECONDS


@pytest.mark.parametrize("listed_meanwhile", [False, True])
def test_an_unknown_key_that_is_registered_is_served_soon(env: Environment, ssm: Store, listed_meanwhile: bool) -> None:
    assert env.found("new") == "refused"
    ssm.apps.add("new")
    if listed_meanwhile:
        env.flood()
    else:
        ssm.now += UNKNOWN_SECONDS

    assert env.found("new") == "served"


def test_an_expected_application_that_is_not_registered_costs_few_calls() -> None:
    unregistered = Environment(expected="unregistered")
    for _ in range(60):
        assert unregistered.found("unregistered") == "refused"
        unregistered.ssm.now += 0.5
    assert unregistered.ssm.counts == {GET: 30 / UNKNOWN_SECONDS}


def test_the_last_list_refuses_made_up_keys_while_ssm_is_down(env: Environment, ssm: Store) -> None:
    env.flood()
    ssm.asked.clear()
    ssm.down = {GET, LIST}
    ssm.now += LISTED_SECONDS

    assert env.flood(name="more") == {"refused": FLOOD}
    assert env.found("app-a") == "unavailable"
    assert env.stale == ["DescribeParameters: ThrottlingException"]
    assert ssm.counts == {GET: 1, LIST: 1}

    ssm.down = set()
    ssm.apps.add("new")
    ssm.now += RELIST_SECONDS
    assert env.found("new") == "served"


def test_without_a_list_a_broken_ssm_is_seldom_tried(env: Environment, ssm: Store) -> None:
    ssm.down = {GET, LIST}
    for _ in range(60):
        assert env.found("app-a") == "unavailable"
        env.flood_each_second(1, "unavailable")

    assert ssm.counts[GET] <= 60 / MISSES_SECONDS * MAX_MISSES
    assert ssm.counts[LIST] <= 2 * 60 / RELIST_SECONDS + 1

    ssm.down = set()
    ssm.now += RELIST_SECONDS
    assert env.found("app-a") == "served"


def test_an_application_that_was_deleted_is_refused_at_little_cost(env: Environment, ssm: Store) -> None:
    env.flood()
    ssm.apps.remove("app-a")
    ssm.asked.clear()

    for _ in range(int(LISTED_SECONDS)):
        assert env.found("app-a") == "refused"
        ssm.now += 1
    assert ssm.counts[GET] <= LISTED_SECONDS / UNKNOWN_SECONDS


def test_an_unreadable_application_costs_few_calls_and_harms_no_other(env: Environment, ssm: Store) -> None:
    """Strangers may know its key, and send it as often as they like."""
    env.flood()
    ssm.down, ssm.asked = {GET}, []
    assert [env.found("app-a") for _ in range(100)] == ["unavailable"] * 100
    assert ssm.counts == {GET: MAX_FAILURES}

    ssm.down = set()
    assert env.found("app-b") == "served"
    assert env.found("app-a") == "unavailable"
    ssm.now += FAILURES_SECONDS
    assert env.found("app-a") == "served"


@pytest.mark.parametrize("others", [0, 5_000])
def test_applications_are_listed_whatever_else_the_account_stores(env: Environment, ssm: Store, others: int) -> None:
    """SSM looks through all parameters of the account, and gives pages with none that matches."""
    ssm.others = others
    env.flood()
    since = ssm.now
    while env.found("app-c") != "served":
        assert env.found("made-up") == "unavailable"  # and not refused: the list is not finished
        ssm.now += RELIST_SECONDS

    assert ssm.now - since <= others / (50 * MAX_PAGES) * RELIST_SECONDS
    assert ssm.counts[LIST] <= (others + len(ssm.apps)) / 50 + 1
    assert env.found("made-up") == "refused"


@pytest.fixture
def interrupted(env: Environment, ssm: Store) -> Environment:
    """Return an environment whose list was interrupted at its third page."""
    ssm.page = 1
    ssm.apps |= {"app-d", "app-e"}
    ssm.fails_at = MAX_MISSES + 3
    env.flood()
    assert ssm.counts[LIST] == 3
    return env


def test_a_list_continues_at_the_page_that_was_refused(interrupted: Environment, ssm: Store) -> None:
    ssm.now += RELIST_SECONDS

    assert interrupted.found("made-up") == "refused"
    assert ssm.counts[LIST] == len(ssm.apps) + 1  # the one that was refused


def test_a_list_begins_again_if_ssm_no_longer_knows_the_page(interrupted: Environment, ssm: Store) -> None:
    ssm.fails_at = MAX_MISSES + 4
    outcomes = []
    for _ in range(2):
        ssm.now += RELIST_SECONDS
        outcomes.append(interrupted.found("made-up"))

    assert outcomes == ["unavailable", "refused"]
    assert ssm.counts[LIST] == 4 + len(ssm.apps)


def test_a_list_that_was_interrupted_long_ago_begins_again(interrupted: Environment, ssm: Store) -> None:
    ssm.apps.add("aaa")  # comes before the page where the list was interrupted
    ssm.now += MAX_LISTING_SECONDS
    interrupted.flood(name="more")

    assert interrupted.found("aaa") == "served"


def test_a_slow_list_does_not_keep_a_caller_waiting(env: Environment, ssm: Store) -> None:
    ssm.page, ssm.others, ssm.seconds = 1, 20, 0.1
    env.flood(MAX_MISSES)
    before = ssm.now
    env.found("made-up")

    assert ssm.now - before <= LISTING_SECONDS + ssm.seconds


def test_keys_that_were_refused_take_no_memory(env: Environment, ssm: Store) -> None:
    env.flood()
    tracemalloc.start()
    try:
        for number in range(20_000):
            env.found(f"{number:0128}")
            ssm.now += 0.01
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown - sum(map(len, ssm.keys_looked_up)) - 200 * len(ssm.asked) < 50_000


KEYS = st.sampled_from([*APPS, "new"]) | st.integers(0, 10_000).map(str)
DOWN = st.sets(st.sampled_from([GET, LIST]))
STEP = st.tuples(st.lists(KEYS, max_size=30), st.floats(0, 40), DOWN, st.sampled_from(["", "", "put", "delete"]))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_calls_are_bounded_and_only_registered_applications_are_served(
    steps: list[tuple[list[str], float, set[str], str]],
) -> None:
    env = Environment()
    ssm = env.ssm
    listed, changed, back = False, ssm.now, 0.0
    for keys, seconds, down, change in steps:
        ssm.down = down
        disturbed = down or ssm.now < back + FAILURES_SECONDS
        if change:
            changed = ssm.now
            (ssm.apps.add if change == "put" else ssm.apps.discard)("new")
        for key in keys:
            before = ssm.asked[-1:]
            outcome = env.found(key)
            if key in APPS:
                assert outcome == "served" or (outcome == "unavailable" and disturbed)
            elif key != "new":
                assert outcome != "served"
                assert outcome == "refused" or (disturbed and not listed)
            elif not disturbed and ssm.now - changed > 60 + TTL:
                assert outcome == ("served" if "new" in ssm.apps else "refused")
            listed = listed or (ssm.asked[-1:] != before and ssm.asked[-1][0] == LIST and not down)
        ssm.now += seconds
        back = ssm.now if down else back

    times = [at for _, at in ssm.asked]
    known = len(APPS) + 1
    for first in times:
        within = [at for at in times if first <= at < first + 30]
        # Of strangers: misses and lists. Of the applications: each may fail so often, and be read once.
        assert len(within) <= MAX_MISSES + 2 * 30 / RELIST_SECONDS + 1 + known * (3 * MAX_FAILURES + 4)
