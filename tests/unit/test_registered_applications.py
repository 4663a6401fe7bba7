"""What strangers send costs a bounded number of calls to SSM, and a registered application nothing."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from call_recorder.adapters.operations import CallFailed
from call_recorder.adapters.ssm import ParameterStore
from call_recorder.answering.application_cache import ApplicationCache
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
)
from call_recorder.facts.errors import (
    ParametersUnavailable,
    UnknownApplication,
)
from tests import sinch
from tests.fakes import BUCKET

TTL = 300.0
FLOOD = 300
APPS = ("app-a", "app-b", "app-c")
"""ApplicationCache that are registered from the beginning."""


class Ssm:
    """SSM with its pages, before which the time goes on; it notes what it is asked and when, and can be down.

    Attributes:
        names: what is stored.
        page: how many parameters of the account a page looks through; those of others match no filter.
        seconds: how long a call takes.
        down: the operations that are refused.
        asked: the calls, each with its time.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.names = {f"/p/{app}/{name}" for app in APPS for name in ("application-secrets", "recording-profile")}
        self.names |= {"/p/uploader-key", "/p/half/recording-profile", "/p/deeper/app/application-secrets"}
        self.page = 50
        self.seconds = 0.0
        self.down: set[str] = set()
        self.fails_at: int | None = None
        self.asked: list[tuple[str, float]] = []
        self.keys_looked_up: list[str] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, self.now))
        self.now += self.seconds
        if operation in self.down or len(self.asked) == self.fails_at:
            raise CallFailed(operation, "ThrottlingException")
        return {"GetParameters": self._get, "DescribeParameters": self._describe}[operation](parameters)

    def put(self, app: str) -> None:
        self.names |= {f"/p/{app}/application-secrets", f"/p/{app}/recording-profile"}

    def delete(self, app: str) -> None:
        self.names = {name for name in self.names if name.split("/")[2] != app}

    @property
    def pages(self) -> int:
        """How many pages a list has."""
        return -(-len(self.names) // self.page)

    @property
    def counts(self) -> Counter[str]:
        return Counter(operation for operation, _ in self.asked)

    def _get(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.keys_looked_up.append(parameters["Names"][0].split("/")[2])
        values = {"application-secrets": sinch.SECRET, "recording-profile": "{}"}
        found = [name for name in parameters["Names"] if name in self.names]
        return {"Parameters": [{"Name": name, "Value": values[name.split("/")[-1]]} for name in found]}

    def _describe(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        [path] = parameters["ParameterFilters"]
        assert path == {"Key": "Path", "Option": "Recursive", "Values": ["/p"]}
        assert parameters["MaxResults"] <= 50
        stored = sorted(self.names)
        first = int(parameters.get("NextToken", 0))
        page = [name for name in stored[first : first + self.page] if name.startswith("/p/")]
        more = {"NextToken": str(first + self.page)} if first + self.page < len(stored) else {}
        return {"Parameters": [{"Name": name} for name in page], **more}


class Environment:
    """One of Lambda's environments, as far as it finds applications."""

    def __init__(self, ssm: Ssm, *, expected: str = "") -> None:
        self.stale: list[str] = []
        self.applications = ApplicationCache(
            ParameterStore(ssm, "p", listing=ssm, clock=lambda: ssm.now),
            own_bucket=BUCKET,
            ttl_seconds=TTL,
            expected=expected,
            report_stale=self.stale.append,
            clock=lambda: ssm.now,
        )

    def found(self, key: str) -> str:
        """Look for an application; tell what comes of a callback in its name."""
        try:
            assert self.applications.get(key).key == key
        except UnknownApplication:
            return "refused"
        except ParametersUnavailable:
            return "unavailable"
        return "served"


@pytest.fixture
def ssm() -> Ssm:
    return Ssm()


def flood(environment: Environment, number: int = FLOOD, name: str = "made-up") -> Counter[str]:
    return Counter(environment.found(f"{name}-{each}") for each in range(number))


def test_a_flood_of_made_up_keys_costs_a_registered_application_nothing(ssm: Ssm) -> None:
    environment = Environment(ssm)

    assert flood(environment) == {"refused": FLOOD}
    assert ssm.counts == {"GetParameters": MAX_MISSES, "DescribeParameters": 1}
    assert environment.found("app-a") == "served"
    assert ssm.counts == {"GetParameters": MAX_MISSES + 1, "DescribeParameters": 1}


@pytest.mark.parametrize("noise", [0, 1, MAX_MISSES - 1])
def test_the_first_callback_of_an_application_costs_one_call_and_the_next_none(ssm: Ssm, noise: int) -> None:
    environment = Environment(ssm)
    flood(environment, noise)
    ssm.asked.clear()

    assert [environment.found("app-a") for _ in range(3)] == ["served"] * 3
    assert ssm.counts == {"GetParameters": 1}


def test_applications_that_are_found_use_up_nothing(ssm: Ssm) -> None:
    for number in range(20):
        ssm.put(f"more-{number}")
    environment = Environment(ssm)

    assert {environment.found(f"more-{number}") for number in range(20)} == {"served"}
    assert ssm.counts == {"GetParameters": 20}


def test_a_flood_that_goes_on_asks_for_no_made_up_key_and_lists_once_a_while(ssm: Ssm) -> None:
    environment = Environment(ssm)
    minutes = 10
    for second in range(60 * minutes):
        assert flood(environment, 20, f"at-{second}") == {"refused": 20}
        ssm.now += 1

    assert ssm.counts["DescribeParameters"] <= 2 * 60 * minutes / LISTED_SECONDS + 1
    assert ssm.counts["GetParameters"] == MAX_MISSES


def test_an_application_that_is_registered_in_a_flood_is_served_within_a_minute(ssm: Ssm) -> None:
    environment = Environment(ssm)
    flood(environment)
    ssm.put("new")
    since = ssm.now
    while environment.found("new") != "served":
        flood(environment, 19, f"at-{ssm.now}")
        ssm.now += 1

    assert ssm.now - since <= LISTED_SECONDS


def test_a_key_that_was_unknown_and_is_registered_is_served_soon(ssm: Ssm) -> None:
    environment = Environment(ssm)
    assert environment.found("new") == "refused"
    ssm.now += 5
    ssm.put("new")
    ssm.now += UNKNOWN_SECONDS - 5

    assert environment.found("new") == "served"


def test_a_list_that_is_made_meanwhile_ends_the_wait_of_a_key_that_was_unknown(ssm: Ssm) -> None:
    environment = Environment(ssm)
    assert environment.found("new") == "refused"
    ssm.put("new")
    flood(environment)

    assert environment.found("new") == "served"


def test_the_expected_application_is_served_at_once_without_a_list(ssm: Ssm) -> None:
    environment = Environment(ssm, expected="app-a")
    ssm.down = {"DescribeParameters"}
    flood(environment)

    assert environment.found("app-a") == "served"


def test_an_expected_application_that_is_not_registered_costs_a_bounded_number_of_calls(ssm: Ssm) -> None:
    environment = Environment(ssm, expected="nobody")

    for _ in range(60):
        assert environment.found("nobody") == "refused"
        ssm.now += 0.5
    assert ssm.counts == {"GetParameters": 30 / UNKNOWN_SECONDS}


def test_while_ssm_is_out_of_reach_the_last_list_refuses_made_up_keys_and_says_so(ssm: Ssm) -> None:
    environment = Environment(ssm)
    flood(environment)
    ssm.asked.clear()
    ssm.down = {"GetParameters", "DescribeParameters"}
    ssm.now += LISTED_SECONDS

    assert flood(environment, name="more") == {"refused": FLOOD}
    assert environment.found("app-a") == "unavailable"
    assert environment.stale == ["DescribeParameters: ThrottlingException"]
    assert ssm.counts == {"GetParameters": 1, "DescribeParameters": 1}

    ssm.down = set()
    ssm.put("new")
    ssm.now += RELIST_SECONDS
    assert environment.found("new") == "served"


def test_a_throttled_list_in_a_flood_leaves_registered_applications_served(ssm: Ssm) -> None:
    environment = Environment(ssm)
    flood(environment)
    ssm.down = {"DescribeParameters"}
    ssm.now += 10 * LISTED_SECONDS
    flood(environment, name="more")

    assert {environment.found(app) for app in APPS} == {"served"}


def test_without_any_list_ssm_out_of_reach_is_tried_seldom(ssm: Ssm) -> None:
    environment = Environment(ssm)
    ssm.down = {"GetParameters", "DescribeParameters"}
    for second in range(60):
        assert flood(environment, 20, f"at-{second}") == {"unavailable": 20}
        assert environment.found("app-a") == "unavailable"
        ssm.now += 1

    assert ssm.counts["GetParameters"] <= 60 / MISSES_SECONDS * MAX_MISSES
    assert ssm.counts["DescribeParameters"] <= 2 * 60 / RELIST_SECONDS + 1

    ssm.down = set()
    ssm.now += RELIST_SECONDS
    assert environment.found("app-a") == "served"


def test_an_application_that_is_no_longer_registered_is_refused_at_little_cost(ssm: Ssm) -> None:
    environment = Environment(ssm)
    flood(environment)
    ssm.delete("app-a")
    ssm.asked.clear()

    for _ in range(int(LISTED_SECONDS)):
        assert environment.found("app-a") == "refused"
        ssm.now += 1
    assert ssm.counts["GetParameters"] <= LISTED_SECONDS / UNKNOWN_SECONDS


def test_an_application_that_cannot_be_read_costs_a_bounded_number_of_calls_and_no_other_one(ssm: Ssm) -> None:
    """Strangers may know its key, and send it as often as they like."""
    environment = Environment(ssm)
    flood(environment)
    ssm.down, ssm.asked = {"GetParameters"}, []
    for _ in range(100):
        assert environment.found("app-a") == "unavailable"
    assert ssm.counts == {"GetParameters": MAX_FAILURES}

    ssm.down = set()
    assert environment.found("app-b") == "served"
    assert environment.found("app-a") == "unavailable"
    ssm.now += FAILURES_SECONDS
    assert environment.found("app-a") == "served"


@pytest.mark.parametrize("others", [0, 2_000, 5_000])
def test_applications_are_listed_whatever_else_the_account_stores(ssm: Ssm, others: int) -> None:
    """SSM looks through all parameters of the account, and gives pages with none that matches."""
    ssm.names |= {f"/another/{number:05}" for number in range(others)}
    environment = Environment(ssm)
    flood(environment)
    since = ssm.now
    while environment.found("app-c") != "served":
        assert environment.found("made-up") == "unavailable"  # and not refused: the list is not finished
        ssm.now += RELIST_SECONDS

    assert ssm.now - since <= others / (50 * MAX_PAGES) * RELIST_SECONDS
    assert ssm.counts["DescribeParameters"] <= (others + len(ssm.names)) / 50 + 1
    assert environment.found("made-up") == "refused"


def test_a_list_is_gone_on_with_where_it_was_when_a_page_is_refused(ssm: Ssm) -> None:
    ssm.page = 2
    environment = Environment(ssm)
    ssm.fails_at = MAX_MISSES + 3
    flood(environment)
    assert ssm.counts["DescribeParameters"] == 3
    ssm.now += RELIST_SECONDS

    assert environment.found("made-up") == "refused"
    assert ssm.counts["DescribeParameters"] == ssm.pages + 1  # the one that was refused


def test_a_place_in_the_list_that_ssm_no_longer_knows_is_given_up(ssm: Ssm) -> None:
    ssm.page = 2
    environment = Environment(ssm)
    ssm.fails_at = MAX_MISSES + 3
    flood(environment)
    ssm.fails_at = MAX_MISSES + 4
    outcomes = []
    for _ in range(2):
        ssm.now += RELIST_SECONDS
        outcomes.append(environment.found("made-up"))

    assert outcomes == ["unavailable", "refused"]
    assert ssm.counts["DescribeParameters"] == 4 + ssm.pages


def test_a_list_that_was_left_unfinished_for_long_begins_anew(ssm: Ssm) -> None:
    ssm.page = 2
    environment = Environment(ssm)
    ssm.fails_at = MAX_MISSES + 3
    flood(environment)
    ssm.put("aaa")  # comes before the place where the list was left
    ssm.now += MAX_LISTING_SECONDS
    flood(environment, name="more")

    assert environment.found("aaa") == "served"


def test_a_slow_list_does_not_keep_a_caller_waiting(ssm: Ssm) -> None:
    ssm.page, ssm.seconds = 1, 0.1
    environment = Environment(ssm)
    flood(environment, MAX_MISSES)
    before = ssm.now
    environment.found("made-up")

    assert ssm.now - before <= LISTING_SECONDS + ssm.seconds


def test_keys_that_were_refused_take_no_memory(ssm: Ssm) -> None:
    environment = Environment(ssm)
    flood(environment)
    tracemalloc.start()
    try:
        for number in range(20_000):
            environment.found(f"{number:0128}")
            ssm.now += 0.01
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown - sum(map(len, ssm.keys_looked_up)) - 200 * len(ssm.asked) < 50_000


class Account(Ssm):
    """SSM that grants an account so many calls a second, of all its environments together."""

    GRANTED: ClassVar = {"GetParameters": 40, "DescribeParameters": 5}

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        lately = [each for each, at in self.asked[-1000:] if each == operation and self.now - at < 1]
        self.down = {operation} if len(lately) >= self.GRANTED[operation] else set()
        return super().call(operation, parameters)


def test_a_flood_over_many_environments_leaves_ssm_to_registered_applications() -> None:
    """All of them start with the flood, so that SSM throttles the first calls."""
    ssm = Account()
    environments = [Environment(ssm) for _ in range(50)]
    seconds = 120
    for second in range(seconds):
        for number, environment in enumerate(environments):
            flood(environment, 4, f"{second}-{number}")  # 200 a second, as many as the API lets through
        ssm.now += 1

    assert ssm.counts["GetParameters"] <= len(environments) * MAX_MISSES * (1 + seconds / MISSES_SECONDS)
    asked = len(ssm.asked)
    for environment in environments:
        assert flood(environment, 4, "last") == {"refused": 4}
        assert environment.found("app-a") == "served"
        ssm.now += 1 / 30
    assert len(ssm.asked) - asked <= 2 * len(environments)


KEYS = st.sampled_from([*APPS, "new", "half", "uploader-key", "deeper"]) | st.integers(0, 10_000).map(str)
STEPS = st.lists(
    st.tuples(
        st.lists(KEYS, max_size=30),
        st.floats(0, 40),
        st.sets(st.sampled_from(["GetParameters", "DescribeParameters"])),
        st.sampled_from(["", "", "put", "delete"]),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_whatever_is_sent_calls_are_bounded_and_only_what_is_registered_is_served(
    steps: list[tuple[list[str], float, set[str], str]],
) -> None:
    ssm = Ssm()
    environment = Environment(ssm)
    listed, changed, back = False, ssm.now, 0.0
    for keys, seconds, down, change in steps:
        ssm.down = down
        disturbed = down or ssm.now < back + FAILURES_SECONDS
        if change:
            changed = ssm.now
            (ssm.put if change == "put" else ssm.delete)("new")
        for key in keys:
            before = ssm.asked[-1:]
            outcome = environment.found(key)
            if key in APPS:
                assert outcome == "served" or (outcome == "unavailable" and disturbed)
            elif key != "new":
                assert outcome != "served"
                assert outcome == "refused" or (disturbed and not listed)
            elif not disturbed and ssm.now - changed > 60 + TTL:
                assert outcome == ("served" if "/p/new/application-secrets" in ssm.names else "refused")
            listed = listed or (ssm.asked[-1:] != before and ssm.asked[-1][0] == "DescribeParameters" and not down)
        ssm.now += seconds
        back = ssm.now if down else back

    times = [at for _, at in ssm.asked]
    known = len(APPS) + 1
    for first in times:
        within = [at for at in times if first <= at < first + 30]
        # Of strangers: misses and lists. Of the applications: each may fail so often, and be read once.
        assert len(within) <= MAX_MISSES + 2 * 30 / RELIST_SECONDS + 1 + known * (3 * MAX_FAILURES + 4)
