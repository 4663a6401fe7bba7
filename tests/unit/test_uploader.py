"""The uploader's keys in IAM and in the parameters: what is read, what is written, and what is never looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber
from moto import mock_aws
from pydantic import SecretStr

from call_recorder.adapters import boto_clients
from call_recorder.adapters.iam_keys import MAX_NAMES, UploaderKeys
from call_recorder.facts.errors import AccessKeysUnavailable, ParametersUnavailable
from call_recorder.uploader_key.plan import NewestKey, Observation
from tests import sinch
from tests.keys import PROFILE, REGION, USER

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

KMS_KEY = "arn:aws:kms:eu-west-1:123456789012:key/6e1c1a52-5a3c-4f0e-9d5b-8a4b6f1f7d11"


class Clients:
    """The real clients before a made-up AWS, with what SSM was asked."""

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


def test_a_user_without_keys_and_parameters_is_seen_as_such(aws: Clients) -> None:
    assert aws.keys().observe() == Observation(USER)


def test_a_key_is_made_switched_off_and_deleted(aws: Clients) -> None:
    keys = aws.keys()
    made = keys.create()
    assert made.key.active
    assert made.secret.get_secret_value()
    [listed] = keys.observe().keys
    assert (listed.id, listed.active) == (made.key.id, True)
    assert abs(datetime.now(UTC) - listed.created).total_seconds() < 60

    keys.deactivate(made.key.id)
    [listed] = keys.observe().keys
    assert not listed.active

    keys.delete(made.key.id)
    assert keys.observe().keys == ()


def test_the_newest_key_is_seen_as_it_was_kept(aws: Clients) -> None:
    newest = NewestKey("AKIA3", SecretStr("secret/+"), USER, sinch.NOW, frozenset({"AKIA1", "AKIA2"}))
    aws.keys().save_newest(newest, overwrite=False)

    assert aws.value("/call-recorder/uploader-key") == f"AKIA3:secret/+:AKIA1,AKIA2:{USER}"
    seen = aws.keys().observe().newest
    assert seen
    assert replace(seen, written=newest.written) == newest


def test_a_newest_key_that_came_in_between_is_not_written_over(aws: Clients) -> None:
    first, second = (NewestKey(key, SecretStr("secret"), USER, sinch.NOW) for key in ("AKIA1", "AKIA2"))
    aws.keys().save_newest(first, overwrite=False)

    with pytest.raises(
        ParametersUnavailable, match=r"^PutParameter /call-recorder/uploader-key: ParameterAlreadyExists"
    ):
        aws.keys().save_newest(second, overwrite=False)
    assert aws.value("/call-recorder/uploader-key") == first.to_text().get_secret_value()

    aws.keys().save_newest(second, overwrite=True)
    assert aws.value("/call-recorder/uploader-key") == second.to_text().get_secret_value()


def test_an_application_is_seen_with_its_credentials_and_its_profile(aws: Clients) -> None:
    aws.put("/call-recorder/one/application-secrets")
    aws.put("/call-recorder/one/recording-profile", PROFILE)
    aws.keys().hand_out("one", SecretStr(f"AKIA1:secret:{REGION}"))
    aws.put("/call-recorder/two/recording-profile", "{}")
    aws.put("/call-recorder/three/application-secrets")

    one, two = aws.keys().observe().holders

    assert (one.application, one.key_id) == ("one", "AKIA1")
    assert one.profile
    assert one.profile.text.get_secret_value() == PROFILE
    assert (two.application, two.credentials) == ("two", None)


def test_what_lies_beside_or_deeper_is_somebody_elses(aws: Clients) -> None:
    for name in (
        "/call-recorder/eu/one/storage-credentials",
        "/call-recorder/eu/uploader-key",
        "/call-recorder/one/notes",
        "/call-recorder/storage-credentials",
        "/call-recorder-2/one/storage-credentials",
        "/other/one/storage-credentials",
    ):
        aws.put(name)

    assert aws.keys().observe() == Observation(USER)


def test_a_prefix_may_have_several_parts(aws: Clients) -> None:
    aws.put("/voice/eu/one/storage-credentials", "AKIA1:secret:eu-west-1")
    aws.put("/voice/one/storage-credentials", "AKIA2:secret:eu-west-1")

    [holder] = aws.keys(prefix="voice/eu").observe().holders
    assert (holder.application, holder.key_id) == ("one", "AKIA1")


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
    aws.keys().hand_out("two", SecretStr("text"))

    with_key, without = (parameters for operation, parameters in aws.asked if operation == "PutParameter")
    assert with_key == {
        "Name": "/call-recorder/one/storage-credentials",
        "Value": "text",
        "Type": "SecureString",
        "Overwrite": True,
        "KeyId": KMS_KEY,
    }
    assert "KeyId" not in without


def test_nothing_seen_shows_a_secret(aws: Clients) -> None:
    keys = aws.keys()
    made = keys.create()
    secret = made.secret.get_secret_value()
    keys.save_newest(NewestKey(made.key.id, made.secret, USER, sinch.NOW), overwrite=False)
    keys.hand_out("one", SecretStr(f"{made.key.id}:{secret}:{REGION}"))

    assert secret not in f"{keys.observe()!r} {made!r}"


CALLS: list[tuple[str, type[Exception], str, Callable[[UploaderKeys], object]]] = [
    ("list_access_keys", AccessKeysUnavailable, "ListAccessKeys", lambda keys: keys.observe()),
    ("create_access_key", AccessKeysUnavailable, "CreateAccessKey", lambda keys: keys.create()),
    ("update_access_key", AccessKeysUnavailable, "UpdateAccessKey", lambda keys: keys.deactivate("AKIAOFTHEUPLOADER")),
    ("delete_access_key", AccessKeysUnavailable, "DeleteAccessKey", lambda keys: keys.delete("AKIAOFTHEUPLOADER")),
    ("describe_parameters", ParametersUnavailable, "DescribeParameters", lambda keys: keys.observe()),
    ("get_parameters", ParametersUnavailable, "GetParameters", lambda keys: keys.observe()),
    (
        "put_parameter",
        ParametersUnavailable,
        "PutParameter /call-recorder/uploader-key",
        lambda keys: keys.save_newest(NewestKey("AKIA", SecretStr("secret"), USER, sinch.NOW), overwrite=True),
    ),
    (
        "put_parameter",
        ParametersUnavailable,
        "PutParameter /call-recorder/one/storage-credentials",
        lambda keys: keys.hand_out("one", SecretStr("AKIA:secret:eu-west-1")),
    ),
]


@pytest.mark.parametrize(("operation", "error", "told", "call"), CALLS, ids=[told for _, _, told, _ in CALLS])
def test_what_aws_refuses_is_told_by_operation_and_code(
    operation: str, error: type[Exception], told: str, call: Callable[[UploaderKeys], object]
) -> None:
    made = Clients()
    client = made.iam if operation.endswith(("_access_key", "_access_keys")) else made.ssm
    with Stubber(made.iam) as iam, Stubber(made.ssm) as ssm:
        if client is made.ssm:
            iam.add_response("list_access_keys", {"AccessKeyMetadata": []})
        if operation == "get_parameters":
            ssm.add_response("describe_parameters", {"Parameters": []})
        stub = iam if client is made.iam else ssm
        stub.add_client_error(operation, service_error_code="AccessDenied", http_status_code=403)
        with pytest.raises(error, match=f"^{told}: AccessDenied$"):
            call(made.keys())


def test_what_is_out_of_reach_is_told_by_the_name_of_the_error() -> None:
    made = Clients()

    def time_out(**_: object) -> None:
        raise ConnectTimeoutError(endpoint_url="https://iam.example")

    made.iam.meta.events.register("before-call.iam", time_out)

    with pytest.raises(AccessKeysUnavailable, match="^CreateAccessKey: ConnectTimeoutError$"):
        made.keys().create()


def test_a_key_is_never_asked_for_twice_by_one_call() -> None:
    assert boto_clients.create_iam_client().meta.config.retries["total_max_attempts"] == 1  # type: ignore[attr-defined]
