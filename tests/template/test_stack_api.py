"""The API listens to signed callbacks only, at the addresses that the operator chose, and logs nothing secret."""

import json
import re
from typing import Any

import pytest

from tests.template.stack import Stack

HOST = {"CallbackHost": "voice.example.com"}
LOGGED = {
    *("requestId", "requestTime", "httpMethod", "routeKey", "status", "responseLength", "responseLatency"),
    *("identity.sourceIp", "integration.status", "integration.latency", "integrationErrorMessage"),
    "error.responseType",
}
"""All that the access log may have: one more variable could be a header, a body or a query string."""
WRITTEN_BY_THE_SENDER = ("path", "domainName", "domainPrefix", "identity.userAgent", "error.message", "protocol")
FORGED = '/x", "status": "429", "sourceIp": "192.0.2.1", "path": "'


def stage(stack: Stack) -> dict[str, Any]:
    [properties] = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    return properties


def test_the_api_listens_only_to_post_callbacks(stack: Stack) -> None:
    """The stage puts nothing in front of the signed path."""
    paths = stack.properties("CallbackApi")["Body"]["paths"]
    integration = paths["/callbacks"]["post"]["x-amazon-apigateway-integration"]

    assert [(path, *methods) for path, methods in paths.items()] == [("/callbacks", "post")]
    assert integration["payloadFormatVersion"] == "2.0"
    assert integration["uri"].endswith("/functions/CallbackFunctionAliaslive/invocations")
    assert (stage(stack)["StageName"], stage(stack)["AutoDeploy"]) == ("$default", True)
    limited = stage(Stack(ThrottlingRateLimit=7, ThrottlingBurstLimit=9))
    assert limited["DefaultRouteSettings"] == {"ThrottlingRateLimit": 7, "ThrottlingBurstLimit": 9}


def test_the_access_log_has_no_content_and_cannot_be_forged(stack: Stack) -> None:
    """API Gateway writes the sender's text as it is."""
    settings = stage(stack)["AccessLogSettings"]
    values = {f"$context.{name}": FORGED for name in WRITTEN_BY_THE_SENDER}
    log = settings["Format"]

    line = re.sub(r"\$context[A-Za-z.]*", lambda variable: values.get(variable[0], "-"), log)

    assert settings["DestinationArn"] == "CallbackApiLogGroup.Arn"
    assert "\n" not in log
    assert set(json.loads(log).values()) == {"the-stack", *(f"$context.{name}" for name in LOGGED)}
    assert json.loads(line) == dict.fromkeys(json.loads(log), "-") | {"service": "the-stack"}


@pytest.mark.parametrize(
    ("parameters", "url", "disabled"),
    [
        ({}, "https://CallbackApi.execute-api.eu-west-1.amazonaws.com/callbacks", False),
        (HOST | {"CallbackPath": "/voice/callbacks"}, "https://voice.example.com/voice/callbacks", False),
        (HOST | {"DefaultEndpoint": "off"}, "https://voice.example.com/callbacks", True),
    ],
)
def test_the_callback_url_is_an_address_that_answers(parameters: dict[str, str], url: str, disabled: bool) -> None:
    stack = Stack(**parameters)
    [server] = stack.properties("CallbackApi")["Body"]["servers"]

    assert stack.outputs["CallbackUrl"]["Value"] == url
    assert server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"] is disabled
    assert stack.refusals() == []
    [refusal] = Stack(DefaultEndpoint="off").refusals()
    assert "CallbackHost" in refusal, "no address would answer"
