"""The registered applications. Look-ups of all other keys in SSM are limited.

Anyone can send a callback with an invented application key, and its signature cannot be verified before the
application's secret is read. So after a few unknown keys, the registered applications are listed from SSM, and keys
that are not in the list are refused. See docs/decisions/0019.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from random import random
from typing import NamedTuple, Protocol

from call_recorder.answering.parameter_names import SECRETS
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication

MAX_MISSES = 3
"""Maximum number of look-ups of unknown keys within ``MISSES_SECONDS``. After these, the applications are listed.
Without such keys no list is needed, and the first callback of an application costs one call to SSM."""

MISSES_SECONDS = 30.0
"""The period of ``MAX_MISSES``, in seconds."""

LISTED_SECONDS = 30.0
"""Maximum age of the list of applications, in seconds. If it is older, the next unknown key renews it."""

UNKNOWN_SECONDS = 10.0
"""Seconds for which a key counts as unknown after its look-up, unless the applications are listed before."""

RELIST_SECONDS = 5.0
"""Maximum pause after a list that failed or is incomplete, in seconds. Then the next attempt delays a caller."""

MAX_PAGES = 20
"""Maximum number of pages in one attempt to list the applications."""

LISTING_SECONDS = 0.3
"""Seconds for which one attempt to list the applications requests further pages. A caller waits for the attempt, and
for its last page."""

MAX_LISTING_SECONDS = 120.0
"""Seconds for which a list that takes several attempts is continued. Then it starts again."""

MAX_FAILURES = 3
"""Maximum number of failed look-ups of one registered application within ``FAILURES_SECONDS``. There is a limit, since
strangers may know its key."""

FAILURES_SECONDS = 10.0
"""The period of ``MAX_FAILURES``, in seconds."""

UNKNOWN = "no application-secrets under this application key"
"""The text of the refusal of an unknown key."""


class Page(NamedTuple):
    """A page of the list of registered applications: their keys, and the token of the next page, if there is one."""

    keys: Collection[str]
    next: str | None


class ParameterSource(Protocol):
    """The store of the applications' parameters."""

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters, by their names. Raises ParametersUnavailable."""

    def list_applications(self, after: str | None) -> Page:
        """Return a page of the applications that have secrets. Raises ParametersUnavailable."""


class RegisteredApplications:
    """Reads the parameters of registered applications, and refuses all other keys.

    Whatever keys are requested, the number of calls per time is limited, and so is the number of keys in memory. A key
    that is not in the last list is unknown, even while SSM does not answer. Threads must not share it.

    Args:
        store: the store of the parameters.
        expected: the key of an application that counts as registered without a list, or ``""``.
        report_stale: is called with the reason whenever an old list is used.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        store: ParameterSource,
        *,
        expected: str,
        report_stale: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._expected = expected
        self._report_stale = report_stale
        self._clock = clock
        self._misses = _Budget(MAX_MISSES, MISSES_SECONDS)
        self._failures: dict[str, _Budget] = {}
        self._unknown_until: dict[str, float] = {}
        self._listed: Collection[str] | None = None
        self._listing: _Listing | None = None
        self._problem = ""
        self._list_again_at = clock()

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters, by their names.

        Raises:
            UnknownApplication: the application is not registered.
            ParametersUnavailable: SSM returned neither the parameters nor the list of applications.
        """
        now = self._clock()
        if self._unknown_until.get(key, now) > now:
            raise UnknownApplication(UNKNOWN)
        if not (self._is_listed(key) or self._may_look_up_unlisted(now)):
            self._list(now)
            self._check_listed(key)
        if not self._find_budget(key).has_room(now):
            raise ParametersUnavailable("look-ups pause, since the last ones failed")
        try:
            values = self._store.read(key)
        except ParametersUnavailable:
            self.note_failure(key)
            raise
        if SECRETS not in values:
            self.note_failure(key)
            self._unknown_until = {each: until for each, until in self._unknown_until.items() if until > now}
            self._unknown_until[key] = now + UNKNOWN_SECONDS
            raise UnknownApplication(UNKNOWN)
        return values

    def note_failure(self, key: str) -> None:
        """Count a look-up that failed, or whose result cannot be used."""
        now, budget = self._clock(), self._find_budget(key)
        budget.spend(now)
        if budget is not self._misses:
            # Only those that still count are kept: most applications never fail, and there may be thousands.
            counting = {each: failures for each, failures in self._failures.items() if failures.counts(now)}
            self._failures = counting | {key: budget}

    def _is_listed(self, key: str) -> bool:
        known = (self._listed or (), self._listing.keys if self._listing else ())
        return key == self._expected or any(key in keys for keys in known)

    def _may_look_up_unlisted(self, now: float) -> bool:
        """Tell whether a key that is not listed may be looked up. Once a list exists, no such key may."""
        return self._listed is None and self._misses.has_room(now)

    def _find_budget(self, key: str) -> _Budget:
        if self._is_listed(key):
            return self._failures.get(key) or _Budget(MAX_FAILURES, FAILURES_SECONDS)
        return self._misses

    def _check_listed(self, key: str) -> None:
        if self._is_listed(key):
            return
        if self._listed is None:
            raise ParametersUnavailable(
                f"unknown application keys, and the registered applications cannot be listed: {self._problem}"
            )
        raise UnknownApplication(UNKNOWN)

    def _list(self, now: float) -> None:
        """List the applications, unless that was done just now. If the attempt fails, the last list stays in use."""
        if now < self._list_again_at:
            return
        self._list_again_at = now + _add_jitter(RELIST_SECONDS)
        listing = self._listing
        if listing is None or now - listing.begun >= MAX_LISTING_SECONDS:
            listing = self._listing = _Listing(now)
        try:
            self._continue(listing)
        except ParametersUnavailable as error:
            self._problem = str(error)
            if self._listed is not None:
                self._report_stale(self._problem)
            return
        self._problem = "there are too many parameters to list in one attempt"
        if listing.is_finished:
            self._listed, self._listing = frozenset(listing.keys), None
            self._failures = {key: budget for key, budget in self._failures.items() if self._is_listed(key)}
            self._unknown_until.clear()
            self._list_again_at = now + _add_jitter(LISTED_SECONDS)

    def _continue(self, listing: _Listing) -> None:
        """Read pages of the list for as long as one attempt may take. Raises ParametersUnavailable."""
        end = self._clock() + LISTING_SECONDS
        for number in range(MAX_PAGES):
            try:
                page = self._store.list_applications(listing.next)
            except ParametersUnavailable:
                if number == 0:
                    self._listing = None  # The token may have expired, so the next attempt starts with the first page.
                raise
            listing.keys.update(page.keys)
            listing.next = page.next
            listing.is_finished = page.next is None
            if listing.is_finished or self._clock() >= end:
                return


class _Listing:
    """A list of the applications that is not complete yet, since ``begun``."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.keys: set[str] = set()
        self.next: str | None = None
        self.is_finished = False


class _Budget:
    """Allows something ``limit`` times within a number of ``seconds``."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._limit = limit
        self._seconds = seconds

    def has_room(self, now: float) -> bool:
        """Tell whether it is allowed once more."""
        return len(self._times) < self._limit or now - self._times[0] >= self._seconds

    def counts(self, now: float) -> bool:
        """Tell whether it happened within the last ``seconds``."""
        return bool(self._times) and now - self._times[-1] < self._seconds

    def spend(self, now: float) -> None:
        """Note that it happened."""
        self._times.append(now)


def _add_jitter(seconds: float) -> float:
    """Return between half and all of the time, so that instances which started together do not list together."""
    return seconds * (1 + random()) / 2  # noqa: S311 - nothing secret depends on it
