"""Where the services are that CallbackFunction calls, and with whose credentials it calls them."""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.adapters import limits
from call_recorder.adapters.aws_api.client import DYNAMODB, SQS, SSM, Service, ServiceClient, ssl_context
from call_recorder.adapters.aws_api.sigv4 import find_credentials


class NoRegion(ValueError):
    """The environment does not say in which region the services are."""


class Services:
    """The services as the environment says where they are, and with whose credentials they are called.

    ``AWS_ENDPOINT_URL_SSM`` and its like, or ``AWS_ENDPOINT_URL`` for all of them, stand in for AWS's own addresses,
    as for every SDK. ``URL_SUFFIX`` is the end of the names of AWS's hosts, which differs between its partitions.

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
        self._made: dict[Service, ServiceClient] = {}

    def parameters(self) -> ServiceClient:
        """Return SSM on the path of ICE."""
        return self._endpoint(SSM, limits.PARAMETERS)

    def listing(self) -> ServiceClient:
        """Return SSM for the list of applications, on the path of ICE."""
        return self._endpoint(SSM, limits.LISTING)

    def facts(self) -> ServiceClient:
        """Return SQS on the path of ICE."""
        return self._endpoint(SQS, limits.FACT)

    def notifications(self) -> ServiceClient:
        """Return SQS for what nobody waits for in a call."""
        return self._endpoint(SQS, limits.NOTIFICATION)

    def calls(self) -> ServiceClient:
        """Return DynamoDB on the path of ACE and PIE, while a caller waits."""
        return self._endpoint(DYNAMODB, limits.CALL)

    def _endpoint(self, service: Service, within: limits.Limits) -> ServiceClient:
        if service not in self._made:
            self._made[service] = self._new(service, within)
        return self._made[service].within(within)

    def _new(self, service: Service, within: limits.Limits) -> ServiceClient:
        said = self._environment
        url = (
            said.get(f"AWS_ENDPOINT_URL_{service.name.upper()}")
            or said.get("AWS_ENDPOINT_URL")
            or f"https://{service.name}.{self._region}.{said.get('URL_SUFFIX') or 'amazonaws.com'}"
        )
        return ServiceClient(
            service, url, region=self._region, credentials=self._credentials, limits=within, tls=self._tls
        )
