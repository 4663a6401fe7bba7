"""A cleanup removes what prevents the deletion of a stack, in any number of tries, and nothing of another stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from call_recorder.facts.errors import BusUnavailable, CleanupIncomplete, UploaderMissing
from call_recorder.uploader_key.cleanup import Cleanup, Removed
from call_recorder.uploader_key.plan import Observation, mask_key
from tests.fakes import Crash
from tests.keys import PROFILE, REGION, Account, unavailable

HOUR = timedelta(hours=1)
OF_ANOTHER = f"AKIAOFANOTHERUSER:secret:{REGION}"
CALLS = 8


@dataclass
class Bus:
    """Implements the rules' port in memory. Its calls are among the account's."""

    account: Account
    rules: list[str] = field(default_factory=lambda: ["a", "b", "c"])

    def list_names(self) -> list[str]:
        return self.account._call("names", lambda: list(self.rules))

    def remove(self, name: str) -> None:
        self.account._call("remove", lambda: self.rules.remove(name))


class Stack:
    """A stack in the middle of a rotation: it has two keys, and two applications have one each."""

    def __init__(self) -> None:
        self.account = Account()
        self.account.put("one", profile=PROFILE)
        self.account.run()
        self.account.advance(HOUR)
        self.account.run(force=True)
        self.account.advance(HOUR)
        self.account.put("two", self.account.credentials(str(self.account.newest_id)), PROFILE)
        self.account.put("another's", OF_ANOTHER, PROFILE)
        self.account.calls.clear()
        self.bus = Bus(self.account)

    def clean_up(self, has_time: Callable[[], bool] = lambda: True) -> Removed:
        cleanup = Cleanup(self.account, self.bus, has_time)
        cleanup.run()
        return cleanup.removed

    @property
    def credentials(self) -> dict[str, str]:
        held = {name: holder.credentials for name, holder in self.account.holders.items()}
        return {name: each.text.get_secret_value() for name, each in held.items() if each}

    def is_clean(self) -> bool:
        """Tell whether only another user's credentials and the profiles are left."""
        left = (self.account.keys, self.account.newest, self.bus.rules, self.credentials)
        return left == ({}, None, [], {"another's": OF_ANOTHER}) and all(
            holder.profile for holder in self.account.holders.values()
        )


@pytest.fixture
def stack() -> Stack:
    return Stack()


def test_keys_are_removed_with_every_copy_and_so_are_rules(stack: Stack) -> None:
    keys = [mask_key(key) for key in stack.account.keys]
    assert len(keys) == 2

    assert stack.clean_up() == Removed(keys, ["one", "two"], ["a", "b", "c"])

    assert stack.is_clean()
    assert len(stack.account.calls) == CALLS


def test_a_stack_without_keys_or_rules_is_clean() -> None:
    account = Account()
    account.put("another's", OF_ANOTHER, PROFILE)

    Cleanup(account, Bus(account, []), lambda: True).run()

    assert account.calls == ["observe", "names"]


def test_keys_of_another_stack_with_the_same_prefix_stay(stack: Stack) -> None:
    before, newest = stack.credentials, stack.account.newest
    lodger = Account(clock=stack.account.clock, user="lodger", prefix=stack.account.prefix)
    lodger.put("lodger's", lodger.credentials(lodger.hand_made_key().key.id), PROFILE)
    stack.account.advance(HOUR)

    Cleanup(lodger, Bus(lodger), lambda: True).run()

    assert lodger.keys == {}
    assert (stack.credentials, stack.account.newest) == (before, newest)


@pytest.mark.parametrize(("own", "left"), [(True, False), (False, True)], ids=["own key", "unknown key"])
def test_a_key_of_version_1_is_removed_if_the_user_has_it(stack: Stack, own: bool, left: bool) -> None:
    stack.account.write_as_version_1()
    if not own:
        stack.account.remove(str(stack.account.newest_id))

    stack.clean_up()

    assert bool(stack.account.newest) is left


def test_credentials_with_deleted_keys_are_removed(stack: Stack) -> None:
    stack.account.keys.clear()

    stack.clean_up()

    assert stack.is_clean()


def crash(call: str) -> Crash:
    return Crash()


def refused(call: str) -> Exception:
    return BusUnavailable("DeleteRule: InternalException") if call in ("names", "remove") else unavailable(call)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [crash, refused])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_an_interrupted_cleanup_is_finished_by_the_next(
    stack: Stack, nth: int, error: Callable[[str], BaseException], after: bool
) -> None:
    stack.account.fail(nth, after=after, error=error)
    with pytest.raises((Crash, CleanupIncomplete)):
        stack.clean_up()

    stack.account.recover()
    stack.clean_up()

    assert stack.is_clean()


def test_failures_with_keys_and_with_rules_are_reported_together(stack: Stack) -> None:
    def fail(call: str) -> None:
        if call in ("forget", "names"):
            raise refused(call)

    stack.account.before = fail
    with pytest.raises(CleanupIncomplete, match=r"^PutParameter: InternalServerError; DeleteRule: InternalException$"):
        stack.clean_up()
    assert len(stack.account.keys) == 2, "the keys identify their copies"

    stack.account.fail("forget")
    with pytest.raises(CleanupIncomplete, match=r"^PutParameter: InternalServerError$"):
        stack.clean_up()
    assert stack.bus.rules == []


def test_rules_that_remain_when_time_is_up_are_left_to_the_next(stack: Stack) -> None:
    turns = iter([True, False])
    with pytest.raises(CleanupIncomplete, match="delete the stack again"):
        stack.clean_up(lambda: next(turns))
    assert stack.bus.rules == ["b", "c"]

    stack.clean_up()
    assert stack.is_clean()


def test_rules_are_removed_although_the_user_is_gone(stack: Stack) -> None:
    class Gone(Account):
        def observe(self, *, profiles: bool = True) -> Observation:
            raise UploaderMissing("ListAccessKeys: NoSuchEntity")

    Cleanup(Gone(), stack.bus, lambda: True).run()

    assert stack.bus.rules == []
