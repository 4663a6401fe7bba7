"""The uploader's keys in IAM and in the parameters: which are read and written, and which are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from moto import mock_aws
from pydantic import SecretStr

from call_recorder.adapters import boto_clients
from call_recorder.adapters.iam_keys import MAX_NAMES, UploaderKeys
from call_recorder.facts.errors import AccessKeysUnavailable, ParametersUnavailable, UploaderMissing
from call_recorder.uploader_key.plan import NewestKey, Observation
from tests import sinch
from tests.keys import PROFILE, REGION, USER

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

KMS_KEY = "arn:aws:kms:eu-west-1:123456789012:key/6e1c1a52-5a3c-4f0e-9d5b-8a4b6f1f7d11"


class Clients:
    """The real clients with a fake AWS, and the calls to SSM."""

    def __init__(self) -> None:
        self.iam: IAMClient = boto_clients.create_iam_client()
        self.ssm: SSMClient = boto_clients.create_ssm_client()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ssm.meta.events.register("provide-client-params.ssm", self._note)

    def _note(self, params: dict[str, Any], model: Any, **_: object) -> None:
        self.asked.append((model.name, params))

    def keys(self, *, prefix: str = "call-recorder", kms_key: str = "") -> UploaderKeys:
        return UploaderKeys(self.iam, self.ssm, user=USER, prefix=prefix, kms_key=kms_key)

    def put(self, name: str, value: str = "value") -> None:
        self.ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def value(self, name: str) -> str:
        return self.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]


@pytest.fixture
def aws() -> Iterator[Clients]:
    with mock_aws():
        made = Clients()
        made.iam.create_user(UserName=USER)
        yield made


def test_a_key_is_made_switched_off_and_deleted(aws: Clients) -> None:
    keys = aws.keys()
    assert keys.observe() == Observation(USER)

    made = keys.create()
    assert made.key.active
    assert made.secret.get_secret_value()
    [listed] = keys.observe().keys
    assert (listed.id, listed.active) == (made.key.id, True)
    assert abs(datetime.now(UTC) - listed.created).total_seconds() < 60

    keys.deactivate(made.key.id)
    assert [key.active for key in keys.observe().keys] == [False]

    for _ in range(2):
        keys.delete(made.key.id)
    assert keys.observe().keys == ()

    aws.iam.delete_user(UserName=USER)
    with pytest.raises(UploaderMissing):
        keys.observe()


def test_the_newest_key_is_read_as_written_and_overwritten_only_on_request(aws: Clients) -> None:
    first = NewestKey("AKIA3", SecretStr("secret/+"), USER, sinch.NOW, frozenset({"AKIA1", "AKIA2"}))
    second = NewestKey("AKIA4", SecretStr("secret"), USER, sinch.NOW)
    aws.keys().save_newest(first, overwrite=False)
    with pytest.raises(ParametersUnavailable, match="^PutParameter /call-recorder/uploader-key: ParameterAlreadyExist"):
        aws.keys().save_newest(second, overwrite=False)

    assert aws.value("/call-recorder/uploader-key") == f"AKIA3:secret/+:AKIA1,AKIA2:{USER}"
    seen = aws.keys().observe().newest
    assert seen
    assert replace(seen, written=first.written) == first

    aws.keys().save_newest(second, overwrite=True)
    assert aws.value("/call-recorder/uploader-key") == second.to_text().get_secret_value()


def test_only_credentials_and_profiles_of_applications_are_observed(aws: Clients) -> None:
    for name in (
        "/call-recorder/one/application-secrets",
        "/call-recorder/three/application-secrets",
        "/call-recorder/eu/one/storage-credentials",
        "/call-recorder/eu/uploader-key",
        "/call-recorder/one/notes",
        "/call-recorder/storage-credentials",
        "/call-recorder-2/one/storage-credentials",
        "/other/one/storage-credentials",
    ):
        aws.put(name)
    assert aws.keys().observe() == Observation(USER)

    aws.put("/call-recorder/one/recording-profile", PROFILE)
    aws.keys().hand_out("one", SecretStr(f"AKIA1:secret:{REGION}"))
    aws.put("/call-recorder/two/recording-profile", "{}")
    one, two = aws.keys().observe().holders

    assert (one.application, one.key_id) == ("one", "AKIA1")
    assert one.profile
    assert one.profile.text.get_secret_value() == PROFILE
    assert (two.application, two.credentials) == ("two", None)
    assert [holder.profile for holder in aws.keys().observe(profiles=False).holders] == [None, None]
    assert [holder.application for holder in aws.keys(prefix="call-recorder/eu").observe().holders] == ["one"]


def test_application_secrets_are_never_read_and_ten_names_make_one_call(aws: Clients) -> None:
    applications = [f"app-{number:02}" for number in range(30)]
    for application in applications:
        for name in ("application-secrets", "storage-credentials", "recording-profile"):
            aws.put(f"/call-recorder/{application}/{name}")
    aws.asked.clear()

    assert [holder.application for holder in aws.keys().observe().holders] == applications

    reads = [parameters for operation, parameters in aws.asked if operation == "GetParameters"]
    assert {operation for operation, _ in aws.asked} == {"DescribeParameters", "GetParameters"}
    assert len(reads) == -(-61 // MAX_NAMES)
    assert all(len(read["Names"]) <= MAX_NAMES for read in reads)
    assert not [name for read in reads for name in read["Names"] if name.endswith("application-secrets")]


def test_a_parameter_is_encrypted_with_the_stacks_key_if_it_has_one(aws: Clients) -> None:
    aws.keys(kms_key=KMS_KEY).hand_out("one", SecretStr("text"))
    aws.keys().hand_out("one", SecretStr("text"))

    [(_, with_key), (_, without)] = aws.asked
    assert without == {
        "Name": "/call-recorder/one/storage-credentials",
        "Value": "text",
        "Type": "SecureString",
        "Overwrite": True,
    }
    assert with_key == without | {"KeyId": KMS_KEY}


CALLS: dict[str, Callable[[UploaderKeys], object]] = {
    "ListAccessKeys": lambda keys: keys.observe(),
    "CreateAccessKey": lambda keys: keys.create(),
    "UpdateAccessKey": lambda keys: keys.deactivate("AKIAOFTHEUPLOADER"),
    "DeleteAccessKey": lambda keys: keys.delete("AKIAOFTHEUPLOADER"),
    "DescribeParameters": lambda keys: keys.observe(),
    "GetParameters": lambda keys: keys.observe(),
    "PutParameter /call-recorder/uploader-key": lambda keys: keys.save_newest(
        NewestKey("AKIA", SecretStr("secret"), USER, sinch.NOW), overwrite=True
    ),
    "PutParameter /call-recorder/one/storage-credentials": lambda keys: keys.hand_out("one", SecretStr("AKIA:secret")),
}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ClientError({"Error": {"Code": "AccessDenied"}}, "Operation"), "AccessDenied"),
        (ConnectTimeoutError(endpoint_url="https://aws.example"), "ConnectTimeoutError"),
    ],
    ids=["refused", "out of reach"],
)
def test_a_failed_call_is_reported_by_operation_and_reason(aws: Clients, failure: Exception, reason: str) -> None:
    def fail(**_: object) -> None:
        raise failure

    for name, call in CALLS.items():
        error, client = (AccessKeysUnavailable, aws.iam) if "AccessKey" in name else (ParametersUnavailable, aws.ssm)
        event = f"before-call.{client.meta.service_model.service_name}.{name.split()[0]}"
        client.meta.events.register(event, fail)
        with pytest.raises(error, match=f"^{name}: {reason}$"):
            call(aws.keys())
        client.meta.events.unregister(event, fail)


def test_a_call_that_makes_a_key_is_never_repeated() -> None:
    assert boto_clients.create_iam_client().meta.config.retries["total_max_attempts"] == 1  # type: ignore[attr-defined]
