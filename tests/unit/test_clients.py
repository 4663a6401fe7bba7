"""The time limits add up: a caller waits for ICE, Sinch for a notification, the queue for the function."""

from typing import Any

import boto3
import botocore.session
import pytest

from call_recorder.aws import clients
from call_recorder.aws.endpoint import DYNAMODB, EVENTS, SQS, SSM, Endpoint, Service
from call_recorder.aws.endpoints import Endpoints, NoRegion

ENVIRONMENT = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


def test_the_worst_case_of_an_ice_is_under_two_seconds() -> None:
    endpoints = Endpoints(ENVIRONMENT)

    assert endpoints.parameters().limits.longest + endpoints.facts().limits.longest < 2


def test_a_fact_is_not_tried_twice_while_a_caller_waits() -> None:
    assert Endpoints(ENVIRONMENT).facts().limits.attempts == 1


def test_the_worst_case_of_a_notification_is_under_what_sinch_documents_for_its_newer_api() -> None:
    assert Endpoints(ENVIRONMENT).notifications().limits.longest < 5


@pytest.mark.parametrize("name", ["tables", "bus"])
def test_behind_the_queue_a_call_may_take_longer_but_not_the_functions_ten_seconds(name: str) -> None:
    assert getattr(Endpoints(ENVIRONMENT), name)().limits.longest <= 4


def test_the_watchdogs_reads_keep_within_its_minute() -> None:
    config: Any = clients.index().meta.config

    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert 2 * (config.connect_timeout + config.read_timeout) + 1 <= 4


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
    assert Endpoints(ENVIRONMENT | said).facts().url == url


@pytest.mark.parametrize("service", [SSM, SQS, DYNAMODB, EVENTS], ids=lambda service: service.name)
def test_a_service_is_spoken_to_as_botocore_describes_it(service: Service) -> None:
    described = botocore.session.get_session().get_service_model(service.name).metadata

    assert described["protocol"] == "json" or "json" in described["protocols"]
    assert (described["targetPrefix"], described["jsonVersion"]) == (service.target, service.json)
    assert described.get("signingName", described["endpointPrefix"]) == service.name


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", ""), ("us-gov-west-1", ""), ("cn-north-1", ".cn")])
@pytest.mark.parametrize("name", ["parameters", "facts", "tables", "bus"])
def test_it_is_where_boto3_would_look_for_it(name: str, region: str, suffix: str) -> None:
    environment = ENVIRONMENT | {"AWS_REGION": region, "URL_SUFFIX": f"amazonaws.com{suffix}"}
    endpoint: Endpoint = getattr(Endpoints(environment), name)()
    client: Any = boto3.client(endpoint.service.name, region_name=region)  # type: ignore[call-overload]

    assert endpoint.url == client.meta.endpoint_url


def test_what_a_function_calls_of_one_service_shares_its_connections() -> None:
    endpoints = Endpoints(ENVIRONMENT)
    facts, notifications = endpoints.facts(), endpoints.notifications()

    assert facts._idle is notifications._idle
    assert facts._idle is not endpoints.parameters()._idle
    assert facts.limits.attempts < notifications.limits.attempts


def test_without_a_region_nothing_is_composed() -> None:
    with pytest.raises(NoRegion, match="AWS_REGION"):
        Endpoints({})
