"""Where the services are, by our own client and by boto3, and within which limits."""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
import pytest

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.aws_api.client import DYNAMODB, SQS, SSM, Service, ServiceClient
from call_recorder.adapters.aws_api.services import NoRegion, Services

ENVIRONMENT = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("make", "service", "within"),
    [
        (boto_clients.create_dynamodb, "dynamodb", limits.BACKGROUND),
        (boto_clients.create_ssm_client, "ssm", limits.STORAGE_CREDENTIALS),
        (boto_clients.create_iam_client, "iam", limits.ACCESS_KEYS),
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


@pytest.mark.parametrize(
    ("environment", "url"),
    [
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


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", ""), ("cn-north-1", ".cn")])
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
