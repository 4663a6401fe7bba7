"""The rules on an event bus (Amazon EventBridge)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.facts.errors import BusUnavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

MAX_TARGETS = 100
"""Maximum number of targets in one RemoveTargets."""


class BusRules:
    """The rules on one bus, including those of subscribers.

    Args:
        eventbridge: EventBridge.
        bus: the name of the bus.
    """

    def __init__(self, eventbridge: EventBridgeClient, bus: str) -> None:
        self._eventbridge = eventbridge
        self._bus = bus
        self._not_found = eventbridge.exceptions.ResourceNotFoundException

    def list_names(self) -> list[str]:
        """Return the names of the rules. If the bus does not exist, there are none.

        Raises:
            BusUnavailable: the rules could not be listed.
        """
        names: list[str] = []
        with translate_errors("ListRules", BusUnavailable), suppress(self._not_found):
            for page in self._eventbridge.get_paginator("list_rules").paginate(EventBusName=self._bus):
                names += [rule["Name"] for rule in page["Rules"]]
        return names

    def remove(self, name: str) -> None:
        """Remove a rule and its targets, even if an AWS service manages it. If it does not exist, do nothing.

        Raises:
            BusUnavailable: the rule could not be removed.
        """
        with translate_errors(f"RemoveTargets of the rule {name}", BusUnavailable), suppress(self._not_found):
            targets = self._list_targets(name)
            for first in range(0, len(targets), MAX_TARGETS):
                ids = targets[first : first + MAX_TARGETS]
                # Failed entries need no check: DeleteRule fails while a rule has targets.
                self._eventbridge.remove_targets(Rule=name, EventBusName=self._bus, Ids=ids, Force=True)
        with translate_errors(f"DeleteRule of the rule {name}", BusUnavailable), suppress(self._not_found):
            self._eventbridge.delete_rule(Name=name, EventBusName=self._bus, Force=True)

    def _list_targets(self, name: str) -> list[str]:
        pages = self._eventbridge.get_paginator("list_targets_by_rule").paginate(Rule=name, EventBusName=self._bus)
        return [target["Id"] for page in pages for target in page["Targets"]]
