"""An application's parameters are one call to SSM. Those that are read ahead are used once, while they are fresh."""

import threading
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto import mock_aws

from call_recorder.adapters.ssm import MAX_PREFETCH_AGE_SECONDS, ParameterStore
from call_recorder.answering.parameter_names import PARAMETERS
from call_recorder.facts.errors import ParametersUnavailable
from tests.aws import ThroughBoto3

FOUND = {"application-secrets": "/P/A/APPLICATION-SECRETS", "storage-credentials": "/P/A/STORAGE-CREDENTIALS"}


class Ssm:
    """SSM, which answers while it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.allowed = threading.Event()
        self.allowed.set()
        self.now = 50.0
        self.store = ParameterStore(self, "p", listing=self, clock=lambda: self.now)

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert (operation, parameters["WithDecryption"]) == ("GetParameters", True)
        self.asked.append(parameters["Names"])
        assert self.allowed.wait(5)
        return {"Parameters": [{"Name": name, "Value": name.upper()} for name in parameters["Names"][:2]]}


@pytest.fixture
def ssm() -> Ssm:
    return Ssm()


def test_parameters_that_were_read_ahead_are_used_once_without_another_call(ssm: Ssm) -> None:
    ssm.allowed.clear()
    ssm.store.prefetch("a")  # would wait if it were not beside other work
    ssm.allowed.set()

    assert ssm.store.read("a") == FOUND
    assert ssm.asked == [[f"/p/a/{name}" for name in PARAMETERS]]
    assert ssm.store.read("a") == FOUND
    assert len(ssm.asked) == 2


@pytest.mark.parametrize(("ahead", "passed"), [("expected", 0), ("a", MAX_PREFETCH_AGE_SECONDS)])
def test_parameters_of_another_application_or_old_ones_are_asked_for(ssm: Ssm, ahead: str, passed: float) -> None:
    ssm.store.prefetch(ahead)
    ssm.now += passed

    assert ssm.store.read("a") == FOUND
    assert sorted(names[0] for names in ssm.asked) == sorted(f"/p/{key}/application-secrets" for key in (ahead, "a"))


@mock_aws
def test_applications_are_listed_by_secrets_right_below_the_prefix_and_read_decrypted() -> None:
    client = boto3.client("ssm")
    for name in (
        *(f"p/app-{number:02}/{parameter}" for number in range(40) for parameter in PARAMETERS),
        *("p/half/recording-profile", "p/uploader-key", "p/deeper/app/application-secrets"),
        *("application-secrets", "p/application-secrets", "pp/app/application-secrets"),
    ):
        client.put_parameter(Name=f"/{name}", Value=f"the {name}", Type="SecureString")
    store = ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client))
    pages = [store.list_applications(None)]
    while following := pages[-1].next:
        pages.append(store.list_applications(following))

    assert len(pages) > 1
    assert sorted(key for page in pages for key in page.keys) == [f"app-{number:02}" for number in range(40)]
    assert store.read("app-01") == {name: f"the p/app-01/{name}" for name in PARAMETERS}


def test_an_error_of_ssm_names_operation_and_code() -> None:
    code = "ThrottlingException"
    client = boto3.client("ssm")
    store = ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client))
    with Stubber(client) as stub:
        page = {"ParameterFilters": ANY, "MaxResults": 50}  # and not more, says AWS
        for operation, parameters in (("get_parameters", None), ("describe_parameters", page)):
            stub.add_client_error(operation, code, http_status_code=400, expected_params=parameters)
        with pytest.raises(ParametersUnavailable, match=f"^GetParameters: {code}$"):
            store.read("a")
        with pytest.raises(ParametersUnavailable, match=f"^DescribeParameters: {code}$"):
            store.list_applications(None)
