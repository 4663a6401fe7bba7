"""Applications, made of their parameters and cached.

One call fetches an application's parameters, once per TTL. A refresh that fails serves the last good value.
Keys that nobody stored are remembered as unknown, in a bounded cache and with a budget of look-ups, so that
noise with made-up keys costs neither memory nor SSM's throughput.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from call_recorder.recording.application import Application
from call_recorder.recording.errors import ParametersUnavailable, UnknownApplication
from call_recorder.recording.parameters import SECRETS
from call_recorder.recording.profile import ProfileRefused

MOST_APPLICATIONS = 256
"""Applications remembered at once; the least recently used goes first."""

UNKNOWN_SECONDS = 60.0
"""How long a key stays unknown: what an operator waits, at most, after putting the parameters."""

MOST_UNKNOWN = 200
"""Unknown keys remembered at once, and so look-ups of them per minute. SSM grants an account 40 look-ups a
second for everything it runs; past this, a key never seen is treated as SSM being out of reach."""

RETRY_SECONDS = 10.0
"""How long the last good value is served after a refresh failed, before the next try delays a caller."""


_UNKNOWN = "no application-secrets under this application key"


class Store(Protocol):
    """Where parameters are stored."""

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters, by their names. Raises ParametersUnavailable."""


@dataclass(slots=True)
class _Cached:
    application: Application
    fresh_until: float


class Applications:
    """Finds the application that a callback claims to be for.

    Args:
        store: where parameters are stored.
        own_bucket: the stack's bucket, for profiles that name no destination.
        ttl_seconds: how long parameters are used before they are read again.
        stale: told why, whenever a last good value has to do.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        store: Store,
        *,
        own_bucket: str,
        ttl_seconds: float,
        stale: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._own_bucket = own_bucket
        self._ttl = ttl_seconds
        self._stale = stale
        self._clock = clock
        self._known: OrderedDict[str, _Cached] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def get(self, key: str) -> Application:
        """Return the application, from memory while it is fresh.

        Raises:
            UnknownApplication: no secret is stored under this key.
            ParametersUnavailable: it cannot be read and was never read before.
        """
        now = self._clock()
        cached = self._known.get(key)
        if cached is not None:
            self._known.move_to_end(key)
            return cached.application if now < cached.fresh_until else self._refreshed(key, cached, now)
        self._expire_unknown(now)
        if key in self._unknown:
            raise UnknownApplication(_UNKNOWN)
        if len(self._unknown) >= MOST_UNKNOWN:
            raise ParametersUnavailable("too many unknown applications; look-ups pause")
        return self._fetched(key, now)

    def _refreshed(self, key: str, cached: _Cached, now: float) -> Application:
        try:
            application = self._fetched(key, now)
        except UnknownApplication:
            del self._known[key]
            raise
        except ParametersUnavailable as error:
            problem = str(error)
        else:
            if application.recorder or not cached.application.recorder:
                return application
            # The secrets are as new as can be, the credentials too: a broken profile must not hold up their rotation.
            self._stale(application.problem or "")
            recorder = cached.application.recorder.with_credentials(application.credentials)
            application = replace(application, recorder=recorder, problem=None)
            self._known[key] = _Cached(application, now + self._ttl)
            return application
        self._stale(problem)
        self._known[key] = _Cached(cached.application, now + min(self._ttl, RETRY_SECONDS))
        return cached.application

    def _fetched(self, key: str, now: float) -> Application:
        values = self._store.read(key)
        if SECRETS not in values:
            self._unknown[key] = now + UNKNOWN_SECONDS
            raise UnknownApplication(_UNKNOWN)
        try:
            application = Application.from_parameters(key, values, own_bucket=self._own_bucket)
        except ProfileRefused as refusal:
            raise ParametersUnavailable(str(refusal)) from None
        self._known[key] = _Cached(application, now + self._ttl)
        self._known.move_to_end(key)
        if len(self._known) > MOST_APPLICATIONS:
            self._known.popitem(last=False)
        return application

    def _expire_unknown(self, now: float) -> None:
        while self._unknown and next(iter(self._unknown.values())) <= now:
            self._unknown.popitem(last=False)
