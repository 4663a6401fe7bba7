"""ApplicationCache, made of their parameters and cached.

One call fetches an application's parameters, once per TTL. A refresh that fails serves the last good value. Keys that
nobody registered are refused without a look-up, but for a few (``registered_applications``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from call_recorder.answering.application import Application
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.answering.profile import ProfileRefused
from call_recorder.answering.registered_applications import UNKNOWN, RegisteredApplications, Store
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication

MAX_APPLICATIONS = 256
"""ApplicationCache remembered at once; the least recently used goes first."""

RETRY_SECONDS = 10.0
"""How long the last good value is served after a refresh failed, before the next try delays a caller."""

GONE_SECONDS = 60.0
"""How long the last good value is served after a refresh found no secrets. An operator who deletes a parameter and puts
it again, or a tool that does, must not have callbacks refused in between."""

_GONE = f"{SECRETS}: gone; put it back within a minute, or callbacks are refused"


@dataclass(slots=True)
class _Cached:
    """An application, when it is read again, and when its secrets were first found to be gone."""

    application: Application
    fresh_until: float
    gone_since: float | None = None


class ApplicationCache:
    """Finds the application that a callback claims to be for. It is for one thread.

    Args:
        store: where parameters are stored.
        own_bucket: the stack's bucket, for profiles that name no destination.
        ttl_seconds: how long parameters are used before they are read again.
        expected: the key of the application whose parameters are read ahead, or ``""``.
        stale: is called with the reason whenever a last good value has to do.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        store: Store,
        *,
        own_bucket: str,
        ttl_seconds: float,
        expected: str = "",
        stale: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registered = RegisteredApplications(store, expected=expected, stale=stale, clock=clock)
        self._own_bucket = own_bucket
        self._ttl = ttl_seconds
        self._stale = stale
        self._clock = clock
        self._known: OrderedDict[str, _Cached] = OrderedDict()

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
        values = self._registered.read(key)
        try:
            application = self._made(key, values)
        except ParametersUnavailable:
            self._registered.note_failure(key)
            raise
        self._keep(key, application, now)
        return application

    def _refreshed(self, key: str, cached: _Cached, now: float) -> Application:
        try:
            application = self._made(key, self._store.read(key))
        except UnknownApplication:
            gone_since = now if cached.gone_since is None else cached.gone_since
            if now - gone_since >= GONE_SECONDS:
                del self._known[key]
                raise
            return self._last_good(key, cached, now, _GONE, gone_since)
        except ParametersUnavailable as error:
            return self._last_good(key, cached, now, str(error), cached.gone_since)
        if application.recorder is None and cached.application.recorder:
            # The secrets are as new as can be, the credentials too: a broken profile must not hold up their rotation.
            self._stale(application.problem or "")
            recorder = cached.application.recorder.with_credentials(application.credentials)
            application = replace(application, recorder=recorder, problem=None)
        self._keep(key, application, now)
        return application

    def _last_good(self, key: str, cached: _Cached, now: float, problem: str, gone_since: float | None) -> Application:
        self._stale(problem)
        self._known[key] = _Cached(cached.application, now + min(self._ttl, RETRY_SECONDS), gone_since)
        return cached.application

    def _made(self, key: str, values: dict[str, str]) -> Application:
        """Make an application of its parameters. Raises UnknownApplication and ParametersUnavailable."""
        if SECRETS not in values:
            raise UnknownApplication(UNKNOWN)
        try:
            return Application.from_parameters(key, values, own_bucket=self._own_bucket)
        except ProfileRefused as refusal:
            raise ParametersUnavailable(str(refusal)) from None

    def _keep(self, key: str, application: Application, now: float) -> None:
        self._known[key] = _Cached(application, now + self._ttl)
        self._known.move_to_end(key)
        if len(self._known) > MAX_APPLICATIONS:
            self._known.popitem(last=False)
