"""The cache of applications.

One call reads the parameters of an application, once per TTL. If that fails, the last good value is used. Unregistered
application keys are refused without a look-up, except for a few (registered_applications.py).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from call_recorder.answering.application import Application
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.answering.profile import ProfileRefused
from call_recorder.answering.registered_applications import UNKNOWN, ParameterSource, RegisteredApplications
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication

MAX_APPLICATIONS = 256
"""Maximum number of cached applications. If there are more, the least recently used one is dropped."""

RETRY_SECONDS = 10.0
"""Seconds for which the last good value is used after a failed refresh. Then the next attempt delays a caller."""

GONE_SECONDS = 60.0
"""Seconds for which the last good value is used after the secrets are deleted. An operator or a tool may delete a
parameter and put it again, and callbacks must not be refused in between."""

_GONE = f"{SECRETS}: deleted; put it again within a minute, or callbacks are refused"


class _Cached(NamedTuple):
    """A cached application: until when it is fresh, and since when its secrets are deleted."""

    application: Application
    fresh_until: float
    gone_since: float | None = None


class ApplicationCache:
    """Finds the application of a callback by its key. Threads must not share it.

    Args:
        store: the store of the parameters.
        own_bucket: the stack's bucket, for profiles that name no destination.
        ttl_seconds: how long parameters are used before they are read again, in seconds.
        expected: the key of the application whose parameters are prefetched, or ``""``.
        report_stale: is called with the reason whenever the last good value is used.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        store: ParameterSource,
        *,
        own_bucket: str,
        ttl_seconds: float,
        expected: str = "",
        report_stale: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registered = RegisteredApplications(store, expected=expected, report_stale=report_stale, clock=clock)
        self._own_bucket = own_bucket
        self._ttl = ttl_seconds
        self._report_stale = report_stale
        self._clock = clock
        self._cached: OrderedDict[str, _Cached] = OrderedDict()

    def get(self, key: str) -> Application:
        """Return an application. It comes from memory while it is fresh.

        Raises:
            UnknownApplication: no secret is stored under this key.
            ParametersUnavailable: the parameters cannot be read or used, and no earlier value is cached.
        """
        now = self._clock()
        cached = self._cached.get(key)
        if cached is not None:
            self._cached.move_to_end(key)
            return cached.application if now < cached.fresh_until else self._refresh(key, cached, now)
        values = self._registered.read(key)
        try:
            application = self._build(key, values)
        except ParametersUnavailable:
            self._registered.note_failure(key)
            raise
        self._keep(key, application, now)
        return application

    def _refresh(self, key: str, cached: _Cached, now: float) -> Application:
        try:
            application = self._build(key, self._store.read(key))
        except UnknownApplication:
            gone_since = now if cached.gone_since is None else cached.gone_since
            if now - gone_since >= GONE_SECONDS:
                del self._cached[key]
                raise
            return self._use_last_good(key, cached, now, _GONE, gone_since)
        except ParametersUnavailable as error:
            return self._use_last_good(key, cached, now, str(error), cached.gone_since)
        if application.recorder is None and cached.application.recorder:
            # The new secrets and credentials are used with the last good profile: a broken profile must not stop the
            # rotation of either.
            self._report_stale(application.problem or "")
            recorder = cached.application.recorder.with_credentials(application.credentials)
            application = replace(application, recorder=recorder, problem=None)
        self._keep(key, application, now)
        return application

    def _use_last_good(
        self, key: str, cached: _Cached, now: float, problem: str, gone_since: float | None
    ) -> Application:
        self._report_stale(problem)
        self._cached[key] = _Cached(cached.application, now + min(self._ttl, RETRY_SECONDS), gone_since)
        return cached.application

    def _build(self, key: str, values: dict[str, str]) -> Application:
        """Build an application from its parameters. Raises UnknownApplication and ParametersUnavailable."""
        if SECRETS not in values:
            raise UnknownApplication(UNKNOWN)
        try:
            return Application.from_parameters(key, values, own_bucket=self._own_bucket)
        except ProfileRefused as refusal:
            raise ParametersUnavailable(str(refusal)) from None

    def _keep(self, key: str, application: Application, now: float) -> None:
        self._cached[key] = _Cached(application, now + self._ttl)
        self._cached.move_to_end(key)
        if len(self._cached) > MAX_APPLICATIONS:
            self._cached.popitem(last=False)
