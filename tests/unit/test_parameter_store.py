"""What is read ahead is read once, beside other work, and used while it is fresh."""

import threading
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from call_recorder.adapters.operations import CallFailed
from call_recorder.adapters.ssm import (
    MAX_PREFETCH_AGE_SECONDS,
    ParameterStore,
)
from call_recorder.answering.parameter_names import PARAMETERS
from call_recorder.facts.errors import ParametersUnavailable
from tests.aws import ThroughBoto3


class Ssm:
    """SSM, which answers when it is let, or fails."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.let = threading.Event()
        self.fails = False
        self.let.set()

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "GetParameters"
        self.asked.append(parameters["Names"])
        assert self.let.wait(5)
        if self.fails:
            raise CallFailed(operation, "TimeoutError")
        return {"Parameters": [{"Name": name, "Value": name.upper()} for name in parameters["Names"][:2]]}


FOUND = {"application-secrets": "/P/A/APPLICATION-SECRETS", "storage-credentials": "/P/A/STORAGE-CREDENTIALS"}


class Seconds:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_what_was_read_ahead_is_not_asked_for_again_and_used_once() -> None:
    ssm = Ssm()
    store = ParameterStore(ssm, "p", listing=ssm, clock=Seconds())
    ssm.let.clear()
    store.prefetch("a")
    ssm.let.set()

    assert store.read("a") == FOUND
    assert len(ssm.asked) == 1
    assert store.read("a") == FOUND
    assert len(ssm.asked) == 2


def test_reading_ahead_keeps_nobody_waiting() -> None:
    ssm = Ssm()
    ssm.let.clear()
    ParameterStore(ssm, "p", listing=ssm).prefetch("a")  # would wait for as long as the event is not set

    ssm.let.set()


def test_another_application_than_the_expected_one_is_asked_for() -> None:
    ssm = Ssm()
    store = ParameterStore(ssm, "p", listing=ssm, clock=Seconds())
    store.prefetch("expected")

    assert store.read("a") == FOUND
    assert [names[0] for names in ssm.asked] == ["/p/expected/application-secrets", "/p/a/application-secrets"]


def test_what_was_read_too_long_ago_is_asked_for_again() -> None:
    ssm, clock = Ssm(), Seconds()
    store = ParameterStore(ssm, "p", listing=ssm, clock=clock)
    store.prefetch("a")
    clock.now += MAX_PREFETCH_AGE_SECONDS

    assert store.read("a") == FOUND
    assert len(ssm.asked) == 2


def test_a_failure_ahead_is_the_failure_of_the_first_read_alone() -> None:
    ssm = Ssm()
    store = ParameterStore(ssm, "p", listing=ssm, clock=Seconds())
    ssm.fails = True
    store.prefetch("a")

    with pytest.raises(ParametersUnavailable, match="^GetParameters: TimeoutError$"):
        store.read("a")
    assert len(ssm.asked) == 1
    ssm.fails = False
    assert store.read("a") == FOUND


def test_applications_are_those_whose_secrets_lie_right_below_the_prefix() -> None:
    with mock_aws():
        client = boto3.client("ssm")
        for name in (
            *(f"p/app-{number:02}/{parameter}" for number in range(40) for parameter in PARAMETERS),
            *("p/half/recording-profile", "p/uploader-key", "p/deeper/app/application-secrets"),
            *("application-secrets", "p/application-secrets", "pp/app/application-secrets"),
        ):
            client.put_parameter(Name=f"/{name}", Value="value", Type="String")
        store = ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client))
        pages = [store.list_applications(None)]
        while following := pages[-1].next:
            pages.append(store.list_applications(following))

    assert len(pages) > 1
    assert sorted(key for page in pages for key in page.keys) == [f"app-{number:02}" for number in range(40)]


def test_a_list_that_is_refused_is_told_by_the_code() -> None:
    client = boto3.client("ssm")
    store = ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client))
    with Stubber(client) as stub:
        stub.add_client_error("describe_parameters", service_error_code="AccessDeniedException", http_status_code=400)
        with pytest.raises(ParametersUnavailable, match="^DescribeParameters: AccessDeniedException$"):
            store.list_applications(None)
