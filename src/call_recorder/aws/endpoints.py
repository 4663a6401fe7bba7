"""Where the services are, and how long they may take.

ICE must be answered well inside 5 s, cold start included. The worst case of the calls on its path is two attempts
at SSM, 2 x (0.2 + 0.4) = 1.2 s, and one at SQS, 0.2 + 0.5 = 0.7 s: under 2 s together.
"""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.aws.endpoint import DYNAMODB, EVENTS, SQS, SSM, Endpoint, Limits, Service, trusted
from call_recorder.aws.signing import credentials

_PARAMETERS = Limits(connect=0.2, read=0.4, attempts=2)
_FACTS = Limits(connect=0.2, read=0.5, attempts=1)
# A notification comes once: worth a second attempt, 2 x (0.2 + 0.5) = 1.4 s, still inside what Sinch waits.
_NOTIFICATIONS = Limits(connect=0.2, read=0.5, attempts=2)
# Behind the queue nobody waits. A load, two writes and a publish that all take their longest would pass the
# function's 10 s; then the batch comes again and takes up where it was.
_BOOKS = Limits(connect=0.5, read=1.0, attempts=2)


class NoRegion(ValueError):
    """The environment does not say in which region the services are."""


class Endpoints:
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
        self._credentials = credentials(environment)
        self._tls = trusted(environment.get("AWS_CA_BUNDLE"))
        self._made: dict[Service, Endpoint] = {}

    def parameters(self) -> Endpoint:
        """Return SSM on the path of ICE."""
        return self._endpoint(SSM, _PARAMETERS)

    def facts(self) -> Endpoint:
        """Return SQS on the path of ICE."""
        return self._endpoint(SQS, _FACTS)

    def notifications(self) -> Endpoint:
        """Return SQS for what nobody waits for in a call."""
        return self._endpoint(SQS, _NOTIFICATIONS)

    def calls(self) -> Endpoint:
        """Return DynamoDB on the path of ACE and PIE, while a caller waits."""
        return self._endpoint(DYNAMODB, _FACTS)

    def tables(self) -> Endpoint:
        """Return DynamoDB behind the queue."""
        return self._endpoint(DYNAMODB, _BOOKS)

    def bus(self) -> Endpoint:
        """Return EventBridge behind the queue."""
        return self._endpoint(EVENTS, _BOOKS)

    def _endpoint(self, service: Service, limits: Limits) -> Endpoint:
        if service not in self._made:
            self._made[service] = self._new(service, limits)
        return self._made[service].within(limits)

    def _new(self, service: Service, limits: Limits) -> Endpoint:
        said = self._environment
        url = (
            said.get(f"AWS_ENDPOINT_URL_{service.name.upper()}")
            or said.get("AWS_ENDPOINT_URL")
            or f"https://{service.name}.{self._region}.{said.get('URL_SUFFIX') or 'amazonaws.com'}"
        )
        return Endpoint(service, url, region=self._region, credentials=self._credentials, limits=limits, tls=self._tls)
