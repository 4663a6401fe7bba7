import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from call_recorder.adapters.ssm import ParameterStore
from call_recorder.answering.application_cache import (
    GONE_SECONDS,
    MAX_APPLICATIONS,
    RETRY_SECONDS,
    ApplicationCache,
)
from call_recorder.answering.registered_applications import (
    MAX_FAILURES,
    UNKNOWN_SECONDS,
)
from call_recorder.facts.errors import (
    ParametersUnavailable,
    UnknownApplication,
)
from call_recorder.sinch.signature import decode_secret
from tests import sinch
from tests.aws import ThroughBoto3
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS, STORAGE_SECRET

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

TTL = 300.0


class Ssm:
    """The real client before a made-up SSM, with a count of its calls and a switch to make them fail."""

    def __init__(self) -> None:
        self.client: SSMClient = boto3.client("ssm")
        self.calls: list[dict[str, Any]] = []
        self.down = False
        self.client.meta.events.register("provide-client-params.ssm.GetParameters", self._note)
        self.client.meta.events.register("before-call.ssm.GetParameters", self._fail)

    def _note(self, params: dict[str, Any], **_: object) -> None:
        self.calls.append(params)

    def _fail(self, **_: object) -> None:
        if self.down:
            raise ConnectTimeoutError(endpoint_url="https://ssm.example")

    def put(self, name: str, value: str, key: str = sinch.APPLICATION) -> None:
        secure = name != "recording-profile"
        self.client.put_parameter(
            Name=f"/call-recorder/{key}/{name}",
            Value=value,
            Type="SecureString" if secure else "String",
            Overwrite=True,
        )

    def put_all(self, key: str = sinch.APPLICATION) -> None:
        self.put("application-secrets", sinch.SECRET, key)
        self.put("storage-credentials", STORAGE_CREDENTIALS, key)
        self.put("recording-profile", json.dumps(RECORD_ALL), key)

    def delete(self, name: str, key: str = sinch.APPLICATION) -> None:
        self.client.delete_parameter(Name=f"/call-recorder/{key}/{name}")

    def delete_all(self, key: str = sinch.APPLICATION) -> None:
        names = ("application-secrets", "storage-credentials", "recording-profile")
        self.client.delete_parameters(Names=[f"/call-recorder/{key}/{name}" for name in names])


class Seconds:
    """Seconds that go up when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Parameters:
    """ApplicationCache read from a made-up SSM."""

    def __init__(self) -> None:
        self.ssm = Ssm()
        self.clock = Seconds()
        self.stale: list[str] = []
        ssm = ThroughBoto3(self.ssm.client)
        self.applications = ApplicationCache(
            ParameterStore(ssm, "call-recorder", listing=ssm),
            own_bucket=BUCKET,
            ttl_seconds=TTL,
            report_stale=self.stale.append,
            clock=self.clock,
        )
        self.get = self.applications.get


@pytest.fixture
def parameters() -> Iterator[Parameters]:
    with mock_aws():
        made = Parameters()
        made.ssm.put_all()
        yield made


def test_one_call_fetches_the_three_parameters_decrypted(parameters: Parameters) -> None:
    application = parameters.get(sinch.APPLICATION)

    assert application.recorder is not None
    assert application.recorder.credentials.get_secret_value() == STORAGE_CREDENTIALS
    folder = f"/call-recorder/{sinch.APPLICATION}/"
    assert parameters.ssm.calls == [
        {
            "Names": [
                folder + "application-secrets",
                folder + "storage-credentials",
                folder + "recording-profile",
            ],
            "WithDecryption": True,
        }
    ]


def test_the_warm_path_calls_nothing_until_the_ttl_is_over(parameters: Parameters) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.clock.now += TTL - 1
    again = parameters.get(sinch.APPLICATION)

    assert again is first
    assert len(parameters.ssm.calls) == 1

    parameters.clock.now += 1
    for _ in range(3):
        parameters.get(sinch.APPLICATION)
    assert len(parameters.ssm.calls) == 2


def test_a_new_value_counts_after_the_ttl(parameters: Parameters) -> None:
    parameters.get(sinch.APPLICATION)
    parameters.ssm.put("recording-profile", "{}")
    parameters.clock.now += TTL

    application = parameters.get(sinch.APPLICATION)

    assert application.recorder is not None
    assert application.recorder.profile.rules == ()
    assert not parameters.stale


def test_a_refresh_that_fails_serves_the_last_good_value_and_is_told(parameters: Parameters) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.down = True
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION) is first
    assert parameters.stale == ["GetParameters: ConnectTimeoutError"]


def test_after_a_failed_refresh_callers_are_not_delayed_again_at_once(parameters: Parameters) -> None:
    parameters.get(sinch.APPLICATION)
    parameters.ssm.down = True
    parameters.clock.now += TTL
    for _ in range(5):
        parameters.get(sinch.APPLICATION)
    assert len(parameters.stale) == 1

    parameters.ssm.down = False
    parameters.ssm.put("recording-profile", "{}")
    parameters.clock.now += RETRY_SECONDS

    application = parameters.get(sinch.APPLICATION)
    assert application.recorder is not None
    assert application.recorder.profile.rules == ()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("recording-profile", '{"destination": "s3://bucket/fixed.mp3"}', "recording-profile: destination: "),
        (
            "storage-credentials",
            "half",
            "storage-credentials: the rule everything records to s3: write KEY:SECRET:REGION",
        ),
    ],
)
def test_a_change_of_profile_or_credentials_that_cannot_work_leaves_the_last_good_recorder_in_use(
    parameters: Parameters, name: str, value: str, told: str
) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.put(name, value)
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION).recorder is first.recorder
    assert [problem for problem in parameters.stale if problem.startswith(told)]


def test_a_broken_profile_does_not_hold_up_the_rotation_of_a_secret(parameters: Parameters) -> None:
    parameters.get(sinch.APPLICATION)
    parameters.ssm.put("recording-profile", "{")
    parameters.ssm.put("application-secrets", sinch.PREVIOUS_SECRET)
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION).secrets == (decode_secret(sinch.PREVIOUS_SECRET),)


def test_a_broken_profile_does_not_hold_up_the_rotation_of_the_access_key(parameters: Parameters) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.put("recording-profile", "{")
    parameters.ssm.put("storage-credentials", "AKIDTHATISNEW:secret:eu-west-1")
    parameters.clock.now += TTL

    recorder = parameters.get(sinch.APPLICATION).recorder

    assert recorder is not None
    assert first.recorder is not None
    assert recorder.credentials.get_secret_value() == "AKIDTHATISNEW:secret:eu-west-1"
    assert recorder.profile == first.recorder.profile


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("application-secrets", "not base64!", "application-secrets: "),
    ],
)
def test_a_change_that_cannot_work_leaves_the_last_good_value_in_use(
    parameters: Parameters, name: str, value: str, told: str
) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.put(name, value)
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION) is first
    assert [problem for problem in parameters.stale if problem.startswith(told)]
    parameters.clock.now += RETRY_SECONDS - 1
    assert parameters.get(sinch.APPLICATION) is first


def test_a_profile_that_never_worked_is_replaced_as_soon_as_it_is_mended(parameters: Parameters) -> None:
    parameters.ssm.put("recording-profile", "{")
    assert parameters.get(sinch.APPLICATION).recorder is None

    parameters.ssm.put("recording-profile", "{}")
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION).recorder is not None
    assert not parameters.stale


def test_ssm_out_of_reach_and_nothing_cached_is_told_without_a_secret(parameters: Parameters) -> None:
    parameters.ssm.down = True

    with pytest.raises(ParametersUnavailable, match="^GetParameters: ConnectTimeoutError$"):
        parameters.get(sinch.APPLICATION)


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "InternalServerError"])
def test_an_error_of_ssm_is_told_by_its_code(code: str) -> None:
    client = boto3.client("ssm")
    applications = ApplicationCache(
        ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client)),
        own_bucket=BUCKET,
        ttl_seconds=TTL,
        report_stale=lambda problem: None,
        clock=Seconds(),
    )
    with Stubber(client) as stub:
        stub.add_client_error("get_parameters", service_error_code=code, http_status_code=400)
        with pytest.raises(ParametersUnavailable, match=f"^GetParameters: {code}$"):
            applications.get("app")


def test_an_unknown_application_is_not_looked_up_again_at_once(parameters: Parameters) -> None:
    for _ in range(3):
        with pytest.raises(UnknownApplication):
            parameters.get("nobody")
    assert len(parameters.ssm.calls) == 1

    parameters.ssm.put_all("nobody")
    parameters.clock.now += UNKNOWN_SECONDS

    assert parameters.get("nobody").key == "nobody"


def test_an_application_without_secrets_is_unknown_whatever_else_it_has(parameters: Parameters) -> None:
    parameters.ssm.put("recording-profile", "{}", "half")

    with pytest.raises(UnknownApplication):
        parameters.get("half")


def test_secrets_that_are_gone_for_one_refresh_stay_in_use_and_this_is_said(parameters: Parameters) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.delete("application-secrets")
    parameters.clock.now += TTL

    assert parameters.get(sinch.APPLICATION) is first
    assert [problem.partition(":")[0] for problem in parameters.stale] == ["application-secrets"]

    parameters.ssm.put("application-secrets", sinch.PREVIOUS_SECRET)
    parameters.clock.now += RETRY_SECONDS

    assert parameters.get(sinch.APPLICATION).secrets == (decode_secret(sinch.PREVIOUS_SECRET),)
    parameters.clock.now += TTL
    parameters.get(sinch.APPLICATION)
    assert len(parameters.stale) == 1


def test_secrets_that_are_gone_a_second_time_have_the_whole_grace_again(parameters: Parameters) -> None:
    parameters.get(sinch.APPLICATION)
    for _ in range(2):
        parameters.ssm.delete("application-secrets")
        parameters.clock.now += TTL
        parameters.get(sinch.APPLICATION)
        parameters.clock.now += GONE_SECONDS - 1
        parameters.get(sinch.APPLICATION)
        parameters.ssm.put("application-secrets", sinch.SECRET)
        parameters.clock.now += RETRY_SECONDS
        parameters.get(sinch.APPLICATION)


def test_an_application_whose_secrets_stay_gone_becomes_unknown_after_the_grace(parameters: Parameters) -> None:
    parameters.get(sinch.APPLICATION)
    parameters.ssm.delete_all()
    parameters.clock.now += TTL
    served_until = parameters.clock.now + GONE_SECONDS
    parameters.ssm.calls.clear()
    while parameters.clock.now < served_until:
        parameters.get(sinch.APPLICATION)
        parameters.clock.now += 1

    with pytest.raises(UnknownApplication):
        parameters.get(sinch.APPLICATION)
    assert len(parameters.ssm.calls) == GONE_SECONDS / RETRY_SECONDS + 1
    assert len(parameters.stale) == GONE_SECONDS / RETRY_SECONDS


def test_ssm_out_of_reach_while_secrets_are_gone_ends_nothing(parameters: Parameters) -> None:
    first = parameters.get(sinch.APPLICATION)
    parameters.ssm.delete("application-secrets")
    parameters.clock.now += TTL
    parameters.get(sinch.APPLICATION)
    parameters.ssm.down = True
    parameters.clock.now += GONE_SECONDS

    assert parameters.get(sinch.APPLICATION) is first


def test_secrets_that_never_worked_are_not_read_again_for_each_callback(parameters: Parameters) -> None:
    parameters.ssm.put("application-secrets", "not base64!", "broken")

    for _ in range(100):
        with pytest.raises(ParametersUnavailable):
            parameters.get("broken")

    assert len(parameters.ssm.calls) <= 2 * MAX_FAILURES


def test_only_so_many_applications_are_remembered_the_least_used_going_first() -> None:
    client = boto3.client("ssm")
    clock = Seconds()
    applications = ApplicationCache(
        ParameterStore(ThroughBoto3(client), "p", listing=ThroughBoto3(client)),
        own_bucket=BUCKET,
        ttl_seconds=TTL,
        report_stale=lambda problem: None,
        clock=clock,
    )

    def look_up(key: str) -> None:
        stub.add_response(
            "get_parameters",
            {
                "Parameters": [
                    {"Name": f"/p/{key}/application-secrets", "Value": sinch.SECRET},
                    {"Name": f"/p/{key}/recording-profile", "Value": "{}"},
                ]
            },
        )
        applications.get(key)

    with Stubber(client) as stub:
        for number in range(MAX_APPLICATIONS):
            look_up(f"app-{number}")
        applications.get("app-0")
        look_up("one-more")
        applications.get("app-0")
        look_up("app-1")
        stub.assert_no_pending_responses()


def test_no_error_shows_a_secret(parameters: Parameters) -> None:
    parameters.ssm.put("application-secrets", f"{sinch.SECRET},not base64!", "broken")

    with pytest.raises(ParametersUnavailable) as unavailable:
        parameters.get("broken")

    shown = f"{unavailable.value!r}{unavailable.value.__cause__!r}"
    assert sinch.SECRET not in shown
    assert "not base64!" not in shown
    assert STORAGE_SECRET not in repr(parameters.get(sinch.APPLICATION))
