import json
import re
from typing import Any

import pytest

from tests.template.stack import Stack


@pytest.fixture
def stage(stack: Stack) -> dict[str, Any]:
    [stage] = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    return stage


def test_the_api_listens_only_to_post_callbacks(stack: Stack, stage: dict[str, Any]) -> None:
    """The stage puts nothing in front of the signed path."""
    [api] = stack.of_type("AWS::ApiGatewayV2::Api").values()
    routes = {(path, method) for path, methods in api["Body"]["paths"].items() for method in methods}

    assert routes == {("/callbacks", "post")}
    integration = api["Body"]["paths"]["/callbacks"]["post"]["x-amazon-apigateway-integration"]
    assert integration["payloadFormatVersion"] == "2.0"
    assert integration["uri"].endswith("/functions/CallbackFunctionAliaslive/invocations")
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)


def test_callbacks_are_throttled() -> None:
    [stage] = Stack(ThrottlingRateLimit=7, ThrottlingBurstLimit=9).of_type("AWS::ApiGatewayV2::Stage").values()

    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 7, "ThrottlingBurstLimit": 9}


LOGGED = {
    *("requestId", "requestTime", "httpMethod", "routeKey", "status", "responseLength", "responseLatency"),
    *("identity.sourceIp", "integration.status", "integration.latency", "integrationErrorMessage"),
    "error.responseType",
}
"""All that the access log may have: one more variable could be a header, a body or a query string."""

WRITTEN_BY_THE_SENDER = ("path", "domainName", "domainPrefix", "identity.userAgent", "error.message", "protocol")
FORGED = '/x", "status": "429", "sourceIp": "192.0.2.1", "path": "'


def test_the_access_log_has_no_content_and_cannot_be_forged(stage: dict[str, Any]) -> None:
    """API Gateway writes the sender's text as it is."""
    log = stage["AccessLogSettings"]["Format"]
    values = {f"$context.{name}": FORGED for name in WRITTEN_BY_THE_SENDER}

    line = re.sub(r"\$context[A-Za-z.]*", lambda variable: values.get(variable[0], "-"), log)

    assert stage["AccessLogSettings"]["DestinationArn"] == "CallbackApiLogGroup.Arn"
    assert "\n" not in log
    assert set(json.loads(log).values()) == {"the-stack", *(f"$context.{name}" for name in LOGGED)}
    assert json.loads(line) == dict.fromkeys(json.loads(log), "-") | {"service": "the-stack"}


@pytest.mark.parametrize(
    ("parameters", "disabled"),
    [
        ({}, False),
        ({"CallbackHost": "voice.example.com"}, False),
        ({"CallbackHost": "voice.example.com", "DefaultEndpoint": "off"}, True),
    ],
)
def test_the_default_endpoint_can_be_switched_off(parameters: dict[str, str], disabled: bool) -> None:
    stack = Stack(**parameters)
    [api] = stack.of_type("AWS::ApiGatewayV2::Api").values()
    [server] = api["Body"]["servers"]

    assert server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"] is disabled
    assert stack.refusals() == []


def test_an_api_without_any_endpoint_is_refused() -> None:
    [refusal] = Stack(DefaultEndpoint="off").refusals()

    assert "CallbackHost" in refusal
