"""Requests are signed as botocore signs them, whatever is in them."""

from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.adapters.aws_api.sigv4 import Credentials, NoCredentials, find_credentials, sign_request

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
HEADERS = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessage"}


def by_botocore(url: str, body: bytes, who: Credentials, region: str, service: str) -> tuple[str, datetime]:
    request = AWSRequest("POST", url, headers=HEADERS, data=body)
    SigV4Auth(BotocoreCredentials(who.access_key, who.secret_key, who.token), service, region).add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return request.headers["Authorization"], at


@given(
    host=st.sampled_from(["sqs.eu-west-1.amazonaws.com", "127.0.0.1:4566", "ssm.cn-north-1.amazonaws.com.cn"]),
    body=st.binary(max_size=200),
    access_key=PRINTABLE,
    secret_key=PRINTABLE,
    token=st.none() | PRINTABLE,
    region=st.sampled_from(["eu-west-1", "cn-north-1"]),
    service=st.sampled_from(["sqs", "ssm", "dynamodb", "events"]),
)
def test_a_request_is_signed_as_botocore_signs_it(
    host: str, body: bytes, access_key: str, secret_key: str, token: str | None, region: str, service: str
) -> None:
    who = Credentials(access_key, secret_key, token)
    expected, at = by_botocore(f"https://{host}/", body, who, region, service)

    headers = sign_request(
        {**HEADERS, "host": host}, body, path="/", credentials=who, region=region, service=service, at=at
    )

    assert headers["authorization"] == expected
    assert headers.get("x-amz-security-token") == token


def test_credentials_show_no_part_of_themselves() -> None:
    assert "secret" not in repr(Credentials("access", "secret", "token"))
    assert "token" not in repr(Credentials("access", "secret", "token"))


def test_the_credentials_of_the_environment_are_used_first() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found = find_credentials(environment)()

    assert (found.access_key, found.secret_key, found.token) == ("a", "s", "t")


def test_botocore_finds_other_credentials_and_looks_again_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = find_credentials({})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the process")

    assert find().access_key == "of the process"


def test_missing_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    with pytest.raises(NoCredentials, match="^NoCredentialsError$"):
        find_credentials({})()
