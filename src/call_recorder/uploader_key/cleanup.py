"""The cleanup before the stack is deleted: remove the uploader's access keys and the rules on the bus.

RotationFunction creates access keys of the uploader, and IAM deletes no user that has one. Subscribers create rules on
the bus, and EventBridge deletes no bus that has one. Each run lists them again, so it continues one that was
interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from call_recorder.facts.errors import CallRecorderError, CleanupIncomplete, UploaderMissing
from call_recorder.uploader_key.plan import Observation, mask_key


class _Keys(Protocol):
    """The access keys of the uploader, and the parameters that contain them."""

    def observe(self, *, profiles: bool) -> Observation:
        """Return the observed state. Raises UploaderMissing, AccessKeysUnavailable or ParametersUnavailable."""

    def delete_credentials(self, applications: Sequence[str], *, newest: bool) -> None:
        """Delete the credentials of applications, and the newest key's parameter. Raises ParametersUnavailable."""

    def delete(self, key_id: str) -> None:
        """Delete a key. Raises AccessKeysUnavailable."""


class _Rules(Protocol):
    """The rules on the stack's bus."""

    def list_names(self) -> list[str]:
        """Return the names of the rules. Raises BusUnavailable."""

    def remove(self, name: str) -> None:
        """Remove a rule and its targets. Raises BusUnavailable."""


@dataclass(slots=True)
class Removed:
    """The removed things: masked ids of keys, applications that lost their credentials, and names of rules."""

    keys: list[str] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


class Cleanup:
    """Removes the uploader's keys, the parameters that contain them, and the rules on the bus.

    The parameters are deleted first: they are found by the ids of the keys. Credentials with the key of another user
    stay.

    Args:
        keys: the keys and the parameters.
        rules: the rules.
        has_time: tells whether there is time to remove another rule.
    """

    def __init__(self, keys: _Keys, rules: _Rules, has_time: Callable[[], bool]) -> None:
        self._keys = keys
        self._rules = rules
        self._has_time = has_time
        self.removed = Removed()

    def run(self) -> None:
        """Remove the keys and the rules. If the keys cannot be removed, the rules are removed all the same.

        Raises:
            CleanupIncomplete: something remains. The text gives the reason.
        """
        failures = []
        for remove in (self._remove_keys, self._remove_rules):
            try:
                remove()
            except CallRecorderError as error:
                failures.append(str(error))
        if failures:
            raise CleanupIncomplete("; ".join(failures))

    def _remove_keys(self) -> None:
        try:
            observed = self._keys.observe(profiles=False)
        except UploaderMissing:
            return
        own_ids = observed.own_key_ids
        applications = [holder.application for holder in observed.holders if holder.key_id in own_ids]
        newest = observed.newest is not None and observed.newest.id in own_ids
        if applications or newest:
            self._keys.delete_credentials(applications, newest=newest)
            self.removed.applications += applications
        for key in observed.keys:
            self._keys.delete(key.id)
            self.removed.keys.append(mask_key(key.id))

    def _remove_rules(self) -> None:
        for name in self._rules.list_names():
            if not self._has_time():
                raise CleanupIncomplete("there was no time to remove all rules on the bus: delete the stack again")
            self._rules.remove(name)
            self.removed.rules.append(name)
