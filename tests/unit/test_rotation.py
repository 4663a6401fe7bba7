"""The uploader's key is replaced in steps that may stop anywhere, and every upload finds its key active."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import SecretStr

from call_recorder.uploader_key.plan import MAX_KEYS, SETTLE_TIME, NewestKey, Parameter, Wait, mask_key
from call_recorder.uploader_key.rotation import RotationReport
from tests import sinch
from tests.fakes import Crash
from tests.keys import (
    BROKEN_PROFILE,
    GRACE,
    LONGEST,
    POLICY,
    PROFILE,
    REGION,
    TTL,
    USER,
    Account,
    Memory,
    Prefix,
    unavailable,
)

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FOREIGN = "AKIAOFANOTHERUSER:secret:eu-west-1"
AZURE_PROFILE = '{"destination": "azure://account/container/{callId}", "rules": [{"name": "all", "record": true}]}'
ELSEWHERE_TOO = (
    '{"rules": [{"name": "all", "record": true},'
    ' {"name": "other", "record": true, "destination": "s3://other/{callId}.mp3"}]}'
)
ORDERED = pytest.mark.parametrize("order", [False, True], ids=["on schedule", "ordered"])


def with_profile() -> Account:
    """Return an account with one application that is to get the key."""
    account = Account()
    account.put("app", profile=PROFILE)
    return account


@pytest.fixture
def account() -> Account:
    """An account with one application that has the newest key, made a day ago."""
    account = with_profile()
    account.run()
    account.advance(DAY)
    return account


def by_hand(*applications: str, apart: timedelta = timedelta()) -> Account:
    """Return an account with applications that have keys made by hand, the first key first."""
    account = Account()
    for application in applications:
        account.put(application, account.credentials(account.hand_made_key().key.id), PROFILE)
        account.advance(apart)
    return account


def steps(report: RotationReport) -> list[str]:
    return [taken.step for taken in report.taken]


def run(account: Account, *, after: timedelta = timedelta(), force: bool = False) -> list[str]:
    """Let time pass, run, and return the steps."""
    account.advance(after)
    return steps(account.run(force=force))


def problem_of(account: Account) -> str:
    """Let an hour pass, run, and return the only problem."""
    account.advance(HOUR)
    [problem] = account.run().problems
    return problem


def key_of(account: Account, application: str = "app") -> str:
    return account.holders[application].key_id


def credentials_of(account: Account, application: str = "app") -> str:
    credentials = account.holders[application].credentials
    return credentials.text.get_secret_value() if credentials else ""


def replace_key(account: Account) -> str:
    """Replace the newest key and hand the new one out; return the old one."""
    old = key_of(account)
    account.run(force=True)
    assert run(account, after=HOUR) == ["handed-out"]
    assert key_of(account) != old
    return old


@ORDERED
def test_the_first_key_is_made_and_handed_out_in_one_run(order: bool) -> None:
    account = with_profile()

    assert run(account, force=order) == ["created", "handed-out"]

    [key] = account.keys
    assert credentials_of(account) == account.credentials(key)
    assert account.newest
    assert account.newest.text.get_secret_value() == f"{key}:{account.secrets[key]}::{USER}"
    assert account.steps == [("created", mask_key(key)), ("handed-out", mask_key(key))]


@pytest.mark.parametrize(
    ("profile", "credentials"),
    [
        (PROFILE, FOREIGN),
        (AZURE_PROFILE, None),
        (ELSEWHERE_TOO, None),
        (BROKEN_PROFILE, None),
        (None, None),
    ],
)
def test_only_applications_that_record_solely_into_the_bucket_get_the_key(
    account: Account, profile: str | None, credentials: str | None
) -> None:
    alone = Account()
    alone.put("other", credentials, profile)
    assert alone.run() == RotationReport()
    assert not alone.keys

    account.put("other", credentials, profile)
    assert run(account) == []
    assert credentials_of(account, "other") == (credentials or "")


def test_a_later_application_gets_the_key_in_one_run_without_an_announcement(account: Account) -> None:
    before = account.steps
    account.put("other", profile=PROFILE)

    assert run(account) == ["handed-out"]
    assert key_of(account, "other") == key_of(account)
    assert account.steps == before


@pytest.mark.parametrize("age", [SETTLE_TIME / 2, DAY], ids=["new key", "settled key"])
def test_wrong_secrets_and_missing_regions_are_corrected(age: timedelta) -> None:
    account = with_profile()
    account.run()
    account.advance(age)
    key = key_of(account)
    account.put("mistyped", f"{key}:wrong:{REGION}", PROFILE)
    account.put("no region", f"{key}:{account.secrets[key]}", PROFILE)

    assert run(account) == ["handed-out", "handed-out"]
    assert {credentials_of(account, name) for name in account.holders} == {account.credentials(key)}


def test_the_region_of_an_applications_bucket_stays(account: Account) -> None:
    account.put("app", f"{key_of(account)}:{account.secrets[key_of(account)]}:us-west-2")
    replace_key(account)

    assert credentials_of(account).endswith(":us-west-2")


def test_a_key_is_replaced_at_its_age_by_steps_and_ends_deleted(account: Account) -> None:
    [old] = account.keys
    account.run_for(POLICY.max_age - DAY - HOUR)
    assert list(account.keys) == [old]

    reports = account.run_for(2 * DAY)

    [new] = account.keys
    assert [step for report in reports for step in steps(report)] == ["created", "handed-out", "deactivated", "deleted"]
    assert account.steps[2:] == [
        ("created", mask_key(new)),
        ("handed-out", mask_key(new)),
        ("deactivated", mask_key(old)),
        ("deleted", mask_key(old)),
    ]
    assert account.has_settled()


def test_a_working_key_stays_until_the_ordered_one_has_settled(account: Account) -> None:
    report = account.run(force=True)
    assert steps(report) == ["created"]
    old, new = map(mask_key, account.keys)
    assert Wait(f"hand out {new}", account.clock() + SETTLE_TIME) in report.waits

    account.advance(SETTLE_TIME - SECOND)
    report = account.run(force=True)
    assert (steps(report), len(account.keys), mask_key(key_of(account))) == ([], MAX_KEYS, old)
    assert Wait(f"replace {new} by a new key, as soon as {old} is deleted") in report.waits

    assert run(account, after=SECOND, force=True) == ["handed-out"]


@pytest.mark.parametrize("lose", [Account.switch_off, Account.remove], ids=["switched off", "deleted"])
def test_applications_without_a_working_key_get_the_new_one_at_once(
    account: Account, lose: Callable[[Account, str], None]
) -> None:
    old = key_of(account)
    lose(account, old)

    assert run(account) == ["created", "handed-out"]
    assert key_of(account) != old


def test_a_key_outlives_caches_and_calls_and_is_deleted_as_long_after(account: Account) -> None:
    old = replace_key(account)
    end = account.clock() + TTL + LONGEST + GRACE

    account.advance(POLICY.overlap - SECOND)
    report = account.run()
    assert steps(report) == []
    assert Wait(f"deactivate {mask_key(old)}", end) in report.waits
    assert run(account, after=SECOND) == ["deactivated"]

    assert [run(account), run(account, after=POLICY.overlap - SECOND)] == [[], []]
    assert not account.keys[old].active
    assert run(account, after=SECOND) == ["deleted"]


def test_a_change_of_any_credentials_postpones_the_end_of_a_key(account: Account) -> None:
    replace_key(account)
    account.advance(POLICY.overlap - HOUR)
    account.put("app", FOREIGN)

    assert run(account, after=HOUR) == []


def test_a_key_stays_while_its_possible_user_gets_the_newest(account: Account) -> None:
    old = replace_key(account)
    account.advance(POLICY.overlap)
    account.holders["app"] = replace(account.holders["app"], credentials=None)

    assert run(account) == ["handed-out"]
    assert account.keys[old].active


def test_the_newest_key_is_not_switched_off_right_after_its_replacement(account: Account) -> None:
    account.put("app", FOREIGN)

    assert run(account, after=POLICY.overlap, force=True) == ["created"]
    assert run(account, after=POLICY.overlap) == ["deactivated"]


@pytest.mark.parametrize("version_1", [False, True])
def test_a_key_that_iam_does_not_list_yet_is_not_made_again(version_1: bool) -> None:
    account = with_profile()
    account.run()
    if version_1:
        account.write_as_version_1()
    account.advance(timedelta(seconds=5))
    account.put("other", profile=PROFILE)

    report = account.run()

    assert (steps(report), report.problems, len(account.keys)) == ([], [], 1)
    assert [wait.to for wait in report.waits] == ["see the newest key listed by IAM"]


@pytest.mark.parametrize(("held", "first"), [(1, ["created"]), (2, ["adopted", "handed-out"])])
def test_keys_made_by_hand_are_adopted_or_replaced(held: int, first: list[str]) -> None:
    account = by_hand(*("app", "other")[:held], apart=HOUR)
    old, *_ = account.keys

    assert run(account) == first
    assert account.newest_id == list(account.keys)[-1]
    account.run_for(DAY)
    assert old not in account.keys
    assert account.has_settled()


def test_two_keys_without_a_known_secret_are_a_problem_that_passes() -> None:
    account = with_profile()
    first, second = (account.hand_made_key().key.id for _ in range(2))

    assert problem_of(account) == (
        f"uploader-key names no active key of uploader, which has two keys already: "
        f"delete {mask_key(first)}; the next run creates a new key"
    )
    assert second in account.keys
    account.run_for(2 * DAY)
    assert account.has_settled()


@pytest.mark.parametrize("switched_off", ["both", "the newest"])
def test_the_problem_names_the_key_that_nothing_can_be_stored_with(account: Account, switched_off: str) -> None:
    old = replace_key(account)
    newest = key_of(account)
    for key in (old, newest) if switched_off == "both" else (newest,):
        account.switch_off(key)

    problem = problem_of(account)
    assert problem.endswith(
        f"delete {mask_key(old if switched_off == 'both' else newest)}; the next run creates a new key"
    )
    account.follow(problem)
    assert run(account) == ["created", "handed-out"]


def test_the_problem_names_credentials_that_hold_an_unknown_key() -> None:
    account = by_hand("app", "other")
    for key in account.keys:
        account.switch_off(key)

    problem = problem_of(account)
    assert problem.endswith("delete …0001 and the storage-credentials that hold it; the next run creates a new key")
    account.follow(problem)
    assert run(account) == ["created", "handed-out", "handed-out"]


@pytest.mark.parametrize("text", ["", ":", "nonsense", ":::"])
def test_an_uploader_key_that_names_nothing_is_written_anew(account: Account, text: str) -> None:
    account.put("silent", profile="{}")
    account.newest = Parameter(SecretStr(text), sinch.NOW)

    assert run(account) == ["created"]
    account.run_for(DAY)
    assert key_of(account) == account.newest_id
    assert key_of(account, "silent") == ""


NEIGHBOUR = "neighbour"
NEIGHBOURS_BUCKET = "neighbours-bucket"


def recording_into(bucket: str) -> str:
    return f'{{"destination": "s3://{bucket}/recordings/{{callId}}.mp3", "rules": [{{"name": "all", "record": true}}]}}'


def neighbour_of(account: Account) -> Account:
    """Return the account of another stack with the same prefix."""
    policy = replace(account.policy, bucket=NEIGHBOURS_BUCKET)
    return Account(policy=policy, clock=account.clock, user=NEIGHBOUR, prefix=account.prefix)


def overtake(account: Account, other: Account, at: str, *, order: bool = False) -> None:
    """Let another account run before each call of a name."""

    def run_first(call: str) -> None:
        if call == at:
            other.run(force=order)

    account.before = run_first


CONFLICT = (
    f"uploader-key holds a key of the user {USER}, and the user of this stack is {NEIGHBOUR}: set another "
    "ParameterPrefix for one of the two stacks; if the other stack is deleted, delete uploader-key and the "
    "storage-credentials that hold its key"
)
CONFLICT_OF_VERSION_1 = (
    f"uploader-key holds the key …0001 without its user, and the user {NEIGHBOUR} has no such key: if two stacks have "
    "this ParameterPrefix, set another one for one of them; if not, delete uploader-key and the storage-credentials "
    "that hold its key"
)


@ORDERED
@pytest.mark.parametrize("age", [DAY, POLICY.max_age], ids=["young", "of age"])
@pytest.mark.parametrize("own_keys", [0, 1, 2])
@pytest.mark.parametrize("version_1", [False, True])
def test_a_key_of_another_user_is_reported_and_nothing_is_done(
    account: Account, order: bool, age: timedelta, own_keys: int, version_1: bool
) -> None:
    neighbour = neighbour_of(account)
    account.put("theirs", profile=recording_into(NEIGHBOURS_BUCKET))
    for application in ("theirs", "theirs too")[:own_keys]:
        account.put(application, neighbour.credentials(neighbour.hand_made_key().key.id))
    if version_1:
        account.write_as_version_1()
    account.advance(age)
    before, keys = replace(account.prefix, holders=dict(account.holders)), dict(neighbour.keys)

    report = neighbour.run(force=order)

    assert report.problems == [CONFLICT_OF_VERSION_1 if version_1 else CONFLICT]
    assert (report.taken, report.failures, report.waits) == ([], [], [])
    assert neighbour.calls == ["observe"]
    assert (account.prefix, neighbour.keys) == (before, keys)


def test_of_two_simultaneous_first_keys_one_is_deleted_again() -> None:
    account = Account()
    neighbour = neighbour_of(account)
    account.put("app", profile=recording_into(POLICY.bucket))
    account.put("theirs", profile=recording_into(NEIGHBOURS_BUCKET))
    overtake(account, neighbour, "create")

    assert account.run().failures == ["PutParameter: ParameterAlreadyExists"]

    assert not account.keys
    assert (key_of(account), key_of(account, "theirs")) == ("", account.newest_id)
    account.recover()
    assert problem_of(account)


def test_a_text_of_version_1_gets_the_name_of_its_keys_user(account: Account) -> None:
    key = key_of(account)
    account.write_as_version_1()

    assert run(account) == ["adopted"]
    assert account.newest
    assert account.newest.text.get_secret_value() == f"{key}:{account.secrets[key]}::{USER}"
    assert run(account) == []


def test_a_key_that_version_1_took_from_another_user_stays(account: Account) -> None:
    neighbour = neighbour_of(account)
    theirs, newest = neighbour.hand_made_key().key.id, key_of(account)
    account.put("theirs", neighbour.credentials(theirs))
    account.newest = Parameter(SecretStr(f"{newest}:{account.secrets[newest]}:{theirs}"), account.clock())

    account.run_for(DAY)

    assert (key_of(account, "theirs"), key_of(account)) == (theirs, newest)


@pytest.mark.parametrize("call", ["create", "send", "keep"])
def test_a_new_key_that_fails_is_deleted_and_stops_nothing_else(account: Account, call: str) -> None:
    account.put("other", profile=PROFILE)
    account.fail(call)

    report = account.run(force=True)

    assert (report.failures, steps(report)) == ([str(unavailable(call))], ["handed-out"])
    assert list(account.keys) == [key_of(account)]
    account.recover()
    assert run(account, force=True) == ["created"]


def test_a_failure_for_one_application_does_not_stop_another(account: Account) -> None:
    account.put("one", profile=PROFILE)
    account.put("other", profile=PROFILE)
    account.fail(1, uncounted="observe")

    report = account.run()

    assert (report.failures, steps(report)) == ([str(unavailable("hand-out"))], ["handed-out"])
    assert run(account) == ["handed-out"]


@pytest.mark.parametrize("due", ["deactivated", "handed-out"])
def test_unannounced_steps_are_not_taken_and_the_queue_is_asked_once(account: Account, due: str) -> None:
    account.put("other", profile=PROFILE)
    account.run()
    account.run(force=True)
    account.advance(HOUR)
    if due == "deactivated":
        account.run()
        account.advance(POLICY.overlap)
    account.fail("send")
    account.calls.clear()

    assert account.run().failures == [str(unavailable("send"))]
    assert account.calls == ["observe", "send"]
    account.recover()
    assert set(run(account)) == {due}


def crash(call: str) -> Crash:
    return Crash()


def has_neighbour(machine: Stacks) -> bool:
    return len(machine.stacks) > 1


class Stacks(RuleBasedStateMachine):
    """Runs that come at any time and end at any call, and callers all the while.

    There is one stack with operators who do what they like, or two stacks with one prefix that overtake each other.
    """

    applications = Bundle("applications")
    memories = Bundle("memories")
    which = st.integers(0, 1)

    @initialize(alone=st.booleans())
    def begin(self, alone: bool) -> None:
        first = Account() if alone else Account(policy=replace(POLICY, max_age=2 * DAY))
        self.stacks = [first] if alone else [first, neighbour_of(first)]
        self.stack_of: dict[str, Account] = {}
        self.distrusted: set[str] = set()
        self.first_user = ""

    @rule(target=applications, which=which, by_hand=st.booleans())
    def add(self, which: int, by_hand: bool) -> str:
        stack = self.stacks[which % len(self.stacks)]
        application = f"app-{len(self.stack_of)}"
        self.stack_of[application] = stack
        by_hand = by_hand and len(stack.keys) < MAX_KEYS
        credentials = stack.credentials(stack.hand_made_key().key.id) if by_hand else None
        stack.put(application, credentials, recording_into(stack.policy.bucket))
        return application

    @rule(target=memories, application=applications)
    def warm_up(self, application: str) -> Memory:
        return Memory(application)

    @rule(memory=memories, lasts=st.sampled_from([timedelta(), HOUR, LONGEST, LONGEST + GRACE]))
    def call(self, memory: Memory, lasts: timedelta) -> None:
        self.stack_of[memory.application].call(memory, lasts)

    @rule(time=st.sampled_from([SECOND, SETTLE_TIME, TTL, HOUR, 5 * HOUR, 10 * HOUR, 46 * DAY]))
    def wait(self, time: timedelta) -> None:
        for number, stack in enumerate(self.stacks):
            stack.uploads = [upload for upload in stack.uploads if upload.key not in self.distrusted]
            stack.advance(timedelta() if number else time)

    @rule(hours=st.integers(1, 24))
    def go_on(self, hours: int) -> None:
        for _ in range(hours):
            self.wait(HOUR)
            for stack in self.stacks:
                stack.run()

    @rule(which=which, order=st.sampled_from([False, False, True]))
    def run_now(self, which: int, order: bool) -> None:
        self.stacks[which % len(self.stacks)].run(force=order)

    @rule(
        which=which,
        order=st.booleans(),
        nth=st.integers(1, 8),
        after=st.booleans(),
        error=st.sampled_from([crash, unavailable]),
    )
    def run_and_fail(
        self, which: int, order: bool, nth: int, after: bool, error: Callable[[str], BaseException]
    ) -> None:
        stack = self.stacks[which % len(self.stacks)]
        stack.fail(nth, after=after, error=error, uncounted="observe")
        with suppress(Crash):
            stack.run(force=order)
        stack.recover()

    @precondition(has_neighbour)
    @rule(which=which, at=st.sampled_from(["create", "send", "keep", "hand-out"]), order=st.booleans())
    def run_and_be_overtaken(self, which: int, at: str, order: bool) -> None:
        stack = self.stacks[which]
        overtake(stack, self.stacks[1 - which], at, order=order)
        stack.run(force=order)
        stack.recover()

    @precondition(has_neighbour)
    @rule()
    def come_from_version_1(self) -> None:
        self.stacks[0].write_as_version_1()

    @rule(application=applications, broken=st.booleans())
    def put_profile(self, application: str, broken: bool) -> None:
        stack = self.stack_of[application]
        stack.put(application, profile=BROKEN_PROFILE if broken else recording_into(stack.policy.bucket))

    @precondition(lambda self: not has_neighbour(self) and self.stacks[0].keys)
    @rule(data=st.data(), delete=st.booleans())
    def distrust(self, data: Any, delete: bool) -> None:
        [account] = self.stacks
        key = data.draw(st.sampled_from(sorted(account.keys)))
        self.distrusted.add(key)
        # If an application has a key made by hand, only IAM knows whose key it is.
        newest = NewestKey.read(account.newest) if account.newest else None
        known = {newest.id, *newest.replaces} if newest else set()
        if delete and (key in known or key not in {holder.key_id for holder in account.holders.values()}):
            account.remove(key)
        else:
            account.switch_off(key)

    @invariant()
    def there_are_never_more_than_two_keys(self) -> None:
        for stack in self.stacks:
            assert len(stack.keys) <= MAX_KEYS

    @invariant()
    def nothing_is_changed_unannounced(self) -> None:
        for stack in self.stacks:
            announced = set(stack.steps)
            created = {key for key in stack.secrets if ("created", mask_key(key)) in announced}
            for key in created - set(stack.keys) - self.distrusted:
                assert ("deleted", mask_key(key)) in announced
            for holder in stack.holders.values():
                if holder.key_id in created and holder.key_id == stack.newest_id:
                    assert ("handed-out", mask_key(holder.key_id)) in announced

    @invariant()
    def the_newest_key_stays_with_the_user_that_had_it_first(self) -> None:
        newest = self.stacks[0].newest_id
        if newest:
            self.first_user = self.first_user or newest[:4]
            assert newest.startswith(self.first_user)

    @invariant()
    def an_application_has_a_key_of_its_own_stack_or_none(self) -> None:
        for application, stack in self.stack_of.items():
            assert key_of(stack, application) in ("", *stack.secrets)

    def teardown(self) -> None:
        """Solve the problems and nothing else: every stack comes to rest.

        Of two stacks, the one that reports a conflict gets a prefix of its own.
        """
        for application in self.stack_of:
            self.put_profile(application, broken=False)
        for _ in range(200):
            self.wait(HOUR)
            problems = [(stack, problem) for stack in self.stacks for problem in stack.run().problems]
            if all(stack.has_settled() or not self.applications_of(stack) for stack in self.stacks):
                return
            for stack, problem in problems:
                if "ParameterPrefix" in problem and self.share_a_prefix():
                    own = {application: stack.holders.pop(application) for application in self.applications_of(stack)}
                    stack.prefix = Prefix(holders=own)
                elif stack.run().problems:
                    stack.follow(problem)
        raise AssertionError([(stack.keys, stack.holders, stack.run()) for stack in self.stacks])

    def share_a_prefix(self) -> bool:
        return has_neighbour(self) and self.stacks[0].prefix is self.stacks[1].prefix

    def applications_of(self, stack: Account) -> list[str]:
        return [application for application, its in self.stack_of.items() if its is stack]


TestStacks = Stacks.TestCase
TestStacks.settings = settings(max_examples=250, stateful_step_count=40, deadline=None, derandomize=True)
