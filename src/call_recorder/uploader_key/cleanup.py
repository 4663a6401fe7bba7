"""What a stack has gained since it was made and what would keep it from being deleted, and its removal.

RotationFunction makes access keys of the uploader, and IAM deletes no user that has any. Subscribers put rules on the
bus, and EventBridge deletes no bus that has any. Both are looked for each time, so a removal that ends halfway is taken
up by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from call_recorder.facts.errors import CallRecorderError, CleanupIncomplete, UploaderMissing
from call_recorder.uploader_key.plan import Observation, mask_key


class UploaderKeys(Protocol):
    """The uploader's keys, and the parameters that hold them."""

    def observe(self, *, profiles: bool) -> Observation:
        """Return what there is. Raises AccessKeysUnavailable, UploaderMissing or ParametersUnavailable."""

    def forget(self, applications: Sequence[str], *, newest: bool) -> None:
        """Delete the credentials of applications, and the newest key's parameter. Raises ParametersUnavailable."""

    def delete(self, key_id: str) -> None:
        """Delete a key. Raises AccessKeysUnavailable."""


class BusRules(Protocol):
    """The rules on the stack's bus."""

    def names(self) -> list[str]:
        """Return their names. Raises BusUnavailable."""

    def remove(self, name: str) -> None:
        """Remove a rule and its targets. Raises BusUnavailable."""


@dataclass(slots=True)
class Removed:
    """What was removed: what may be shown of keys' ids, the applications whose credentials held one, and rules."""

    keys: list[str] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


class Cleanup:
    """Removes the uploader's keys with every copy of them, and the rules on the bus.

    The copies are deleted first: it is by the keys that they are known. Credentials that hold another user's key stay.

    Args:
        keys: the keys and the parameters.
        rules: the rules.
        has_time: tells whether there is time to remove one thing more.
    """

    def __init__(self, keys: UploaderKeys, rules: BusRules, has_time: Callable[[], bool]) -> None:
        self._keys = keys
        self._rules = rules
        self._has_time = has_time
        self.removed = Removed()

    def run(self) -> None:
        """Remove everything; trouble with the keys does not stop the rules from being removed.

        Raises:
            CleanupIncomplete: something is left; the text says why.
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
            seen = self._keys.observe(profiles=False)
        except UploaderMissing:
            return
        ours = seen.ours()
        applications = [holder.application for holder in seen.holders if holder.key_id in ours]
        newest = seen.newest is not None and seen.newest.id in ours
        if applications or newest:
            self._keys.forget(applications, newest=newest)
            self.removed.applications += applications
        for key in seen.keys:
            self._keys.delete(key.id)
            self.removed.keys.append(mask_key(key.id))

    def _remove_rules(self) -> None:
        for name in self._rules.names():
            if not self._has_time():
                raise CleanupIncomplete("there was no time to remove all the rules on the bus: delete the stack again")
            self._rules.remove(name)
            self.removed.rules.append(name)
