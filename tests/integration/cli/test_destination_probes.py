"""Each fault of each store is told apart, by servers that really refuse it, or by the answers in its documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import boto3
import pytest
from botocore.compat import get_current_datetime

from call_recorder.answering.destinations import Destination
from call_recorder_cli.probes import azure_blob, s3_compatible
from call_recorder_cli.probes.destinations import DestinationProbe, Endpoints, Target, TriedDestination
from call_recorder_cli.probes.faults import Fault
from local.azurite import run_azurite
from tests import loopback
from tests.integration.cli.conftest import need_azurite
from tests.integration.conftest import STATE_OF_TESTS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from local.stack import LocalStack

ACCOUNT, OTHER_ACCOUNT = "probed", "other"
KEYS = {name: base64.b64encode(f"the key of {name}".encode()).decode() for name in (ACCOUNT, OTHER_ACCOUNT)}
SECRETS = (*KEYS.values(), "not-its-secret")


@dataclass(frozen=True)
class Tried:
    """A destination, its credentials, and the server that plays the store."""

    url: str
    credentials: str
    endpoint: str
    operator: Callable[[], S3Client] = field(repr=False)

    def try_out(self) -> TriedDestination:
        destination = Destination.parse(self.url)
        endpoints = Endpoints(**{destination.scheme: self.endpoint})
        probe = DestinationProbe(
            endpoints, own_bucket="own", operator=self.operator, clock=lambda: datetime(2026, 11, 23, tzinfo=UTC)
        )
        return probe.try_out(Target(destination, "mp3", ("all",)), "app", self.credentials)

    def with_secret(self, secret: str) -> Tried:
        key, _, *region = self.credentials.split(":")
        return replace(self, credentials=":".join((key, secret, *region)))

    def answered(self, status: int, body: str, headers: dict[str, str] | None = None) -> tuple[Tried, loopback.Server]:
        """Return the same with a server that gives each request one answer."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # botocore waits for the answer 100 before it sends the body.

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        server = loopback.Server(Handler, None)
        return replace(self, endpoint=server.url), server


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    need_azurite()
    with run_azurite(KEYS, STATE_OF_TESTS) as endpoint:
        from azure.storage.blob import ContainerClient

        key = {"account_name": ACCOUNT, "account_key": KEYS[ACCOUNT]}
        ContainerClient(f"{endpoint}/{ACCOUNT}", "calls", credential=key).create_container()
        yield endpoint


@pytest.fixture(scope="module")
def make_key(stack: LocalStack) -> Callable[..., str]:
    """Make an access key that may store files in a bucket, or nothing."""

    def make(bucket: str, *, may: str = "s3:PutObject") -> str:
        iam, user = stack.aws.iam, f"probe-{uuid4()}"
        iam.create_user(UserName=user)
        statement = {"Effect": "Allow", "Action": may, "Resource": f"arn:aws:s3:::{bucket}/calls/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="probe", PolicyDocument=policy)
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return f"{made['AccessKeyId']}:{made['SecretAccessKey']}"

    return make


@pytest.fixture
def tried(request: pytest.FixtureRequest, stack: LocalStack, make_key: Callable[..., str]) -> Tried:
    """A destination where files can be stored, in the store that the test names."""
    operator = partial(boto3.client, "s3", endpoint_url=stack.aws_endpoint, **ADMINISTRATOR)
    bucket = f"probed-{uuid4()}"
    match request.param:
        case "azure":
            url = f"azure://{ACCOUNT}/calls/{{date}}/{{callId}}.{{format}}"
            return Tried(url, KEYS[ACCOUNT], request.getfixturevalue("azurite"), operator)
        case "gs":
            # The emulator keeps buckets in regions, and Google's keys belong to none.
            google = boto3.client("s3", endpoint_url=stack.aws_endpoint, **{**ADMINISTRATOR, "region_name": "auto"})
            google.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "auto"})  # type: ignore[typeddict-item]
            return Tried(f"gs://{bucket}/calls/{{callId}}.mp3", make_key(bucket), stack.aws_endpoint, operator)
        case _:
            stack.aws.s3.create_bucket(Bucket=bucket)
            credentials = f"{make_key(bucket)}:{stack.region}"
            return Tried(f"s3://{bucket}/calls/{{callId}}.mp3", credentials, stack.aws_endpoint, operator)


ADMINISTRATOR: Final[dict[str, Any]] = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": "us-east-1",
}


def other_container(tried: Tried) -> Tried:
    destination = Destination.parse(tried.url)
    other = f"{destination.container.partition('/')[0]}/nothing" if destination.scheme == "azure" else "no-such-bucket"
    return replace(tried, url=f"{destination.scheme}://{other}/{destination.path}")


REFUSED_BY_SERVERS = [
    (
        "s3",
        Fault.WRONG_KEY,
        "no active access key …HERE",
        lambda t: replace(t, credentials="NOTHERE:x:us-east-1"),
    ),
    ("s3", Fault.WRONG_SECRET, "does not belong to the access key", lambda t: t.with_secret("not-its-secret")),
    (
        "s3",
        Fault.WRONG_REGION,
        "is in us-east-1, and the credentials say eu-north-1: write KEY:SECRET:us-east-1",
        lambda t: replace(t, credentials=t.credentials.replace("us-east-1", "eu-north-1")),
    ),
    ("s3", Fault.NO_CONTAINER, "has no bucket no-such-bucket: create it", other_container),
    ("s3", Fault.NO_RIGHT, "allow it s3:PutObject", lambda t: replace(t, url=t.url.replace("/calls/", "/others/"))),
    ("gs", Fault.WRONG_KEY, "no active access key …HERE", lambda t: replace(t, credentials="NOTHERE:x")),
    ("gs", Fault.WRONG_SECRET, "does not belong to the access key", lambda t: t.with_secret("not-its-secret")),
    ("gs", Fault.NO_CONTAINER, "has no bucket no-such-bucket: create it", other_container),
    ("gs", Fault.NO_RIGHT, "Storage Object Creator", lambda t: replace(t, url=t.url.replace("/calls/", "/others/"))),
    ("azure", Fault.WRONG_SECRET, "write one of its two keys", lambda t: replace(t, credentials=KEYS[OTHER_ACCOUNT])),
    ("azure", Fault.NO_CONTAINER, "has no container nothing: create it", other_container),
    *(
        (store, Fault.REFUSED, "refuses the connection", lambda t: replace(t, endpoint=f"http://127.0.0.1:{closed()}"))
        for store in ("s3", "gs", "azure")
    ),
    *(
        (store, Fault.DNS, says, lambda t: replace(t, endpoint="http://store.invalid"))
        for store, says in {
            "s3": "store.invalid is not a name",
            "gs": "store.invalid is not a name",
            "azure": "There is no storage account probed",
        }.items()
    ),
]


def closed() -> int:
    return loopback.closed_port()


@pytest.mark.parametrize(
    ("tried", "fault", "says", "spoil"),
    REFUSED_BY_SERVERS,
    indirect=["tried"],
    ids=[f"{store}-{fault}" for store, fault, *_ in REFUSED_BY_SERVERS],
)
def test_a_server_refuses_each_fault_and_the_probe_names_it(
    tried: Tried, fault: Fault, says: str, spoil: Callable[[Tried], Tried]
) -> None:
    found = spoil(tried).try_out()

    assert (found.fault, says in found.sentence, found.remains) == (fault, True, False), found.sentence
    assert not [secret for secret in (*SECRETS, *tried.credentials.split(":")[1:2]) if secret in found.sentence]


@pytest.mark.parametrize("tried", ["s3", "gs"], indirect=True)
def test_a_wrong_clock_is_told_from_a_wrong_key(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    real = get_current_datetime
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *args: real(*args) + timedelta(hours=1))

    found = tried.try_out()

    assert (found.fault, "set it, then check again" in found.sentence) == (Fault.CLOCK, True)


S3_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{0}</Code><Message>{1}</Message></Error>"
AZURE_ERROR = (
    '<?xml version="1.0" encoding="utf-8"?><Error><Code>{0}</Code><Message>{1}\nRequestId:1\nTime:2026</Message>'
    "<AuthenticationErrorDetail>{2}</AuthenticationErrorDetail></Error>"
)
MALFORMED = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>{0}</Message>{1}</Error>"
NOT_AUTHENTICATED = "Server failed to authenticate the request. Make sure the value of Authorization header is formed"
MAC = "The MAC signature found in the HTTP request 'x' is not the same. String to sign: 'x-ms-date:Mon, 23 Nov 2026'."
TOO_OLD = "Request date header too old: 'Fri, 04 Oct 2019 18:02:12 GMT'"

# The answers of the stores themselves where their emulators answer otherwise, or accept what the store refuses.
DOCUMENTED = [
    (
        "s3",
        Fault.WRONG_REGION,
        400,
        MALFORMED.format("the region is wrong", "<Region>eu-west-2</Region>"),
        "eu-west-2",
    ),
    ("s3", Fault.WRONG_KEY, 400, MALFORMED.format("a non-empty Access Key (AKID) must be provided", ""), "no active"),
    ("s3", Fault.BUSY, 503, S3_ERROR.format("SlowDown", "Reduce your request rate."), "in a minute"),
    ("s3", Fault.OTHER, 400, S3_ERROR.format("InvalidStorageClass", "?"), "InvalidStorageClass"),
    ("gs", Fault.WRONG_KEY, 403, S3_ERROR.format("InvalidSecurity", "The credentials are not valid."), "no active"),
    ("gs", Fault.WRONG_SECRET, 403, S3_ERROR.format("SignatureDoesNotMatch", "Access denied."), "does not belong"),
    ("azure", Fault.WRONG_SECRET, 403, AZURE_ERROR.format("AuthenticationFailed", NOT_AUTHENTICATED, MAC), "two keys"),
    ("azure", Fault.CLOCK, 403, AZURE_ERROR.format("AuthenticationFailed", NOT_AUTHENTICATED, TOO_OLD), "set it"),
    (
        "azure",
        Fault.NO_RIGHT,
        403,
        AZURE_ERROR.format("KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted", ""),
        "allow shared key access",
    ),
    (
        "azure",
        Fault.NO_RIGHT,
        403,
        AZURE_ERROR.format("AuthorizationFailure", "This request is not authorized to perform this operation.", ""),
        "its firewall refuses this network",
    ),
    ("azure", Fault.BUSY, 503, AZURE_ERROR.format("ServerBusy", "The server is busy.", ""), "in a minute"),
]


@pytest.mark.parametrize(("store", "fault", "status", "body", "says"), DOCUMENTED)
def test_a_documented_answer_of_each_store_is_understood(
    store: str, fault: Fault, status: int, body: str, says: str
) -> None:
    found = play(store, lambda tried: tried.answered(status, body))

    assert (found.fault, says in found.sentence) == (fault, True), found.sentence


def play(store: str, serve: Callable[[Tried], tuple[Tried, loopback.Server]]) -> TriedDestination:
    """Try out a destination at a server of this test."""
    urls = {
        "s3": "s3://a-bucket/{callId}",
        "gs": "gs://a-bucket/{callId}",
        "azure": f"azure://{ACCOUNT}/calls/{{callId}}",
    }
    credentials = {"s3": "KEY:SECRET:eu-north-1", "gs": "KEY:SECRET", "azure": KEYS[ACCOUNT]}
    tried, server = serve(Tried(urls[store], credentials[store], "", lambda: pytest.fail("nothing is removed")))
    try:
        return tried.try_out()
    finally:
        server.close()


@pytest.mark.parametrize("store", ["s3", "gs", "azure"])
def test_a_certificate_or_a_silent_server_is_a_fault_of_the_network(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_compatible, "_SECONDS", 0.3)
    monkeypatch.setattr(azure_blob, "_SECONDS", 0.3)

    class Silent(BaseHTTPRequestHandler):
        def handle(self) -> None:
            server: Any = self.server
            server.closing.wait(20)

    def serve(server: loopback.Server, tried: Tried) -> tuple[Tried, loopback.Server]:
        return replace(tried, endpoint=server.url), server

    untrusted = loopback.Server(BaseHTTPRequestHandler, loopback.certificate(tmp_path))
    assert play(store, partial(serve, untrusted)).fault is Fault.TLS
    assert play(store, partial(serve, loopback.Server(Silent, None))).fault is Fault.TIMEOUT


@pytest.mark.parametrize("tried", ["s3", "gs", "azure"], indirect=True)
def test_a_probe_is_removed_or_said_to_remain(tried: Tried) -> None:
    found = tried.try_out()

    assert (found.fault, found.remains) == (None, tried.url.startswith("gs:")), found.sentence
    assert ("is removed" in found.sentence) is not found.remains
    if not tried.url.startswith("azure:"):
        region = "auto" if found.remains else "us-east-1"
        s3 = boto3.client("s3", endpoint_url=tried.endpoint, **{**ADMINISTRATOR, "region_name": region})
        left = s3.list_objects_v2(Bucket=Destination.parse(tried.url).container).get("Contents", [])
        assert [f"gs://{Destination.parse(tried.url).container}/{each['Key']}" for each in left] == (
            [found.url] if found.remains else []
        )
