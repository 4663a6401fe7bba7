"""How the platform delivers what it sends after a call; by default everything once, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOTIFICATIONS = ("recording_finished", "recording_available", "transcription_available")
"""What is sent of a recording, in order; the end of the call follows as ``dice``."""


@dataclass(frozen=True)
class Delivery:
    """How one kind of callback is delivered.

    Attributes:
        times: how often; 0 drops it.
        in_parallel: whether the duplicates are sent at the same time.
        delay: seconds by which it is held back; what is not held back overtakes it.
    """

    times: int = 1
    in_parallel: bool = False
    delay: float = 0.0


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in one call.

    Attributes:
        deliveries: by notification type (``recording_available``...), or ``dice``.
        order: types that are sent first, in this order; the others follow in theirs.
        wrong_storage_key: the uploads are made with a key that no longer works. As on the real platform,
            ``recording_finished`` is then all that is heard of the recording.
        empty_file: the recording is stored with nothing in it, and announced as if there were.
    """

    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    wrong_storage_key: bool = False
    empty_file: bool = False

    def delivery(self, kind: str) -> Delivery:
        """Return how this kind of callback is delivered."""
        return self.deliveries.get(kind, Delivery())

    def turn(self, kind: str) -> tuple[float, int]:
        """Return what to sort by; equals keep their order."""
        place = self.order.index(kind) if kind in self.order else len(self.order)
        return self.delivery(kind).delay, place


def dropped(*kinds: str) -> dict[str, Delivery]:
    """Return deliveries with which none of these kinds of callback is sent."""
    return dict.fromkeys(kinds, Delivery(times=0))


UNDISTURBED = Disturbance()
