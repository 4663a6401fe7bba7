"""The ways of CallbackFunction to AWS, which can be opened while the rest of the function is still imported."""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.adapters.aws_api.services import Services
from call_recorder.adapters.ssm import ParameterStore


class Connections:
    """SSM, SQS and DynamoDB as CallbackFunction calls them.

    Args:
        environment: the function's, which the settings check later. ``PREFETCHED_APPLICATION_KEY`` says which
            application to expect.

    Raises:
        NoRegion: ``AWS_REGION`` is not set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        endpoints = Services(environment)
        self._expected = environment.get("PREFETCHED_APPLICATION_KEY")
        self._ssm = endpoints.parameters()
        prefix = environment.get("PARAMETER_PREFIX", "")
        self.parameters = ParameterStore(self._ssm, prefix, listing=endpoints.listing())
        self.facts = endpoints.facts()
        self.notifications = endpoints.notifications()
        self.calls = endpoints.calls()

    def open(self) -> None:
        """Begin, beside whatever else goes on, to connect and to read the parameters of the expected application.

        Without one that is expected, the connection to SSM is open by the time its parameters are asked for.
        """
        if self._expected:
            self.parameters.read_ahead(self._expected)
        else:
            self._ssm.open_ahead()
        self.facts.open_ahead()
