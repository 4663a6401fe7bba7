"""What keeps a stack from being deleted is removed, in however many tries, and nothing that is another stack's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from call_recorder.facts.errors import BusUnavailable, CleanupIncomplete, UploaderMissing
from call_recorder.uploader_key.cleanup import Cleanup
from call_recorder.uploader_key.plan import Observation, mask_key
from tests.fakes import Crash
from tests.keys import PROFILE, REGION, Account, unavailable

HOUR = timedelta(hours=1)
OF_ANOTHER = f"AKIAOFANOTHERUSER:secret:{REGION}"
CALLS = 8


@dataclass
class Bus:
    """Implements the rules' port in memory, and counts as part of an account's calls."""

    account: Account
    rules: list[str] = field(default_factory=lambda: ["a", "b", "c"])

    def list_names(self) -> list[str]:
        return self._call("names", lambda: list(self.rules))

    def remove(self, name: str) -> None:
        self._call("remove", lambda: self.rules.remove(name))

    def _call(self, name: str, effect: Callable[[], list[str] | None]) -> list[str]:
        self.account.calls.append(name)
        self.account.before(name)
        result = effect() or []
        self.account.after(name)
        return result


@dataclass
class Stack:
    """A stack in the middle of a rotation, with two keys, of which two applications have one each."""

    account: Account = field(default_factory=Account)

    def __post_init__(self) -> None:
        self.account.put("one", profile=PROFILE)
        self.account.run()
        self.account.advance(HOUR)
        self.account.run(force=True)
        self.account.advance(HOUR)
        newest = self.account.newest_id
        assert newest
        self.account.put("two", self.account.credentials(newest), PROFILE)
        self.account.put("another's", OF_ANOTHER, PROFILE)
        self.account.calls.clear()
        self.bus = Bus(self.account)

    def clean_up(self, has_time: Callable[[], bool] = lambda: True) -> Cleanup:
        cleanup = Cleanup(self.account, self.bus, has_time)
        cleanup.run()
        return cleanup

    @property
    def credentials(self) -> dict[str, str]:
        held = {name: holder.credentials for name, holder in self.account.holders.items()}
        return {name: each.text.get_secret_value() for name, each in held.items() if each}

    def is_clean(self) -> bool:
        """Tell whether nothing is left but what is another user's."""
        return (
            self.account.keys == {}
            and self.account.newest is None
            and self.credentials == {"another's": OF_ANOTHER}
            and self.bus.rules == []
        )


def test_the_keys_go_with_every_copy_of_them_and_so_do_the_rules() -> None:
    stack = Stack()
    keys = [mask_key(key) for key in stack.account.keys]
    assert len(keys) == 2

    removed = stack.clean_up().removed

    assert stack.is_clean()
    assert (removed.keys, removed.applications, removed.rules) == (keys, ["one", "two"], ["a", "b", "c"])
    assert len(stack.account.calls) == CALLS


def test_profiles_stay() -> None:
    stack = Stack()
    stack.clean_up()

    assert all(holder.profile for holder in stack.account.holders.values())


def test_a_stack_without_keys_or_rules_is_clean() -> None:
    account = Account()
    account.put("another's", OF_ANOTHER, PROFILE)

    cleanup = Cleanup(account, Bus(account, []), lambda: True)
    cleanup.run()

    assert account.calls == ["observe", "names"]


def test_what_another_stack_has_below_the_same_prefix_stays() -> None:
    stack = Stack()
    lodger = Account(clock=stack.account.clock, user="lodger", prefix=stack.account.prefix)
    lodger.put("lodger's", lodger.credentials(lodger.hand_made_key().key.id), PROFILE)
    stack.account.advance(HOUR)
    before, newest = stack.credentials, stack.account.newest
    del before["lodger's"]

    Cleanup(lodger, Bus(lodger), lambda: True).run()

    assert lodger.keys == {}
    assert stack.credentials == before
    assert stack.account.newest == newest


@pytest.mark.parametrize(("own", "left"), [(True, False), (False, True)], ids=["own key", "key of nobody known"])
def test_a_newest_key_in_a_text_of_version_1_goes_if_the_user_has_it(own: bool, left: bool) -> None:
    stack = Stack()
    stack.account.write_as_version_1()
    if not own:
        newest = stack.account.newest_id
        assert newest
        stack.account.remove(newest)

    stack.clean_up()

    assert bool(stack.account.newest) is left


def test_credentials_with_a_key_that_was_deleted_by_hand_go_too() -> None:
    stack = Stack()
    for key in list(stack.account.keys):
        stack.account.remove(key)

    stack.clean_up()

    assert stack.is_clean()


def interrupt(stack: Stack, nth: int, *, after: bool, with_: Callable[[str], BaseException]) -> None:
    """Raise at the n-th call."""
    count = 0

    def fail(call: str) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise with_(call)

    if after:
        stack.account.after = fail
    else:
        stack.account.before = fail


def refused(call: str) -> Exception:
    return BusUnavailable("DeleteRule: InternalException") if call in ("names", "remove") else unavailable(call)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("with_", [lambda call: Crash(), refused], ids=["crash", "error"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_a_cleanup_that_is_interrupted_is_taken_up_by_the_next(
    nth: int, with_: Callable[[str], BaseException], after: bool
) -> None:
    stack = Stack()
    interrupt(stack, nth, after=after, with_=with_)
    with pytest.raises((Crash, CleanupIncomplete)):
        stack.clean_up()

    stack.account.before = stack.account.after = lambda call: None
    stack.clean_up()

    assert stack.is_clean()


def test_trouble_with_the_keys_does_not_keep_the_rules_and_both_are_told() -> None:
    stack = Stack()

    def fail(call: str) -> None:
        if call in ("forget", "names"):
            raise refused(call)

    stack.account.before = fail
    with pytest.raises(CleanupIncomplete, match=r"^PutParameter: InternalServerError; DeleteRule: InternalException$"):
        stack.clean_up()
    assert len(stack.account.keys) == 2, "it is by the keys that their copies are known"

    stack.account.before = lambda call: None
    interrupt(stack, 2, after=False, with_=unavailable)
    with pytest.raises(CleanupIncomplete):
        stack.clean_up()
    assert stack.bus.rules == []


def test_rules_for_which_there_is_no_time_are_left_to_the_next() -> None:
    stack = Stack()
    turns = iter([True, False])
    with pytest.raises(CleanupIncomplete, match="delete the stack again"):
        stack.clean_up(lambda: next(turns))

    assert stack.bus.rules == ["b", "c"]
    stack.clean_up()
    assert stack.is_clean()


def test_a_user_that_is_gone_has_no_keys() -> None:
    stack = Stack()

    class Gone(Account):
        def observe(self, *, profiles: bool = True) -> Observation:
            raise UploaderMissing("ListAccessKeys: NoSuchEntity")

    Cleanup(Gone(), stack.bus, lambda: True).run()

    assert stack.bus.rules == []


def test_a_stack_of_the_same_name_begins_anew() -> None:
    stack = Stack()
    stack.clean_up()

    again = Account(clock=stack.account.clock, user="uploader-of-the-new-stack", prefix=stack.account.prefix)
    again.run()

    assert again.newest_id in again.keys
    assert {again.holders[name].key_id for name in ("one", "two")} == {again.newest_id}
    assert stack.credentials["another's"] == OF_ANOTHER
