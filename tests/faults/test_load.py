"""A load run: calls side by side against the deployed stack. Every one must end available."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import TYPE_CHECKING, Final

import pytest

from local.backend import run_backend
from local.demo import make_applications
from local.emulator import find_free_port, run_emulator
from local.simulator import phone_to_number
from local.stack import STATE, build, deploy
from local.subscriber import Subscriber
from local.transport import HttpTransport
from local.waiting import wait_until
from tests.faults.conftest import FULL

if TYPE_CHECKING:
    from local.simulator import PlayedCall
    from local.stack import LocalStack

CALLS: Final = 150
SECONDS: Final = 120.0
AT_ONCE: Final = 3
WITHIN: Final = 120.0
KINDS: Final = ("Recording Requested", "Recording Finished", "Recording Available", "Transcription Available")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    state = STATE / "load"
    with run_backend(state) as team, run_emulator(find_free_port(), state, trusted=team.certificate) as endpoint:
        deployed = deploy(build(state), endpoint, state, make_applications(team.application, team.url))
        HttpTransport(60).send("POST", deployed.callback_url, {}, b"{}")
        yield deployed


@pytest.mark.skipif(not FULL, reason="the load run is a part of `make faults`")
def test_every_call_under_load_ends_available_and_is_announced_once(
    stack: LocalStack, record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()

    def play(_number: int) -> PlayedCall | None:
        late = time.monotonic() - started > SECONDS
        return None if late else stack.simulator().play(phone_to_number("+12017777777"))

    with ThreadPoolExecutor(AT_ONCE) as callers:
        played = [call for call in callers.map(play, range(CALLS)) if call is not None]
    seconds = time.monotonic() - started
    names = {call.call.call_id for call in played}
    subscriber = Subscriber(stack)
    kinds: Counter[str] = Counter()

    def all_announced() -> bool:
        subscriber.poll()
        kinds.clear()
        kinds.update(event["detail-type"] for name in names for event in subscriber.events(name))
        return all(kinds[kind] >= len(names) for kind in KINDS)

    wait_until("every call is announced", all_announced, within=WITHIN)
    statuses = Counter((stack.item(name) or {}).get("status") for name in names)
    answered = Counter(status for call in played for _, status in call.responses)
    waits = [answer.seconds * 1000 for call in played for answer in call.answers if answer.event == "ice"]
    centiles = quantiles(waits, n=100)
    rows = {
        "calls": f"{len(played)}, {AT_ONCE} at once, {seconds:.1f} s, {len(played) / seconds:.2f} a second",
        "callbacks a second": f"{answered.total() / seconds:.1f}",
        "ICE, ms": f"p50 {centiles[49]:.0f}, p99 {centiles[98]:.0f}, longest {max(waits):.0f}",
        "answers by status": dict(answered),
        "items by status": dict(statuses),
        "events by kind": dict(kinds),
    }
    for row in rows.items():
        record_property("load", row)

    assert set(answered) == {200}
    assert statuses == {"available": len(names)}
    assert kinds == dict.fromkeys(KINDS, len(names))
