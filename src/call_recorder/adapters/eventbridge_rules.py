"""The rules on an event bus (Amazon EventBridge)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.facts.errors import BusUnavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

MAX_TARGETS = 100
"""Targets that one RemoveTargets takes."""


class BusRules:
    """The rules on one bus, whoever put them there.

    Args:
        eventbridge: EventBridge.
        bus: the name of the bus.
    """

    def __init__(self, eventbridge: EventBridgeClient, bus: str) -> None:
        self._eventbridge = eventbridge
        self._bus = bus
        self._gone = eventbridge.exceptions.ResourceNotFoundException

    def names(self) -> list[str]:
        """Return the names of the rules; there are none on a bus that does not exist.

        Raises:
            BusUnavailable: they could not be listed.
        """
        names: list[str] = []
        with translate_errors("ListRules", BusUnavailable), suppress(self._gone):
            for page in self._eventbridge.get_paginator("list_rules").paginate(EventBusName=self._bus):
                names += [rule["Name"] for rule in page["Rules"]]
        return names

    def remove(self, name: str) -> None:
        """Remove a rule with its targets, also one that an AWS service manages. A rule that does not exist is removed.

        Raises:
            BusUnavailable: it could not be removed.
        """
        with translate_errors(f"RemoveTargets of the rule {name}", BusUnavailable), suppress(self._gone):
            targets = self._targets(name)
            for first in range(0, len(targets), MAX_TARGETS):
                ids = targets[first : first + MAX_TARGETS]
                # A target that stays is why DeleteRule fails, and that tells.
                self._eventbridge.remove_targets(Rule=name, EventBusName=self._bus, Ids=ids, Force=True)
        with translate_errors(f"DeleteRule of the rule {name}", BusUnavailable), suppress(self._gone):
            self._eventbridge.delete_rule(Name=name, EventBusName=self._bus, Force=True)

    def _targets(self, name: str) -> list[str]:
        pages = self._eventbridge.get_paginator("list_targets_by_rule").paginate(Rule=name, EventBusName=self._bus)
        return [target["Id"] for page in pages for target in page["Targets"]]
