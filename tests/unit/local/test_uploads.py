"""Uploads go to the URL of the SVAML, signed with its credentials."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from pydantic import SecretStr

from local.storage import Storage, StorageEndpoints, StoredFile, UploadRefused
from local.transport import NoResponse, Response

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
AZURE_KEY = base64.b64encode(b"the key of a storage account").decode()
S3_KEY = "AKID:sec/ret+:eu-north-1"
URLS = {"s3": "s3://bucket/a.mp3", "gs": "gs://bucket/a.mp3", "azure": "azure://account/container/a.mp3"}
STAND_INS = StorageEndpoints(s3="http://127.0.0.1:1", gs="http://127.0.0.1:2", azure="http://127.0.0.1:3")


class Stores:
    """Takes the requests to every store and answers each with one status; 0 is no answer."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.sent: list[tuple[str, str, dict[str, str], bytes]] = []
        self._session = boto3.Session()
        self._session.events.register("before-send.s3", self._answer)  # type: ignore[arg-type]  # the stubs know no answer

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        values: dict[str, Any] = dict(request.headers.items())
        headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
        self.sent.append((str(request.method), request.url, headers, b""))
        body = BytesIO(b"<Error><Code>SignatureDoesNotMatch</Code></Error>" if self.status >= 300 else b"")
        body.stream = lambda *_, **__: iter([body.read()])  # type: ignore[attr-defined]
        return AWSResponse(request.url, self.status, HTTPHeaders(), body)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        self.sent.append((method, url, dict(headers), body))
        if not self.status:
            raise NoResponse("no answer from account.blob.core.windows.net: ConnectionRefusedError")
        return Response(201 if self.status == 200 else self.status)

    def put(self, url: str, credentials: str, endpoints: StorageEndpoints | None = None) -> StoredFile:
        storage = Storage(endpoints, session=self._session, transport=self, clock=lambda: NOW)
        return storage.put(url, SecretStr(credentials), b"audio", "audio/mpeg")


@pytest.fixture
def stores() -> Stores:
    return Stores()


def test_s3_gets_the_file_with_the_key_and_region_of_the_credentials(stores: Stores) -> None:
    stored = stores.put("s3://bucket/recordings/a%2Fb.mp3", S3_KEY)

    ((method, url, headers, _),) = stores.sent
    assert (method, url) == ("PUT", "https://s3.eu-north-1.amazonaws.com/bucket/recordings/a%252Fb.mp3")
    assert re.search(r"Credential=AKID/\d{8}/eu-north-1/s3/aws4_request", headers["Authorization"])
    assert headers["Content-Type"] == "audio/mpeg"
    assert "X-Amz-Security-Token" not in headers
    assert stored == StoredFile("s3://bucket/recordings/a%2Fb.mp3", 5)


def test_google_gets_the_file_over_its_xml_api_with_an_hmac_key(stores: Stores) -> None:
    stores.put(URLS["gs"], "GOOGKEY:secret")

    ((_, url, headers, _),) = stores.sent
    assert url == "https://storage.googleapis.com/bucket/a.mp3"
    assert "Credential=GOOGKEY/" in headers["Authorization"]
    assert not [name for name in headers if "checksum" in name.lower()], "only AWS supports these"


def test_azure_gets_a_block_blob_with_a_shared_key_signature(stores: Stores) -> None:
    stores.put("azure://account/container/2026/a b.mp3", AZURE_KEY)

    # Written from the documented rule, line by line, independently of the code under test.
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
    ((method, url, headers, body),) = stores.sent
    assert (method, body) == ("PUT", b"audio")
    assert url == "https://account.blob.core.windows.net/container/2026/a%20b.mp3"
    assert headers["Authorization"] == f"SharedKey account:{base64.b64encode(digest).decode()}"


def test_other_endpoints_can_replace_the_real_stores(stores: Stores) -> None:
    for store, credentials in (("s3", S3_KEY), ("gs", "AKID:secret"), ("azure", AZURE_KEY)):
        stores.put(URLS[store], credentials, STAND_INS)

    paths = ["1/bucket/a.mp3", "2/bucket/a.mp3", "3/account/container/a.mp3"]
    assert [url for _, url, _, _ in stores.sent] == [f"http://127.0.0.1:{path}" for path in paths]


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        (URLS["s3"], "AKID:secret:eu-north-1:session-token"),
        (URLS["gs"], "AKID:secret:eu-north-1"),
        (URLS["azure"], "secret!"),
        ("ftp://bucket/a.mp3", "AKID:secret"),
    ],
)
def test_credentials_of_another_form_are_refused_and_not_quoted(url: str, credentials: str) -> None:
    with pytest.raises(UploadRefused) as refusal:
        Stores().put(url, credentials)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("store", "credentials", "status", "sentence"),
    [
        ("s3", S3_KEY, 403, "the store answered SignatureDoesNotMatch"),
        ("azure", AZURE_KEY, 403, "the store answered 403"),
        ("azure", AZURE_KEY, 0, "no answer from account.blob.core.windows.net: ConnectionRefusedError"),
    ],
)
def test_a_store_that_refuses_is_reported_by_its_code(store: str, credentials: str, status: int, sentence: str) -> None:
    with pytest.raises(UploadRefused, match=f"^{sentence}$"):
        Stores(status).put(URLS[store], credentials)
