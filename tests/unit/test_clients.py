"""Where the services are, by our own client and by boto3, and within which limits."""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from call_recorder.adapters import (
    boto_clients,
    limits,
)
from call_recorder.adapters.aws_api.client import (
    DYNAMODB,
    SQS,
    SSM,
    Service,
    ServiceClient,
)
from call_recorder.adapters.aws_api.services import (
    NoRegion,
    Services,
)
from call_recorder.adapters.operations import CallFailed

ENVIRONMENT = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("parameters", limits.PARAMETERS),
        ("facts", limits.FACT),
        ("notifications", limits.NOTIFICATION),
        ("calls", limits.KNOWN_CALL),
        ("listing", limits.LISTING),
    ],
)
def test_each_call_that_somebody_waits_for_has_its_limits(name: str, within: limits.Limits) -> None:
    assert getattr(Services(ENVIRONMENT), name).limits == within


@pytest.mark.parametrize(
    ("name", "service", "within"),
    [
        ("create_dynamodb", "dynamodb", limits.BACKGROUND),
        ("create_eventbridge", "events", limits.BACKGROUND),
        ("create_sqs", "sqs", limits.BACKGROUND),
        ("create_dynamodb_client", "dynamodb", limits.BACKGROUND),
        ("create_ssm_client", "ssm", limits.STORAGE_CREDENTIALS),
        ("create_iam_client", "iam", limits.ACCESS_KEYS),
        ("create_iam_cleanup_client", "iam", limits.CLEANUP),
        ("create_eventbridge_client", "events", limits.CLEANUP),
        ("create_cloudformation_client", "cloudformation", limits.CLEANUP),
    ],
)
def test_boto3_has_its_limits_and_standard_retries(name: str, service: str, within: limits.SdkLimits) -> None:
    made: Any = getattr(boto_clients, name)()
    client: Any = made._client if isinstance(made, boto_clients.BotoService) else made
    config = client.meta.config

    assert client.meta.service_model.service_name == service
    assert config.retries == {"mode": "standard", "total_max_attempts": within.attempts}
    assert (config.connect_timeout, config.read_timeout) == (within.connect, within.read)
    assert config.max_pool_connections == limits.MAX_PARALLEL_CALLS


class Attempts:
    """What a client sends, answered with failures first. Between attempts it only notes how long it would wait."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch, *failures: AWSResponse | Exception) -> None:
        self.made = 0
        self.waits: list[float] = []
        self._failures = list(failures)
        monkeypatch.setattr("botocore.endpoint.time.sleep", self.waits.append)
        client._client.meta.events.register("before-send.*.*", self._send)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self.made += 1
        if not self._failures:
            return answer(200, b"{}")
        failure = self._failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        return failure


class Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._content


def answer(status: int, content: bytes) -> AWSResponse:
    return AWSResponse("https://dynamodb.example", status, {"content-type": "application/x-amz-json-1.0"}, Raw(content))  # type: ignore[arg-type]


THROTTLED = b'{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}'


def put(client: boto_clients.BotoService) -> dict[str, Any]:
    return client.call("PutItem", {"TableName": "t", "Item": {"key": {"S": "v"}}})


def test_behind_the_queue_throttling_a_failure_and_a_timeout_are_met_by_waiting_and_trying_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for failures in (
        [answer(400, THROTTLED)] * 2,
        [answer(503, b"<html>")] * 2,
        [ReadTimeoutError(endpoint_url="https://dynamodb.example")] * 2,
    ):
        client = boto_clients.create_dynamodb()
        attempts = Attempts(client, monkeypatch, *failures)

        put(client)

        assert attempts.made == 3
        assert len(attempts.waits) == 2
        assert sum(attempts.waits) <= 3


def test_what_boto3_gives_up_on_is_told_by_operation_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto_clients.create_dynamodb()
    Attempts(client, monkeypatch, *[answer(400, THROTTLED)] * limits.BACKGROUND.attempts)

    with pytest.raises(CallFailed, match="^PutItem: ProvisionedThroughputExceededException$"):
        put(client)


def test_a_refusal_is_tried_once_and_comes_with_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto_clients.create_dynamodb()
    refusal = b'{"__type": "x#ConditionalCheckFailedException", "Item": {"revision": {"N": "7"}}}'
    attempts = Attempts(client, monkeypatch, answer(400, refusal))

    with pytest.raises(CallFailed) as failure:
        put(client)
    assert failure.value.reason == "ConditionalCheckFailedException"
    assert failure.value.details["Item"] == {"revision": {"N": "7"}}
    assert attempts.made == 1


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({}, "https://sqs.eu-west-1.amazonaws.com"),
        ({"URL_SUFFIX": "amazonaws.com.cn"}, "https://sqs.eu-west-1.amazonaws.com.cn"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SQS": "http://sqs:2"}, "http://sqs:2"),
        ({"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:1"}, "https://sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_a_service_is_where_the_environment_says_or_where_aws_has_it(said: dict[str, str], url: str) -> None:
    assert Services(ENVIRONMENT | said).facts.url == url


@pytest.mark.parametrize("service", [SSM, SQS, DYNAMODB], ids=lambda service: service.name)
def test_a_service_is_spoken_to_as_botocore_describes_it(service: Service) -> None:
    described = botocore.session.get_session().get_service_model(service.name).metadata

    assert described["protocol"] == "json" or "json" in described["protocols"]
    assert (described["targetPrefix"], described["jsonVersion"]) == (service.target, service.json)
    assert described.get("signingName", described["endpointPrefix"]) == service.name


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", ""), ("us-gov-west-1", ""), ("cn-north-1", ".cn")])
@pytest.mark.parametrize("name", ["parameters", "facts", "calls"])
def test_it_is_where_boto3_would_look_for_it(name: str, region: str, suffix: str) -> None:
    environment = ENVIRONMENT | {"AWS_REGION": region, "URL_SUFFIX": f"amazonaws.com{suffix}"}
    endpoint: ServiceClient = getattr(Services(environment), name)
    client: Any = boto3.client(endpoint.service.name, region_name=region)  # type: ignore[call-overload]

    assert endpoint.url == client.meta.endpoint_url


def test_what_a_function_calls_of_one_service_shares_its_connections() -> None:
    endpoints = Services(ENVIRONMENT)
    facts, notifications = endpoints.facts, endpoints.notifications

    assert facts._idle is notifications._idle
    assert facts._idle is not endpoints.parameters._idle
    assert facts.limits != notifications.limits


def test_without_a_region_nothing_is_composed() -> None:
    with pytest.raises(NoRegion, match="AWS_REGION"):
        Services({})
