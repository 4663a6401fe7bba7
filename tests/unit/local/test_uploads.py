"""Uploads go where the SVAML says, signed with the credentials that it gives."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from pydantic import SecretStr

from local.storage import Storage, StorageEndpoints, UploadRefused, with_wrong_key
from local.transport import NoResponse, Response

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
AZURE_KEY = base64.b64encode(b"the key of a storage account").decode()


class Requests:
    """Answers boto3's requests in place of a network."""

    def __init__(self, status: int = 200) -> None:
        self.sent: list[AWSPreparedRequest] = []
        self.status = status
        self.session = boto3.Session()
        self.session.events.register("before-send.s3", self._answer)  # type: ignore[arg-type]  # the stubs know no answer

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.sent.append(request)
        body = BytesIO(b"<Error><Code>SignatureDoesNotMatch</Code></Error>" if self.status >= 300 else b"")
        body.stream = lambda *_, **__: iter([body.read()])  # type: ignore[attr-defined]
        return AWSResponse(request.url, self.status, HTTPHeaders(), body)


class AzureRequests:
    """Takes the requests to Azure."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.sent: list[tuple[str, str, Mapping[str, str], bytes]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        self.sent.append((method, url, headers, body))
        return Response(self.status)


class DeadLine:
    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        raise NoResponse("no answer from account.blob.core.windows.net: ConnectionRefusedError")


def header(request: AWSPreparedRequest, name: str) -> str:
    value = request.headers[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def test_s3_is_written_with_the_key_and_in_the_region_of_the_credentials() -> None:
    requests = Requests()

    stored = Storage(session=requests.session).put(
        "s3://bucket/recordings/a%2Fb.mp3", SecretStr("AKID:sec/ret+:eu-north-1"), b"audio", "audio/mpeg"
    )

    (request,) = requests.sent
    assert request.method == "PUT"
    assert request.url == "https://s3.eu-north-1.amazonaws.com/bucket/recordings/a%252Fb.mp3"
    assert re.search(r"Credential=AKID/\d{8}/eu-north-1/s3/aws4_request", header(request, "Authorization"))
    assert header(request, "Content-Type") == "audio/mpeg"
    assert "X-Amz-Security-Token" not in request.headers
    assert (stored.size, stored.sha256) == (5, hashlib.sha256(b"audio").hexdigest())


def test_google_is_written_through_its_xml_api_with_an_hmac_key() -> None:
    requests = Requests()

    Storage(session=requests.session).put("gs://bucket/a.mp3", SecretStr("GOOGKEY:secret"), b"audio", "audio/mpeg")

    (request,) = requests.sent
    assert request.url == "https://storage.googleapis.com/bucket/a.mp3"
    assert "Credential=GOOGKEY/" in header(request, "Authorization")
    assert not [name for name in request.headers if "checksum" in name.lower()], "only AWS knows these"


def test_azure_gets_a_block_blob_with_a_shared_key_signature() -> None:
    azure = AzureRequests()

    Storage(transport=azure, clock=lambda: NOW).put(
        "azure://account/container/2026/a b.mp3", SecretStr(AZURE_KEY), b"audio", "audio/mpeg"
    )

    # Written out from the documented rule, line by line, and independent of the code under test.
    string_to_sign = (
        "PUT\n"  # method
        "\n\n"  # Content-Encoding, Content-Language
        "5\n"  # Content-Length
        "\n"  # Content-MD5
        "audio/mpeg\n"  # Content-Type
        "\n\n\n\n\n\n"  # Date, If-Modified-Since, If-Match, If-None-Match, If-Unmodified-Since, Range
        "x-ms-blob-type:BlockBlob\n"
        "x-ms-date:Mon, 23 Nov 2026 15:04:05 GMT\n"
        "x-ms-version:2021-12-02\n"
        "/account/container/2026/a%20b.mp3"
    )
    digest = hmac.new(b"the key of a storage account", string_to_sign.encode(), hashlib.sha256).digest()
    ((method, url, headers, body),) = azure.sent
    assert (method, body) == ("PUT", b"audio")
    assert url == "https://account.blob.core.windows.net/container/2026/a%20b.mp3"
    assert headers["Authorization"] == f"SharedKey account:{base64.b64encode(digest).decode()}"


def test_endpoints_stand_in_for_the_real_stores() -> None:
    requests, azure = Requests(), AzureRequests()
    endpoints = StorageEndpoints(s3="http://127.0.0.1:1", gs="http://127.0.0.1:2", azure="http://127.0.0.1:3")
    storage = Storage(endpoints, session=requests.session, transport=azure)

    storage.put("s3://bucket/a.mp3", SecretStr("AKID:secret:eu-north-1"), b"", "audio/mpeg")
    storage.put("gs://bucket/a.mp3", SecretStr("AKID:secret"), b"", "audio/mpeg")
    storage.put("azure://account/container/a.mp3", SecretStr(AZURE_KEY), b"", "audio/mpeg")

    assert [request.url for request in requests.sent] == [
        "http://127.0.0.1:1/bucket/a.mp3",
        "http://127.0.0.1:2/bucket/a.mp3",
    ]
    assert azure.sent[0][1] == "http://127.0.0.1:3/account/container/a.mp3"


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("s3://bucket/a.mp3", "AKID:secret"),
        ("s3://bucket/a.mp3", "AKID:secret:eu-north-1:session-token"),
        ("gs://bucket/a.mp3", "AKID:secret:eu-north-1"),
        ("azure://account/container/a.mp3", "secret!"),
        ("ftp://bucket/a.mp3", "AKID:secret"),
    ],
)
def test_credentials_of_another_form_are_refused_and_not_quoted(url: str, credentials: str) -> None:
    with pytest.raises(UploadRefused) as refusal:
        Storage(session=Requests().session, transport=AzureRequests()).put(
            url, SecretStr(credentials), b"", "audio/mpeg"
        )

    assert "secret" not in str(refusal.value)


def test_a_store_that_refuses_is_reported_by_its_code_alone() -> None:
    with pytest.raises(UploadRefused, match=r"^the store answered SignatureDoesNotMatch$"):
        Storage(session=Requests(403).session).put(
            "s3://b/a.mp3", SecretStr("AKID:secret:eu-north-1"), b"", "audio/mpeg"
        )
    with pytest.raises(UploadRefused, match=r"^the store answered 403$"):
        Storage(transport=AzureRequests(403)).put("azure://a/c/a.mp3", SecretStr(AZURE_KEY), b"", "audio/mpeg")
    with pytest.raises(UploadRefused, match="no answer"):
        Storage(transport=DeadLine()).put("azure://a/c/a.mp3", SecretStr(AZURE_KEY), b"", "audio/mpeg")


@pytest.mark.parametrize("credentials", ["AKID:secret:eu-north-1", "AKID:secret", AZURE_KEY])
def test_a_wrong_key_keeps_the_form_of_the_credentials(credentials: str) -> None:
    wrong = with_wrong_key(credentials)

    assert wrong.count(":") == credentials.count(":")
    assert not {*wrong.split(":")[:2]} & {*credentials.split(":")[:2]}
    assert wrong.split(":")[2:] == credentials.split(":")[2:]
