"""Which application keys may cost a look-up in SSM.

Anybody can send a callback with a made-up application key, and a signature is worth nothing before the application's
secret is read. So the set of registered applications is itself known here: a list of them out of SSM, which decides
from the moment that more than a few unknown keys came. See docs/decisions/0019.
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
"""Look-ups of keys that turn out to be unknown, within ``MISSES_SECONDS``, before the applications are listed. Without
noise there is none, and the first callback of an application costs one call to SSM."""

MISSES_SECONDS = 30.0

LISTED_SECONDS = 30.0
"""How long a list of the applications is used at most before it is made again, if an unknown key comes."""

UNKNOWN_SECONDS = 10.0
"""How long a key stays unknown after it was looked up, unless the applications are listed meanwhile."""

RELIST_SECONDS = 5.0
"""How long it takes at most, after a list that failed or could not be finished, until the next try delays a caller."""

MAX_PAGES = 20
"""Pages of one try to list the applications."""

LISTING_SECONDS = 0.3
"""When one try to list the applications begins no further page. A caller waits for it, and for its last page."""

MAX_LISTING_SECONDS = 120.0
"""How long a list that needs several tries is gone on with before it begins anew."""

MAX_FAILURES = 3
"""Failed look-ups of one registered application within ``FAILURES_SECONDS``. Its key may be known to strangers too."""

FAILURES_SECONDS = 10.0

UNKNOWN = "no application-secrets under this application key"


class Page(NamedTuple):
    """A part of the list of registered applications: their keys, and how to ask for the next part, if there is one."""

    keys: Collection[str]
    next: str | None


class Store(Protocol):
    """Where parameters are stored."""

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters, by their names. Raises ParametersUnavailable."""

    def list_applications(self, after: str | None) -> Page:
        """Return a page of the applications that have secrets. Raises ParametersUnavailable."""


class RegisteredApplications:
    """Reads the parameters of applications that are registered, and refuses all other keys.

    Whatever keys come, it makes a bounded number of calls in a time, and remembers no more keys than are registered
    and a few. A key that the last list does not have is unknown, also while SSM is out of reach. It is for one thread.

    Args:
        store: where parameters are stored.
        expected: the key of an application that is taken for registered without a list, or ``""``.
        stale: is called with the reason whenever an old list has to do.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        store: Store,
        *,
        expected: str,
        stale: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._expected = expected
        self._stale = stale
        self._clock = clock
        self._misses = _Recent(MAX_MISSES, MISSES_SECONDS)
        self._failures: dict[str, _Recent] = {}
        self._unknown: dict[str, float] = {}
        self._listed: Collection[str] | None = None
        self._listing: _Listing | None = None
        self._problem = ""
        self._list_again_at = clock()

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters, by their names.

        Raises:
            UnknownApplication: the application is not registered.
            ParametersUnavailable: SSM could not be asked, or not whether the application is registered.
        """
        now = self._clock()
        if self._unknown.get(key, now) > now:
            raise UnknownApplication(UNKNOWN)
        if not (self._is_listed(key) or self._may_miss(now)):
            self._list(now)
            self._check_listed(key)
        if not self._budget(key).is_left(now):
            raise ParametersUnavailable("look-ups pause, since the last ones failed")
        try:
            values = self._store.read(key)
        except ParametersUnavailable:
            self.note_failure(key)
            raise
        if SECRETS not in values:
            self.note_failure(key)
            self._unknown = {each: until for each, until in self._unknown.items() if until > now}
            self._unknown[key] = now + UNKNOWN_SECONDS
            raise UnknownApplication(UNKNOWN)
        return values

    def note_failure(self, key: str) -> None:
        """Count a look-up that brought nothing that can be used."""
        self._budget(key).note(self._clock())

    def _is_listed(self, key: str) -> bool:
        known = (self._listed or (), self._listing.keys if self._listing else ())
        return key == self._expected or any(key in keys for keys in known)

    def _may_miss(self, now: float) -> bool:
        """Tell whether a key of which nothing is known may be looked up: a list, however old, answers instead."""
        return self._listed is None and self._misses.is_left(now)

    def _budget(self, key: str) -> _Recent:
        if self._is_listed(key):
            return self._failures.setdefault(key, _Recent(MAX_FAILURES, FAILURES_SECONDS))
        return self._misses

    def _check_listed(self, key: str) -> None:
        if self._is_listed(key):
            return
        if self._listed is None:
            raise ParametersUnavailable(f"unknown applications; those registered are not listed: {self._problem}")
        raise UnknownApplication(UNKNOWN)

    def _list(self, now: float) -> None:
        """List the applications, unless that was done just now. A try that fails leaves the last list in use."""
        if now < self._list_again_at:
            return
        self._list_again_at = now + _spread(RELIST_SECONDS)
        listing = self._listing
        if listing is None or now - listing.begun >= MAX_LISTING_SECONDS:
            listing = self._listing = _Listing(now)
        try:
            self._continue(listing)
        except ParametersUnavailable as error:
            self._problem = str(error)
            if self._listed is not None:
                self._stale(self._problem)
            return
        self._problem = "there are more parameters than fit into the time"
        if listing.is_finished:
            self._listed, self._listing = frozenset(listing.keys), None
            self._failures = {key: failed for key, failed in self._failures.items() if self._is_listed(key)}
            self._unknown.clear()
            self._list_again_at = now + _spread(LISTED_SECONDS)

    def _continue(self, listing: _Listing) -> None:
        """Read pages of the list for as long as a try may take. Raises ParametersUnavailable."""
        end = self._clock() + LISTING_SECONDS
        for number in range(MAX_PAGES):
            try:
                page = self._store.list_applications(listing.next)
            except ParametersUnavailable:
                if number == 0:
                    self._listing = None  # perhaps SSM no longer knows the place: the next try begins anew
                raise
            listing.keys.update(page.keys)
            listing.next = page.next
            listing.is_finished = page.next is None
            if listing.is_finished or self._clock() >= end:
                return


class _Listing:
    """A list of the applications that is being made, since ``begun``."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.keys: set[str] = set()
        self.next: str | None = None
        self.is_finished = False


class _Recent:
    """The last times at which something happened that may happen ``limit`` times in so many ``seconds``."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=limit)
        self._limit = limit
        self._seconds = seconds

    def is_left(self, now: float) -> bool:
        """Tell whether it may happen once more."""
        return len(self._times) < self._limit or now - self._times[0] >= self._seconds

    def note(self, now: float) -> None:
        """Note that it happened."""
        self._times.append(now)


def _spread(seconds: float) -> float:
    """Return half to all of the time. Environments that a flood started at once must not go on to list at once."""
    return seconds * (1 + random()) / 2  # noqa: S311 - nothing secret depends on it
