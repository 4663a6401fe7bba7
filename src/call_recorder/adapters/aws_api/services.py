"""The AWS services that CallbackFunction calls: their URLs, credentials and time limits."""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.adapters import limits
from call_recorder.adapters.aws_api.client import DYNAMODB, SQS, SSM, Service, ServiceClient, ssl_context
from call_recorder.adapters.aws_api.sigv4 import find_credentials


class NoRegion(ValueError):
    """The environment does not name the region of the services."""


class Services:
    """A client for each purpose, created when it is first needed. The clients of one service share their connections.

    As in every AWS SDK, ``AWS_ENDPOINT_URL_SSM`` and its like, or ``AWS_ENDPOINT_URL`` for all services, replace AWS's
    own URLs. ``URL_SUFFIX`` is the end of AWS's host names, which differs between its partitions.

    Args:
        environment: the environment of the function.

    Raises:
        NoRegion: ``AWS_REGION`` is not set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        if not region:
            raise NoRegion("set the environment variable AWS_REGION")
        self._environment = environment
        self._region = region
        self._credentials = find_credentials(environment)
        self._tls = ssl_context(environment.get("AWS_CA_BUNDLE"))
        self._clients: dict[Service, ServiceClient] = {}

    @property
    def parameters(self) -> ServiceClient:
        """SSM, to read the parameters of an application."""
        return self._get_client(SSM, limits.PARAMETERS)

    @property
    def listing(self) -> ServiceClient:
        """SSM, to list the applications."""
        return self._get_client(SSM, limits.LISTING)

    @property
    def facts(self) -> ServiceClient:
        """SQS, to send facts while a caller waits."""
        return self._get_client(SQS, limits.FACT)

    @property
    def notifications(self) -> ServiceClient:
        """SQS, to send facts for which no caller waits."""
        return self._get_client(SQS, limits.NOTIFICATION)

    @property
    def calls(self) -> ServiceClient:
        """DynamoDB, to read what is known of a call."""
        return self._get_client(DYNAMODB, limits.KNOWN_CALL)

    def _get_client(self, service: Service, call_limits: limits.Limits) -> ServiceClient:
        if service not in self._clients:
            self._clients[service] = self._create_client(service, call_limits)
        return self._clients[service].with_limits(call_limits)

    def _create_client(self, service: Service, call_limits: limits.Limits) -> ServiceClient:
        environment = self._environment
        url = (
            environment.get(f"AWS_ENDPOINT_URL_{service.name.upper()}")
            or environment.get("AWS_ENDPOINT_URL")
            or f"https://{service.name}.{self._region}.{environment.get('URL_SUFFIX') or 'amazonaws.com'}"
        )
        return ServiceClient(
            service, url, region=self._region, credentials=self._credentials, limits=call_limits, tls=self._tls
        )
