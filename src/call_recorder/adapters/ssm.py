"""The applications' parameters in SSM Parameter Store, as they are stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.answering.parameter_names import PARAMETERS, SECRETS
from call_recorder.answering.registered_applications import Page
from call_recorder.facts.errors import ParametersUnavailable

MAX_PREFETCH_AGE_SECONDS = 10.0
"""Maximum age of prefetched parameters, in seconds. An environment can be ready for hours before its first callback."""

_MAX_PAGE = 50  # parameters that one DescribeParameters returns


class ParameterStore:
    """Reads all parameters of an application with one call, and lists the applications.

    Args:
        ssm: SSM.
        prefix: the first part of every parameter's path, without slashes at its ends.
        listing: SSM with the time limits for a page of the list.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, ssm: Operations, prefix: str, *, listing: Operations, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ssm = ssm
        self._listing = listing
        self._prefix = prefix
        self._clock = clock
        self._prefetches: dict[str, _Prefetch] = {}

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters by their names. Parameters that do not exist are absent.

        Raises:
            ParametersUnavailable: SSM did not return them.
        """
        prefetch = self._prefetches.pop(key, None)
        if prefetch is not None and self._clock() - prefetch.begun < MAX_PREFETCH_AGE_SECONDS:
            return prefetch.wait()
        return self._get_parameters(key)

    def prefetch(self, key: str) -> None:
        """Start to read an application's parameters in a thread. ``read`` waits for the result."""
        self._prefetches[key] = _Prefetch(lambda: self._get_parameters(key), self._clock())

    def list_applications(self, after: str | None) -> Page:
        """Return the first page of the applications that have secrets, or the page after another one.

        A page may be empty although another one follows: SSM filters all parameters of the account part by part.

        Raises:
            ParametersUnavailable: SSM did not return the page.
        """
        root = f"/{self._prefix}/"
        path = {"Key": "Path", "Option": "Recursive", "Values": [root.rstrip("/")]}
        request = {"ParameterFilters": [path], "MaxResults": _MAX_PAGE} | ({"NextToken": after} if after else {})
        try:
            answer = self._listing.call("DescribeParameters", request)
        except CallFailed as error:
            raise ParametersUnavailable(str(error)) from error
        parameters = [parameter["Name"].removeprefix(root).split("/") for parameter in answer.get("Parameters", ())]
        keys = {parts[0] for parts in parameters if len(parts) == 2 and parts[1] == SECRETS}
        return Page(keys, answer.get("NextToken"))

    def _get_parameters(self, key: str) -> dict[str, str]:
        folder = f"/{self._prefix}/{key}/"
        names = [folder + name for name in PARAMETERS]
        try:
            answer = self._ssm.call("GetParameters", {"Names": names, "WithDecryption": True})
        except CallFailed as error:
            raise ParametersUnavailable(str(error)) from error
        return {parameter["Name"].removeprefix(folder): parameter["Value"] for parameter in answer["Parameters"]}


class _Prefetch:
    """The parameters that a thread reads, since ``begun``."""

    def __init__(self, read: Callable[[], dict[str, str]], begun: float) -> None:
        self.begun = begun
        self._read = read
        self._values: dict[str, str] = {}
        self._error: ParametersUnavailable | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def wait(self) -> dict[str, str]:
        """Wait for the thread and return the parameters. Raises ParametersUnavailable."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._values

    def _run(self) -> None:
        try:
            self._values = self._read()
        except ParametersUnavailable as error:
            self._error = error
