"""Prefetch: CallbackFunction connects to AWS and reads parameters while the rest of the function is imported."""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.adapters.aws_api.services import Services
from call_recorder.adapters.ssm import ParameterStore


class CallbackServices:
    """SSM, SQS and DynamoDB as CallbackFunction calls them. It can connect to them before its first callback.

    Args:
        environment: the environment of the function, which the settings check later. ``PREFETCHED_APPLICATION_KEY`` is
            the application whose callbacks are expected.

    Raises:
        NoRegion: ``AWS_REGION`` is not set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        services = Services(environment)
        self._expected = environment.get("PREFETCHED_APPLICATION_KEY")
        self._ssm = services.parameters
        prefix = environment.get("PARAMETER_PREFIX", "")
        self.parameters = ParameterStore(self._ssm, prefix, listing=services.listing)
        self.facts = services.facts
        self.notifications = services.notifications
        self.calls = services.calls

    def prefetch(self) -> None:
        """Start to connect, and to read the parameters of the expected application, in threads.

        If no application is expected, only connect to SSM and SQS.
        """
        if self._expected:
            self.parameters.prefetch(self._expected)
        else:
            self._ssm.preconnect()
        self.facts.preconnect()
