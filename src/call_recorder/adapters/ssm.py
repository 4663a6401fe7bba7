"""The applications' parameters in SSM Parameter Store, as they are stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.answering.parameter_names import PARAMETERS, SECRETS
from call_recorder.answering.registered_applications import Page
from call_recorder.facts.errors import ParametersUnavailable

AHEAD_SECONDS = 10.0
"""How long what was read ahead may be used. An environment can be ready for hours before its first callback."""

_PAGE = 50  # the most that DescribeParameters gives at once


class ParameterStore:
    """Reads an application's parameters, all in one call, and lists the applications.

    Args:
        ssm: SSM.
        prefix: first part of every parameter's path, without slashes at its ends.
        listing: SSM within the limits of a page of the list.
        clock: seconds that only go up.
    """

    def __init__(
        self, ssm: Operations, prefix: str, *, listing: Operations, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ssm = ssm
        self._listing = listing
        self._prefix = prefix
        self._clock = clock
        self._ahead: dict[str, _Ahead] = {}

    def read(self, key: str) -> dict[str, str]:
        """Return the texts of an application's parameters by their names, without those that are not stored.

        Raises:
            ParametersUnavailable: SSM could not be asked.
        """
        ahead = self._ahead.pop(key, None)
        if ahead is not None and self._clock() - ahead.begun < AHEAD_SECONDS:
            return ahead.values()
        return self._asked(key)

    def read_ahead(self, key: str) -> None:
        """Begin to read an application's parameters beside whatever else goes on; ``read`` will wait for the rest."""
        self._ahead[key] = _Ahead(lambda: self._asked(key), self._clock())

    def list_applications(self, after: str | None) -> Page:
        """Return a page of the applications that have secrets: the first one, or the one ``after`` another.

        A page may have none, and another one may follow: SSM looks through all parameters of the account, and gives
        what a part of them comes to.

        Raises:
            ParametersUnavailable: SSM could not be asked.
        """
        root = f"/{self._prefix}/"
        path = {"Key": "Path", "Option": "Recursive", "Values": [root.rstrip("/")]}
        asked = {"ParameterFilters": [path], "MaxResults": _PAGE} | ({"NextToken": after} if after else {})
        try:
            answer = self._listing.call("DescribeParameters", asked)
        except CallFailed as error:
            raise ParametersUnavailable(str(error)) from error
        parameters = [parameter["Name"].removeprefix(root).split("/") for parameter in answer.get("Parameters", ())]
        keys = {parts[0] for parts in parameters if len(parts) == 2 and parts[1] == SECRETS}
        return Page(keys, answer.get("NextToken"))

    def _asked(self, key: str) -> dict[str, str]:
        folder = f"/{self._prefix}/{key}/"
        names = [folder + name for name in PARAMETERS]
        try:
            answer = self._ssm.call("GetParameters", {"Names": names, "WithDecryption": True})
        except CallFailed as error:
            raise ParametersUnavailable(str(error)) from error
        return {parameter["Name"].removeprefix(folder): parameter["Value"] for parameter in answer["Parameters"]}


class _Ahead:
    """What a thread is reading, since ``begun``."""

    def __init__(self, read: Callable[[], dict[str, str]], begun: float) -> None:
        self.begun = begun
        self._read = read
        self._found: dict[str, str] = {}
        self._failed: ParametersUnavailable | None = None
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def values(self) -> dict[str, str]:
        """Wait for it. Raises ParametersUnavailable."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._read()
        except ParametersUnavailable as error:
            self._failed = error
