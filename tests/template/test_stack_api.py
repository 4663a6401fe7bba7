import json
import re
from typing import Any

import pytest

from tests.template.stack import Stack


@pytest.fixture
def stage(stack: Stack) -> dict[str, Any]:
    [stage] = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    return stage


def test_the_api_listens_to_post_callbacks_and_to_nothing_else(stack: Stack) -> None:
    [api] = stack.of_type("AWS::ApiGatewayV2::Api").values()
    routes = {(path, method) for path, methods in api["Body"]["paths"].items() for method in methods}

    assert routes == {("/callbacks", "post")}
    integration = api["Body"]["paths"]["/callbacks"]["post"]["x-amazon-apigateway-integration"]
    assert integration["payloadFormatVersion"] == "2.0"
    assert integration["uri"].endswith(":lambda:path/2015-03-31/functions/CallbackFunctionAliaslive/invocations")


def test_the_url_has_no_stage_in_front_of_the_signed_path(stage: dict[str, Any]) -> None:
    assert stage["StageName"] == "$default"
    assert stage["AutoDeploy"] is True


def test_callbacks_are_throttled() -> None:
    limited = Stack(ThrottlingRateLimit=7, ThrottlingBurstLimit=9)
    [stage] = limited.of_type("AWS::ApiGatewayV2::Stage").values()

    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 7, "ThrottlingBurstLimit": 9}


def test_the_access_log_tells_what_happened_and_nothing_of_what_was_said(stack: Stack, stage: dict[str, Any]) -> None:
    """Every variable is listed, because one more may be a header, a body or a query string."""
    settings = stage["AccessLogSettings"]

    assert settings["DestinationArn"] == "CallbackApiLogGroup.Arn"
    assert "\n" not in settings["Format"]
    assert set(json.loads(settings["Format"]).values()) == {
        "the-stack",
        "$context.requestId",
        "$context.requestTime",
        "$context.identity.sourceIp",
        "$context.httpMethod",
        "$context.routeKey",
        "$context.status",
        "$context.responseLength",
        "$context.responseLatency",
        "$context.integration.status",
        "$context.integration.latency",
        "$context.error.responseType",
        "$context.integrationErrorMessage",
    }
    assert stack.properties("CallbackApiLogGroup")["RetentionInDays"] == 30


# What a sender, or what is in front of the API, puts into a request goes into the log as it is.
WRITTEN_BY_THE_SENDER = ("path", "domainName", "domainPrefix", "identity.userAgent", "error.message", "protocol")
FORGED = '/x", "status": "429", "sourceIp": "192.0.2.1", "path": "'


def test_nothing_in_a_request_can_forge_a_field_of_the_access_log(stage: dict[str, Any]) -> None:
    values = {f"$context.{name}": FORGED for name in WRITTEN_BY_THE_SENDER}
    log = stage["AccessLogSettings"]["Format"]

    line = re.sub(r"\$context[A-Za-z.]*", lambda variable: values.get(variable[0], "-"), log)

    assert json.loads(line) == dict.fromkeys(json.loads(log), "-") | {"service": "the-stack"}


def test_the_default_endpoint_is_on_unless_it_is_switched_off(stack: Stack) -> None:
    def disabled(stack: Stack) -> Any:
        [api] = stack.of_type("AWS::ApiGatewayV2::Api").values()
        [server] = api["Body"]["servers"]
        return server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"]

    assert disabled(stack) is False
    assert disabled(Stack(CallbackHost="voice.example.com")) is False
    assert disabled(Stack(CallbackHost="voice.example.com", DefaultEndpoint="off")) is True


def test_an_api_that_nobody_could_reach_is_refused(stack: Stack) -> None:
    assert stack.refusals() == []
    assert Stack(CallbackHost="voice.example.com", DefaultEndpoint="off").refusals() == []
    [refusal] = Stack(DefaultEndpoint="off").refusals()
    assert "CallbackHost" in refusal
