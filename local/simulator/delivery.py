"""How the platform delivers the callbacks after a call; by default each one once, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOTIFICATIONS = ("recording_finished", "recording_available", "transcription_available")
"""The notifications about a recording, in order; the call's ``dice`` follows them."""


@dataclass(frozen=True)
class Delivery:
    """How one kind of callback is delivered.

    Attributes:
        times: how often it is sent; 0 drops it.
        in_parallel: whether the duplicates are sent at the same time.
        delay: seconds to wait before it is sent; callbacks without a delay overtake it.
    """

    times: int = 1
    in_parallel: bool = False
    delay: float = 0.0


@dataclass(frozen=True)
class Disturbance:
    """The faults of one call.

    Attributes:
        deliveries: how each kind is delivered, by notification type (``recording_available``...) or ``dice``.
        order: kinds that are sent first, in this order; the others follow in their usual order.
        wrong_storage_key: whether the uploads use a key that no longer works. As on the real platform,
            ``recording_finished`` is then the only notification about the recording.
        empty_file: whether the stored recording is empty; it is announced like any other.
    """

    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    wrong_storage_key: bool = False
    empty_file: bool = False

    def find_delivery(self, kind: str) -> Delivery:
        """Return how this kind of callback is delivered."""
        return self.deliveries.get(kind, Delivery())

    def sort_key(self, kind: str) -> tuple[float, int]:
        """Return the sort key of a kind of callback; callbacks with equal keys keep their order."""
        index = self.order.index(kind) if kind in self.order else len(self.order)
        return self.find_delivery(kind).delay, index


def drop(*kinds: str) -> dict[str, Delivery]:
    """Return deliveries that drop these kinds of callback."""
    return dict.fromkeys(kinds, Delivery(times=0))


UNDISTURBED = Disturbance()
