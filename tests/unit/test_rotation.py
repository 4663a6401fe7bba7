"""The uploader's key is replaced by steps that may stop anywhere, and no upload meets a key that is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import SecretStr

from call_recorder.facts.errors import AccessKeysUnavailable, ParametersUnavailable
from call_recorder.uploader_key.plan import MAX_KEYS, SETTLE_TIME, NewestKey, Parameter, mask_key
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

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CALLS_OF_A_LIFE = 16
FOREIGN = "AKIAOFANOTHERUSER:secret:eu-west-1"
AZURE_PROFILE = '{"destination": "azure://account/container/{callId}", "rules": [{"name": "all", "record": true}]}'
ELSEWHERE_TOO = (
    '{"rules": [{"name": "all", "record": true},'
    ' {"name": "other", "record": true, "destination": "s3://other/{callId}.mp3"}]}'
)


def with_key() -> Account:
    """Return an account with one application that has the newest key, a day ago made."""
    account = Account()
    account.put("app", profile=PROFILE)
    account.run()
    account.advance(DAY)
    return account


def steps(report: RotationReport) -> list[str]:
    return [taken.step for taken in report.taken]


def key_of(account: Account, application: str = "app") -> str:
    return account.holders[application].key_id


def old_key_replaced(account: Account) -> str:
    """Replace the newest key and hand the new one out; return the old one."""
    old = key_of(account)
    account.run(force=True)
    account.advance(HOUR)
    account.run()
    assert key_of(account) != old
    return old


def test_the_first_key_is_made_and_handed_out_in_one_run() -> None:
    account = Account()
    account.put("app", profile=PROFILE)

    report = account.run()

    [key] = account.keys
    assert steps(report) == ["created", "handed-out"]
    credentials = account.holders["app"].credentials
    assert credentials
    assert credentials.text.get_secret_value() == account.credentials(key)
    assert account.newest
    assert account.newest.text.get_secret_value() == f"{key}:{account.secrets[key]}::{USER}"
    assert account.steps == [("created", mask_key(key)), ("handed-out", mask_key(key))]


@pytest.mark.parametrize(
    ("profile", "credentials"),
    [
        (None, FOREIGN),
        (PROFILE, FOREIGN),
        (AZURE_PROFILE, None),
        (ELSEWHERE_TOO, None),
        (BROKEN_PROFILE, None),
        ("{}", None),
        (None, None),
    ],
)
def test_nobody_gets_a_key_who_does_not_record_into_the_stacks_bucket_alone_or_has_credentials(
    profile: str | None, credentials: str | None
) -> None:
    account = Account()
    account.put("app", credentials, profile)

    report = account.run()

    assert report == RotationReport()
    assert not account.keys


def test_a_key_that_exists_is_not_handed_to_those_either() -> None:
    account = with_key()
    account.put("foreign", FOREIGN, PROFILE)
    account.put("azure", None, AZURE_PROFILE)

    assert steps(account.run()) == []
    assert key_of(account, "foreign") == "AKIAOFANOTHERUSER"


def test_an_application_that_comes_later_gets_the_key_within_one_run_and_nothing_is_announced_again() -> None:
    account = with_key()
    before = account.steps
    account.put("other", profile=PROFILE)

    assert steps(account.run()) == ["handed-out"]
    assert key_of(account, "other") == key_of(account)
    assert account.steps == before


def test_a_key_with_a_wrong_secret_or_without_a_region_is_put_right() -> None:
    account = with_key()
    key = key_of(account)
    account.put("mistyped", f"{key}:wrong:{REGION}", PROFILE)
    account.put("no region", f"{key}:{account.secrets[key]}", PROFILE)

    assert steps(account.run()) == ["handed-out", "handed-out"]
    for holder in account.holders.values():
        assert holder.credentials
        assert holder.credentials.text.get_secret_value() == account.credentials(key)


def test_a_wrong_secret_is_put_right_though_the_key_is_new() -> None:
    account = Account()
    account.put("app", profile=PROFILE)
    account.run()
    account.advance(SETTLE_TIME / 2)
    account.put("app", f"{key_of(account)}:wrong:{REGION}")

    assert steps(account.run()) == ["handed-out"]


def test_the_region_of_an_applications_bucket_stays() -> None:
    account = with_key()
    account.put("app", f"{key_of(account)}:{account.secrets[key_of(account)]}:us-west-2")
    old_key_replaced(account)

    credentials = account.holders["app"].credentials
    assert credentials
    assert credentials.text.get_secret_value().endswith(":us-west-2")


def test_a_key_is_replaced_at_its_age_by_steps_and_ends_deleted() -> None:
    account = with_key()
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


def test_who_has_a_key_that_works_gets_the_new_one_when_iam_knows_it_everywhere() -> None:
    account = with_key()
    old = key_of(account)

    report = account.run(force=True)
    assert steps(report) == ["created"]
    handing_out = next(wait for wait in report.waits if wait.to.startswith("hand out"))
    assert handing_out.until == account.clock() + SETTLE_TIME

    account.advance(SETTLE_TIME - timedelta(seconds=1))
    assert steps(account.run()) == []
    assert key_of(account) == old

    account.advance(timedelta(seconds=1))
    assert steps(account.run()) == ["handed-out"]


@pytest.mark.parametrize("lost", ["switched off", "deleted"])
def test_who_has_no_key_that_works_gets_the_new_one_at_once(lost: str) -> None:
    account = with_key()
    old = key_of(account)
    if lost == "deleted":
        account.remove(old)
    else:
        account.switch_off(old)

    assert steps(account.run()) == ["created", "handed-out"]
    assert key_of(account) != old


def test_an_application_is_known_as_ours_although_its_key_was_deleted_before_the_new_one_was_handed_out() -> None:
    account = with_key()
    account.run(force=True)
    account.remove(key_of(account))
    account.advance(SETTLE_TIME)

    assert steps(account.run()) == ["handed-out"]
    assert account.has_settled()


def test_a_key_outlives_every_cache_and_the_longest_call_that_began_with_it() -> None:
    account = with_key()
    old = old_key_replaced(account)
    handed_out = account.clock()

    account.advance(TTL + LONGEST + GRACE - timedelta(seconds=1))
    report = account.run()
    assert steps(report) == []
    assert [wait.until for wait in report.waits if wait.to == f"deactivate {mask_key(old)}"] == [
        handed_out + TTL + LONGEST + GRACE
    ]

    account.advance(timedelta(seconds=1))
    assert steps(account.run()) == ["deactivated"]
    assert not account.keys[old].active


def test_a_key_that_was_switched_off_can_be_switched_on_again_for_as_long() -> None:
    account = with_key()
    old = old_key_replaced(account)
    account.advance(POLICY.overlap)
    assert steps(account.run()) == ["deactivated"]
    assert steps(account.run()) == []

    account.advance(POLICY.overlap - timedelta(seconds=1))
    assert steps(account.run()) == []
    assert old in account.keys

    account.advance(timedelta(seconds=1))
    assert steps(account.run()) == ["deleted"]


def test_a_key_is_not_deleted_by_the_run_that_switches_it_off() -> None:
    account = with_key()
    old_key_replaced(account)
    account.advance(10 * POLICY.overlap)

    assert steps(account.run()) == ["deactivated"]
    assert steps(account.run()) == ["deleted"]


def test_a_change_of_any_applications_credentials_puts_the_end_of_a_key_off() -> None:
    account = with_key()
    old_key_replaced(account)
    account.advance(POLICY.overlap - HOUR)
    account.put("app", FOREIGN)
    account.advance(HOUR)

    assert steps(account.run()) == []


def test_a_key_stays_while_an_application_that_may_have_had_it_is_given_the_newest() -> None:
    account = with_key()
    old = old_key_replaced(account)
    account.advance(POLICY.overlap)
    account.holders["app"] = replace(account.holders["app"], credentials=None)

    assert steps(account.run()) == ["handed-out"]
    assert account.keys[old].active


def test_a_key_that_was_the_newest_until_now_is_not_switched_off_at_once() -> None:
    account = with_key()
    account.put("app", FOREIGN)
    account.advance(POLICY.overlap)

    report = account.run(force=True)
    assert steps(report) == ["created"]
    account.advance(POLICY.overlap)
    assert steps(account.run()) == ["deactivated"]


def test_an_order_makes_a_new_key_whatever_the_age_and_is_safe_to_repeat() -> None:
    account = with_key()

    assert steps(account.run(force=True)) == ["created"]
    account.advance(SETTLE_TIME)
    report = account.run(force=True)

    assert steps(report) == ["handed-out"]
    assert len(account.keys) == MAX_KEYS
    old, new = map(mask_key, account.keys)
    assert f"replace {new} by a new key, as soon as {old} is deleted" in [w.to for w in report.waits]


def test_an_order_makes_one_key_where_there_was_none() -> None:
    account = Account()
    account.put("app", profile=PROFILE)

    assert steps(account.run(force=True)) == ["created", "handed-out"]


def test_a_key_that_iam_does_not_list_yet_is_not_made_again() -> None:
    account = Account()
    account.put("app", profile=PROFILE)
    account.run()
    account.advance(timedelta(seconds=5))
    account.put("other", profile=PROFILE)

    report = account.run()

    assert steps(report) == []
    assert len(account.keys) == 1
    assert [wait.to for wait in report.waits] == ["see the newest key listed by IAM"]


def test_a_key_that_was_made_by_hand_is_replaced() -> None:
    account = Account()
    old = account.hand_made_key().key.id
    account.put("app", account.credentials(old), PROFILE)
    account.advance(DAY)

    assert steps(account.run()) == ["created"]
    account.run_for(DAY)
    assert old not in account.keys
    assert account.has_settled()


def test_of_two_keys_that_were_made_by_hand_the_newer_is_adopted() -> None:
    account = Account()
    for application in ("app", "other"):
        account.put(application, account.credentials(account.hand_made_key().key.id), PROFILE)
        account.advance(HOUR)
    older, newer = account.keys

    assert steps(account.run()) == ["adopted", "handed-out"]
    assert account.newest_id == newer

    account.run_for(DAY)
    assert older not in account.keys
    assert account.has_settled()


def test_two_keys_neither_of_which_can_be_handed_out_are_a_problem_that_passes() -> None:
    account = Account()
    account.put("app", profile=PROFILE)
    first, second = (account.hand_made_key().key.id for _ in range(2))
    account.advance(HOUR)

    [problem] = account.run().problems
    assert problem == (
        f"uploader-key names no active key of uploader, which has two keys already: "
        f"delete {mask_key(first)}; the next run creates a new key"
    )
    assert second in account.keys

    account.run_for(2 * DAY)
    assert account.has_settled()


def test_two_keys_that_an_operator_switched_off_stay_until_the_one_is_deleted_that_is_not_needed() -> None:
    account = with_key()
    old_key_replaced(account)
    for key in account.keys:
        account.switch_off(key)
    account.advance(HOUR)

    [problem] = account.run().problems
    account.do_as_told(problem)
    assert steps(account.run()) == ["created", "handed-out"]


def test_the_key_to_delete_is_the_one_that_nothing_can_be_stored_with() -> None:
    account = with_key()
    old = old_key_replaced(account)
    newest = key_of(account)
    account.switch_off(newest)
    account.advance(HOUR)

    [problem] = account.run().problems
    assert problem.endswith(f"delete {mask_key(newest)}; the next run creates a new key")
    account.do_as_told(problem)
    assert steps(account.run()) == ["created", "handed-out"]
    assert old in account.keys


def test_of_two_keys_made_by_hand_and_switched_off_one_goes_with_the_credentials_that_hold_it() -> None:
    account = Account()
    for application in ("app", "other"):
        account.put(application, account.credentials(account.hand_made_key().key.id), PROFILE)
    for key in account.keys:
        account.switch_off(key)
    account.advance(HOUR)

    [problem] = account.run().problems
    assert problem.endswith("delete …0001 and the storage-credentials that hold it; the next run creates a new key")
    account.do_as_told(problem)
    assert steps(account.run()) == ["created", "handed-out", "handed-out"]


@pytest.mark.parametrize("text", ["", ":", "nonsense", ":::"])
def test_an_uploader_key_that_names_nothing_is_written_anew(text: str) -> None:
    account = with_key()
    account.put("silent", profile="{}")
    account.newest = Parameter(SecretStr(text), sinch.NOW)

    assert steps(account.run()) == ["created"]
    account.run_for(DAY)
    assert key_of(account) == account.newest_id
    assert key_of(account, "silent") == ""


def test_the_newest_key_is_read_as_it_is_written() -> None:
    for replaces in (frozenset[str](), frozenset({"AKIA1"}), frozenset({"AKIA1", "AKIA2"})):
        newest = NewestKey("AKIA3", SecretStr("secret/+"), USER, sinch.NOW, replaces)
        assert NewestKey.read(Parameter(newest.to_text(), sinch.NOW)) == newest


NEIGHBOUR = "neighbour"
NEIGHBOURS_BUCKET = "neighbours-bucket"


def recording_into(bucket: str) -> str:
    return f'{{"destination": "s3://{bucket}/recordings/{{callId}}.mp3", "rules": [{{"name": "all", "record": true}}]}}'


def two_stacks() -> tuple[Account, Account]:
    """Return the accounts of two stacks with one prefix; the first has the newest key, a day old."""
    account = with_key()
    account.put("app", profile=recording_into(POLICY.bucket))
    policy = replace(POLICY, bucket=NEIGHBOURS_BUCKET)
    neighbour = Account(policy=policy, clock=account.clock, user=NEIGHBOUR, prefix=account.prefix)
    account.put("theirs", profile=recording_into(NEIGHBOURS_BUCKET))
    return account, neighbour


@pytest.mark.parametrize("order", [False, True], ids=["on schedule", "ordered"])
@pytest.mark.parametrize("age", [DAY, POLICY.max_age], ids=["young", "of age"])
def test_a_key_of_another_user_is_reported_and_nothing_is_done(order: bool, age: timedelta) -> None:
    account, neighbour = two_stacks()
    spare = neighbour.hand_made_key().key.id
    account.put("theirs", neighbour.credentials(spare))
    account.advance(age)
    before = replace(account.prefix, holders=dict(account.holders))

    report = neighbour.run(force=order)

    [problem] = report.problems
    assert problem == (
        f"uploader-key holds a key of the user {USER}, and the user of this stack is {NEIGHBOUR}: set another "
        "ParameterPrefix for one of the two stacks; if the other stack is deleted, delete uploader-key and the "
        "storage-credentials that hold its key"
    )
    assert (report.taken, report.failures, report.waits) == ([], [], [])
    assert neighbour.calls == ["observe"]
    assert account.prefix == before
    assert list(neighbour.keys) == [spare]


def test_two_keys_of_ones_own_are_not_adopted_over_a_key_of_another_user() -> None:
    account, neighbour = two_stacks()
    for application in ("theirs", "theirs too"):
        account.put(application, neighbour.credentials(neighbour.hand_made_key().key.id))
    account.advance(DAY)

    assert steps(neighbour.run(force=True)) == []
    assert key_of(account) == account.newest_id


def test_the_stack_that_has_the_newest_key_goes_on_and_leaves_the_others_applications_alone() -> None:
    account, neighbour = two_stacks()
    key = neighbour.hand_made_key().key.id
    account.put("theirs", neighbour.credentials(key))

    old_key_replaced(account)
    account.run_for(DAY)

    assert key_of(account) == account.newest_id
    assert set(account.keys) == {account.newest_id}
    assert key_of(account, "theirs") == key


def test_of_two_stacks_that_make_a_first_key_at_once_one_takes_its_key_back() -> None:
    account, neighbour = Account(), Account(user=NEIGHBOUR, policy=replace(POLICY, bucket=NEIGHBOURS_BUCKET))
    neighbour.clock, neighbour.prefix = account.clock, account.prefix
    account.put("app", profile=recording_into(POLICY.bucket))
    account.put("theirs", profile=recording_into(NEIGHBOURS_BUCKET))

    def overtake(call: str) -> None:
        if call == "create":
            neighbour.run()

    account.before = overtake
    report = account.run()

    assert report.failures == ["PutParameter: ParameterAlreadyExists"]
    assert not account.keys
    assert key_of(account, "theirs") == account.newest_id
    assert key_of(account) == ""
    account.before = lambda call: None
    assert len(account.run().problems) == 1


def test_a_text_of_version_1_is_given_the_name_of_the_user_that_has_its_key() -> None:
    account = with_key()
    key = key_of(account)
    account.write_as_version_1()

    assert steps(account.run()) == ["adopted"]
    assert account.newest
    assert account.newest.text.get_secret_value() == f"{key}:{account.secrets[key]}::{USER}"
    assert steps(account.run()) == []


def test_an_order_is_obeyed_though_the_text_is_of_version_1() -> None:
    account = with_key()
    account.write_as_version_1()

    assert steps(account.run(force=True)) == ["created"]
    account.run_for(DAY)
    assert account.has_settled()


def test_a_rotation_goes_on_whose_text_is_of_version_1() -> None:
    account = with_key()
    account.run(force=True)
    account.write_as_version_1()
    account.run_for(DAY)

    assert account.has_settled()


def test_a_key_that_version_1_took_from_another_user_is_left_to_its_application() -> None:
    account, neighbour = two_stacks()
    theirs = neighbour.hand_made_key().key.id
    account.put("theirs", neighbour.credentials(theirs))
    newest = key_of(account)
    account.newest = Parameter(SecretStr(f"{newest}:{account.secrets[newest]}:{theirs}"), account.clock())

    account.run_for(DAY)

    assert key_of(account, "theirs") == theirs
    assert key_of(account) == newest


@pytest.mark.parametrize("order", [False, True], ids=["on schedule", "ordered"])
def test_a_text_of_version_1_with_a_key_that_the_user_has_not_is_reported_and_nothing_is_done(order: bool) -> None:
    account, neighbour = two_stacks()
    account.write_as_version_1()
    before = replace(account.prefix, holders=dict(account.holders))

    report = neighbour.run(force=order)

    [problem] = report.problems
    assert problem == (
        f"uploader-key holds the key {mask_key(key_of(account))} without its user, and the user {NEIGHBOUR} has no "
        "such key: if two stacks have this ParameterPrefix, set another one for one of them; if not, delete "
        "uploader-key and the storage-credentials that hold its key"
    )
    assert neighbour.calls == ["observe"]
    assert account.prefix == before


def test_a_key_of_version_1_that_was_deleted_by_hand_is_replaced_when_the_problem_is_seen_to() -> None:
    account = with_key()
    account.write_as_version_1()
    account.remove(key_of(account))

    [problem] = account.run().problems
    account.do_as_told(problem)

    assert steps(account.run()) == ["created", "handed-out"]
    assert account.has_settled()


def test_a_key_of_version_1_that_iam_does_not_list_yet_is_waited_for() -> None:
    account = Account()
    account.put("app", profile=PROFILE)
    account.run()
    account.write_as_version_1()
    account.advance(timedelta(seconds=5))

    report = account.run()

    assert (report.problems, steps(report)) == ([], [])
    assert [wait.to for wait in report.waits] == ["see the newest key listed by IAM"]


def test_the_days_overdue_are_those_of_the_oldest_key_that_can_be_used() -> None:
    account = with_key()
    assert account.run().days_overdue == 0
    account.advance(POLICY.max_age + 2 * DAY)
    assert account.run().days_overdue == 3
    account.advance(HOUR)
    account.run()
    account.switch_off(min(account.keys))
    assert account.run().days_overdue == 0
    assert Account().run().days_overdue is None


def fail_on(account: Account, name: str, *, after: bool = False) -> None:
    def fail(call: str) -> None:
        if call == name:
            raise unavailable(call)

    if after:
        account.after = fail
    else:
        account.before = fail


def test_without_a_look_nothing_is_done() -> None:
    account = with_key()
    fail_on(account, "observe")
    account.calls.clear()

    with pytest.raises(ParametersUnavailable):
        account.run(force=True)
    assert account.calls == ["observe"]


@pytest.mark.parametrize("call", ["send", "keep"])
def test_a_key_that_cannot_be_announced_or_kept_is_deleted_again(call: str) -> None:
    account = with_key()
    fail_on(account, call)

    report = account.run(force=True)

    assert report.failures == [str(unavailable(call))]
    assert steps(report) == []
    assert list(account.keys) == [key_of(account)]
    account.before = lambda call: None
    assert steps(account.run(force=True)) == ["created"]


def test_a_key_that_was_kept_although_ssm_did_not_say_so_is_made_anew() -> None:
    account = with_key()
    fail_on(account, "keep", after=True)
    account.run(force=True)
    account.after = lambda call: None
    account.run_for(2 * DAY)

    assert account.has_settled()


def test_one_applications_trouble_is_not_anothers() -> None:
    account = Account()
    account.put("app", profile=PROFILE)
    account.put("other", profile=PROFILE)
    tries = iter([True, False])

    def fail_once(call: str) -> None:
        if call == "hand-out" and next(tries):
            raise unavailable(call)

    account.before = fail_once
    report = account.run()

    assert steps(report) == ["created", "handed-out"]
    assert report.failures == [str(unavailable("hand-out"))]
    account.before = lambda call: None
    assert steps(account.run_for(HOUR)[0]) == ["handed-out"]


def test_nothing_is_done_that_cannot_be_announced() -> None:
    account = with_key()
    old = old_key_replaced(account)
    account.advance(POLICY.overlap)
    fail_on(account, "send")

    report = account.run()

    assert report.failures == [str(unavailable("send"))]
    assert account.keys[old].active
    account.before = lambda call: None
    assert steps(account.run()) == ["deactivated"]


def test_a_queue_that_is_down_is_asked_once() -> None:
    account = with_key()
    account.put("other", profile=PROFILE)
    account.run()
    account.run(force=True)
    account.advance(HOUR)
    fail_on(account, "send")
    account.calls.clear()

    assert account.run().failures == [str(unavailable("send"))]
    assert account.calls == ["observe", "send"]


def test_a_failure_to_make_a_key_leaves_the_rest_to_be_done() -> None:
    account = with_key()
    account.advance(POLICY.max_age)
    account.put("other", profile=PROFILE)
    fail_on(account, "create")

    report = account.run()

    assert report.failures == [str(unavailable("create"))]
    assert steps(report) == ["handed-out"]
    assert isinstance(unavailable("create"), AccessKeysUnavailable)


def a_life(disturb: Callable[[Account], None]) -> Account:
    """Play what takes a hundred days in four, with a call begun every hour in each of two applications."""
    account = Account(policy=replace(POLICY, max_age=2 * DAY))
    memories = [Memory("app"), Memory("other")]
    disturb(account)
    for hour in range(4 * 24):
        if hour == 0:
            account.put("app", profile=PROFILE)
        if hour == 30:
            account.put("other", profile=PROFILE)
        account.advance(HOUR)
        for memory in memories:
            if memory.application in account.holders:
                account.call(memory, LONGEST + GRACE)
        try:
            account.run()
        except (Crash, ParametersUnavailable):
            account.before = account.after = lambda call: None
    return account


def calls_of_a_life() -> int:
    """Return how many calls change something or announce it; looks are many and all alike."""
    return sum(call != "observe" for call in a_life(lambda account: None).calls)


def interrupt(account: Account, nth: int, *, after: bool, with_: Callable[[str], BaseException]) -> None:
    """Raise at the n-th call that changes something or announces it."""
    count = 0

    def fail(call: str) -> None:
        nonlocal count
        count += call != "observe"
        if call != "observe" and count == nth:
            raise with_(call)

    if after:
        account.after = fail
    else:
        account.before = fail


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("with_", [lambda call: Crash(), unavailable], ids=["crash", "error"])
@pytest.mark.parametrize("nth", range(1, CALLS_OF_A_LIFE + 1))
def test_a_life_that_is_interrupted_once_ends_as_one_that_is_not(
    nth: int, with_: Callable[[str], BaseException], after: bool
) -> None:
    undisturbed = a_life(lambda account: None)
    account = a_life(lambda account: interrupt(account, nth, after=after, with_=with_))

    assert account.has_settled()
    assert undisturbed.has_settled()
    assert len(undisturbed.steps) == len(set(undisturbed.steps))
    announced = set(account.steps)
    [key] = account.keys
    assert {("created", mask_key(key)), ("handed-out", mask_key(key))} <= announced
    gone = {f"AKIA{number:016d}" for number in range(1, account.made + 1)} - {key}
    unannounced = {each for each in gone if ("deleted", mask_key(each)) not in announced}
    # All but a key that was deleted again because the queue did not take its announcement.
    assert not unannounced & {each for each in gone if ("created", mask_key(each)) in announced}
    assert not unannounced or with_ is unavailable


def test_every_call_of_a_life_is_interrupted_above() -> None:
    assert calls_of_a_life() == CALLS_OF_A_LIFE


class Rotations(RuleBasedStateMachine):
    """Runs at any time that end at any call, operators who do what they like, and calls all the while."""

    applications = Bundle("applications")
    memories = Bundle("memories")

    @initialize()
    def begin(self) -> None:
        self.account = Account()
        self.distrusted: set[str] = set()

    @rule(target=applications)
    def add(self) -> str:
        application = f"app-{len(self.account.holders)}"
        self.account.put(application, profile=PROFILE)
        return application

    @precondition(lambda self: len(self.account.keys) < MAX_KEYS)
    @rule(target=applications)
    def add_by_hand(self) -> str:
        application = f"app-{len(self.account.holders)}"
        self.account.put(application, self.account.credentials(self.account.hand_made_key().key.id), PROFILE)
        return application

    @rule(target=memories, application=applications)
    def warm_up(self, application: str) -> Memory:
        return Memory(application)

    @rule(memory=memories, lasts=st.sampled_from([timedelta(), HOUR, LONGEST, LONGEST + GRACE]))
    def call(self, memory: Memory, lasts: timedelta) -> None:
        self.account.call(memory, lasts)

    @rule(application=applications, profile=st.sampled_from([PROFILE, PROFILE, BROKEN_PROFILE]))
    def put_profile(self, application: str, profile: str) -> None:
        self.account.put(application, profile=profile)

    @rule(time=st.sampled_from([timedelta(seconds=1), SETTLE_TIME, TTL, HOUR, 5 * HOUR, 10 * HOUR, 46 * DAY]))
    def wait(self, time: timedelta) -> None:
        self.forget_uploads_with_distrusted_keys()
        self.account.advance(time)

    @rule(hours=st.integers(1, 24))
    def go_on(self, hours: int) -> None:
        for _ in range(hours):
            self.wait(HOUR)
            self.account.run()

    @rule(order=st.sampled_from([False, False, True]))
    def run_now(self, order: bool) -> None:
        self.account.run(force=order)

    @rule(
        order=st.booleans(),
        nth=st.integers(1, 8),
        after=st.booleans(),
        with_=st.sampled_from([lambda call: Crash(), unavailable]),
    )
    def run_and_fail(self, order: bool, nth: int, after: bool, with_: Callable[[str], BaseException]) -> None:
        interrupt(self.account, nth, after=after, with_=with_)
        try:
            self.account.run(force=order)
        except Crash:
            pass
        finally:
            self.account.before = self.account.after = lambda call: None

    @rule(data=st.data(), delete=st.booleans())
    def distrust(self, data: Any, delete: bool) -> None:
        if not self.account.keys:
            return
        key = data.draw(st.sampled_from(sorted(self.account.keys)))
        self.distrusted.add(key)
        if delete and not self.is_known_by_iam_alone(key):
            self.account.remove(key)
        else:
            self.account.switch_off(key)

    def is_known_by_iam_alone(self, key: str) -> bool:
        """Tell whether an application has a key that was made by hand, of which nothing else tells whose it is."""
        newest = NewestKey.read(self.account.newest) if self.account.newest else None
        known = {newest.id, *newest.replaces} if newest else set()
        return key not in known and key in {holder.key_id for holder in self.account.holders.values()}

    def forget_uploads_with_distrusted_keys(self) -> None:
        self.account.uploads = [upload for upload in self.account.uploads if upload.key not in self.distrusted]

    @invariant()
    def there_are_never_more_than_two_keys(self) -> None:
        assert len(self.account.keys) <= MAX_KEYS

    @invariant()
    def nothing_is_changed_unannounced(self) -> None:
        announced = set(self.account.steps)
        for holder in self.account.holders.values():
            if holder.key_id == self.account.newest_id and holder.credentials:
                by_hand = ("created", mask_key(holder.key_id)) not in announced
                assert by_hand or ("handed-out", mask_key(holder.key_id)) in announced

    def teardown(self) -> None:
        """Let the operators do what they are asked to and nothing else: it all comes to rest."""
        for application in self.account.holders:
            self.account.put(application, profile=PROFILE)
        for _ in range(200):
            self.wait(HOUR)
            problems = self.account.run().problems
            if self.account.has_settled() or not self.account.holders:
                return
            for problem in problems:
                self.account.do_as_told(problem)
        raise AssertionError((self.account.keys, self.account.holders, self.account.run()))


TestRotations = Rotations.TestCase
TestRotations.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)


class TwoStacks(RuleBasedStateMachine):
    """Two stacks with one prefix, whose runs come at any time, end at any call and overtake each other."""

    applications = Bundle("applications")
    memories = Bundle("memories")

    @initialize()
    def begin(self) -> None:
        first = Account(policy=replace(POLICY, max_age=2 * DAY))
        neighbours = replace(first.policy, bucket=NEIGHBOURS_BUCKET)
        self.stacks = [first, Account(policy=neighbours, clock=first.clock, user=NEIGHBOUR, prefix=first.prefix)]
        self.stack_of: dict[str, Account] = {}
        self.first_user = ""

    @rule(target=applications, which=st.integers(0, 1), by_hand=st.booleans())
    def add(self, which: int, by_hand: bool) -> str:
        stack = self.stacks[which]
        application = f"app-{len(self.stack_of)}"
        self.stack_of[application] = stack
        by_hand = by_hand and len(stack.keys) < MAX_KEYS
        credentials = stack.credentials(stack.hand_made_key().key.id) if by_hand else None
        stack.put(application, credentials, recording_into(stack.policy.bucket))
        return application

    @rule(target=memories, application=applications)
    def warm_up(self, application: str) -> Memory:
        return Memory(application)

    @rule(memory=memories, lasts=st.sampled_from([timedelta(), HOUR, LONGEST + GRACE]))
    def call(self, memory: Memory, lasts: timedelta) -> None:
        self.stack_of[memory.application].call(memory, lasts)

    @rule(time=st.sampled_from([timedelta(seconds=1), SETTLE_TIME, TTL, HOUR, 10 * HOUR]))
    def wait(self, time: timedelta) -> None:
        first, second = self.stacks
        first.advance(time)
        second.advance(timedelta())

    @rule(hours=st.integers(1, 24))
    def go_on(self, hours: int) -> None:
        for _ in range(hours):
            self.wait(HOUR)
            for stack in self.stacks:
                stack.run()

    @rule(which=st.integers(0, 1), order=st.booleans())
    def run_now(self, which: int, order: bool) -> None:
        self.stacks[which].run(force=order)

    @rule(which=st.integers(0, 1), at=st.sampled_from(["create", "send", "keep", "hand-out"]), order=st.booleans())
    def run_and_be_overtaken(self, which: int, at: str, order: bool) -> None:
        stack, other = self.stacks[which], self.stacks[1 - which]

        def overtake(call: str) -> None:
            if call == at:
                other.run(force=order)

        stack.before = overtake
        try:
            stack.run(force=order)
        finally:
            stack.before = lambda call: None

    @rule(
        which=st.integers(0, 1),
        nth=st.integers(1, 6),
        after=st.booleans(),
        with_=st.sampled_from([lambda call: Crash(), unavailable]),
    )
    def run_and_fail(self, which: int, nth: int, after: bool, with_: Callable[[str], BaseException]) -> None:
        stack = self.stacks[which]
        interrupt(stack, nth, after=after, with_=with_)
        try:
            stack.run(force=True)
        except Crash:
            pass
        finally:
            stack.before = stack.after = lambda call: None

    @rule()
    def come_from_version_1(self) -> None:
        self.stacks[0].write_as_version_1()

    @invariant()
    def the_newest_key_stays_with_the_user_that_had_it_first(self) -> None:
        newest = self.stacks[0].newest_id
        if newest:
            self.first_user = self.first_user or newest[:4]
            assert newest.startswith(self.first_user)

    @invariant()
    def an_application_has_a_key_of_its_own_stack_or_none(self) -> None:
        for application, stack in self.stack_of.items():
            key = key_of(stack, application)
            assert key == "" or key in stack.secrets, (application, key)

    @invariant()
    def there_are_never_more_than_two_keys(self) -> None:
        for stack in self.stacks:
            assert len(stack.keys) <= MAX_KEYS

    def teardown(self) -> None:
        """Give a stack that reports the problem a prefix of its own: both come to rest."""
        first, second = self.stacks
        for _ in range(200):
            self.wait(HOUR)
            problems = [(stack, problem) for stack in self.stacks for problem in stack.run().problems]
            if all(stack.has_settled() or not self.applications_of(stack) for stack in self.stacks):
                return
            for stack, problem in problems:
                if "ParameterPrefix" in problem and first.prefix is second.prefix:
                    own = {application: stack.holders.pop(application) for application in self.applications_of(stack)}
                    stack.prefix = Prefix(holders=own)
                elif stack.run().problems:
                    stack.do_as_told(problem)
        raise AssertionError([(stack.keys, stack.holders, stack.run()) for stack in self.stacks])

    def applications_of(self, stack: Account) -> list[str]:
        return [application for application, its in self.stack_of.items() if its is stack]


TestTwoStacks = TwoStacks.TestCase
TestTwoStacks.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, derandomize=True)
