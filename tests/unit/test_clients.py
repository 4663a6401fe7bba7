"""Where the services are, by our own client and by boto3, and within which limits."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.aws_api.client import DYNAMODB, SQS, SSM, Service, ServiceClient
from call_recorder.adapters.aws_api.services import NoRegion, Services
from call_recorder.adapters.operations import CallFailed

ENVIRONMENT = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


def test_each_call_that_a_caller_waits_for_has_its_limits() -> None:
    endpoints = Services(ENVIRONMENT)

    assert endpoints.parameters.limits == limits.PARAMETERS
    assert endpoints.facts.limits == limits.FACT
    assert endpoints.notifications.limits == limits.NOTIFICATION
    assert endpoints.calls.limits == limits.KNOWN_CALL
    assert endpoints.listing.limits == limits.LISTING


@pytest.mark.parametrize(
    ("make", "service", "within"),
    [
        *(
            (make, "dynamodb", limits.BACKGROUND)
            for make in (boto_clients.create_dynamodb, boto_clients.create_dynamodb_client)
        ),
        (boto_clients.create_eventbridge, "events", limits.BACKGROUND),
        (boto_clients.create_sqs, "sqs", limits.BACKGROUND),
        (boto_clients.create_ssm_client, "ssm", limits.STORAGE_CREDENTIALS),
        (boto_clients.create_iam_client, "iam", limits.ACCESS_KEYS),
        (boto_clients.create_iam_cleanup_client, "iam", limits.CLEANUP),
        (boto_clients.create_eventbridge_client, "events", limits.CLEANUP),
        (boto_clients.create_cloudformation_client, "cloudformation", limits.CLEANUP),
    ],
)
def test_boto3_has_its_limits_and_standard_retries(make: Any, service: str, within: limits.SdkLimits) -> None:
    client = getattr(make(), "_client", None) or make()
    config = client.meta.config

    assert client.meta.service_model.service_name == service
    assert config.retries == {"mode": "standard", "total_max_attempts": within.attempts}
    assert (config.connect_timeout, config.read_timeout) == (within.connect, within.read)
    assert config.max_pool_connections == limits.MAX_PARALLEL_CALLS


def answer(status: int, content: bytes) -> AWSResponse:
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    return AWSResponse("https://dynamodb.example", status, headers, Mock(stream=lambda *_, **__: iter([content])))


class Attempts:
    """A PutItem, answered with failures first. Between attempts it only notes how long it would wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: AWSResponse | Exception) -> None:
        self.made = 0
        self.waits: list[float] = []
        self._failures = list(failures)
        self._client = boto_clients.create_dynamodb()
        monkeypatch.setattr("botocore.endpoint.time.sleep", self.waits.append)
        client: Any = self._client._client
        client.meta.events.register("before-send.*.*", self._send)

    def put(self) -> None:
        self._client.call("PutItem", {"TableName": "t", "Item": {"key": {"S": "v"}}})

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self.made += 1
        failure = self._failures.pop(0) if self._failures else answer(200, b"{}")
        if isinstance(failure, Exception):
            raise failure
        return failure


THROTTLED = answer(400, b'{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}')


@pytest.mark.parametrize(
    "failure", [THROTTLED, answer(503, b"<html>"), ReadTimeoutError(endpoint_url="https://dynamodb.example")]
)
def test_behind_the_queue_a_transient_failure_is_tried_again_after_a_wait(
    failure: AWSResponse | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(monkeypatch, failure, failure)

    attempts.put()

    assert attempts.made == 3
    assert len(attempts.waits) == 2
    assert sum(attempts.waits) <= 3


def test_a_failure_of_all_attempts_names_operation_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, *[THROTTLED] * limits.BACKGROUND.attempts)

    with pytest.raises(CallFailed, match="^PutItem: ProvisionedThroughputExceededException$"):
        attempts.put()


def test_a_refusal_is_tried_once_and_has_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = b'{"__type": "x#ConditionalCheckFailedException", "Item": {"revision": {"N": "7"}}}'
    attempts = Attempts(monkeypatch, answer(400, refusal))

    with pytest.raises(CallFailed) as failure:
        attempts.put()
    assert failure.value.reason == "ConditionalCheckFailedException"
    assert failure.value.details["Item"] == {"revision": {"N": "7"}}
    assert attempts.made == 1


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SQS": "http://sqs:2"}, "http://sqs:2"),
        ({"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:1"}, "https://sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_the_environment_can_name_the_address_of_a_service(environment: dict[str, str], url: str) -> None:
    assert Services(ENVIRONMENT | environment).facts.url == url


@pytest.mark.parametrize("service", [SSM, SQS, DYNAMODB], ids=lambda service: service.name)
def test_a_service_is_called_as_botocore_describes_it(service: Service) -> None:
    described = botocore.session.get_session().get_service_model(service.name).metadata

    assert described["protocol"] == "json" or "json" in described["protocols"]
    assert (described["targetPrefix"], described["jsonVersion"]) == (service.target, service.json)
    assert described.get("signingName", described["endpointPrefix"]) == service.name


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", ""), ("us-gov-west-1", ""), ("cn-north-1", ".cn")])
@pytest.mark.parametrize("name", ["parameters", "facts", "calls"])
def test_a_services_address_is_the_one_that_boto3_finds(name: str, region: str, suffix: str) -> None:
    environment = ENVIRONMENT | {"AWS_REGION": region, "URL_SUFFIX": f"amazonaws.com{suffix}"}
    endpoint: ServiceClient = getattr(Services(environment), name)
    client: Any = boto3.client(endpoint.service.name, region_name=region)  # type: ignore[call-overload]

    assert endpoint.url == client.meta.endpoint_url


def test_all_calls_of_one_service_share_its_connections() -> None:
    endpoints = Services(ENVIRONMENT)
    facts, notifications = endpoints.facts, endpoints.notifications

    assert facts._idle is notifications._idle
    assert facts._idle is not endpoints.parameters._idle
    assert facts.limits != notifications.limits


def test_a_function_without_a_region_does_not_start() -> None:
    with pytest.raises(NoRegion, match="AWS_REGION"):
        Services({})
