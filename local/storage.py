"""Uploads files to the three stores that Sinch supports, with only the URL and the credentials of an SVAML answer.

URLs and credentials have the forms of https://developers.sinch.com/docs/in-app-calling/voice-recording.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.transport import HttpTransport, NoResponse, Transport

if TYPE_CHECKING:
    from pydantic import SecretStr

GOOGLE = "https://storage.googleapis.com"
"""Google Cloud Storage's XML API. It accepts S3's signatures with an HMAC interoperability key."""

_AZURE_VERSION = "2021-12-02"
_CONFIG = Config(
    signature_version="s3v4",
    # With the bucket in the path, Google and emulators need no DNS name for each bucket.
    s3={"addressing_style": "path"},
    connect_timeout=5,
    read_timeout=15,
    retries={"total_max_attempts": 1},
    # Only AWS supports the checksums that boto3 adds by default.
    request_checksum_calculation="when_required",
)


class UploadRefused(Exception):
    """The store did not accept the file; the text says why, without credentials."""


@dataclass(frozen=True)
class StorageEndpoints:
    """The stores' URLs; ``None`` is the real store. The account follows the URL of ``azure``, as emulators expect."""

    s3: str | None = None
    gs: str | None = None
    azure: str | None = None


@dataclass(frozen=True)
class StoredFile:
    """A file that a store accepted. ``size`` in bytes."""

    url: str
    size: int


@dataclass(frozen=True)
class _S3Key:
    """A key that signs requests to S3, or to a store with S3's API."""

    access_key: str
    secret: str
    region: str


class Storage:
    """Stores files at destination URLs."""

    def __init__(
        self,
        endpoints: StorageEndpoints | None = None,
        *,
        session: boto3.Session | None = None,
        transport: Transport | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._endpoints = endpoints or StorageEndpoints()
        self._session = session or boto3.Session()
        self._transport = transport or HttpTransport(timeout=15)
        self._clock = clock

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        """Store ``body`` at ``url`` and replace an existing file, as Sinch does.

        Raises:
            UploadRefused: the URL or the credentials have the wrong form, or the store refuses the upload.
        """
        scheme, _, rest = url.partition("://")
        container, _, key = rest.partition("/")
        secret = credentials.get_secret_value()
        match scheme:
            case "s3":
                self._put_s3(_parse_s3_key(secret), self._endpoints.s3, container, key, body, content_type)
            case "gs":
                endpoint = self._endpoints.gs or GOOGLE
                self._put_s3(_parse_google_key(secret), endpoint, container, key, body, content_type)
            case "azure":
                self._put_azure(container, key, secret, body, content_type)
            case _:
                raise UploadRefused(f"Sinch supports no store with URLs of {scheme}://")
        return StoredFile(url, len(body))

    def _put_s3(
        self, key: _S3Key, endpoint: str | None, bucket: str, name: str, body: bytes, content_type: str
    ) -> None:
        try:
            client = self._session.client(
                "s3",
                endpoint_url=endpoint,
                region_name=key.region,
                aws_access_key_id=key.access_key,
                aws_secret_access_key=key.secret,
                config=_CONFIG,
            )
            client.put_object(Bucket=bucket, Key=name, Body=body, ContentType=content_type)
        except ClientError as error:
            raise UploadRefused(f"the store answered {error.response['Error'].get('Code', '?')}") from None
        except (BotoCoreError, ValueError) as error:  # ValueError: the region makes no valid endpoint
            raise UploadRefused(f"the upload failed: {type(error).__name__}") from None

    def _put_azure(self, account: str, path: str, key: str, body: bytes, content_type: str) -> None:
        base = self._endpoints.azure
        root = f"{base}/{account}" if base else f"https://{account}.blob.core.windows.net"
        blob = f"{root}/{quote(path)}"
        headers = {
            "Content-Length": str(len(body)),
            "Content-Type": content_type,
            "x-ms-blob-type": "BlockBlob",
            "x-ms-date": format_datetime(self._clock(), usegmt=True),
            "x-ms-version": _AZURE_VERSION,
        }
        signature = sign_shared_key(key, account, "PUT", urlsplit(blob).path, headers)
        try:
            answer = self._transport.send(
                "PUT", blob, headers | {"Authorization": f"SharedKey {account}:{signature}"}, body
            )
        except NoResponse as error:
            raise UploadRefused(str(error)) from None
        if answer.status != 201:
            raise UploadRefused(f"the store answered {answer.status}")


def sign_shared_key(key: str, account: str, method: str, path: str, headers: Mapping[str, str]) -> str:
    """Return Azure's Shared Key signature of a Blob request without a query string.

    It signs the method, the values of eleven standard headers, the sorted ``x-ms-`` headers and the resource, see
    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.

    Raises:
        UploadRefused: the key is not Base64.
    """
    given = {name.lower(): value for name, value in headers.items()}
    length = given.get("content-length", "")
    lines = [
        method,
        given.get("content-encoding", ""),
        given.get("content-language", ""),
        "" if length == "0" else length,
        given.get("content-md5", ""),
        given.get("content-type", ""),
        "",  # Date: x-ms-date replaces it
        *("", "", "", ""),  # If-Modified-Since, If-Match, If-None-Match, If-Unmodified-Since
        "",  # Range
        *(f"{name}:{given[name]}" for name in sorted(given) if name.startswith("x-ms-")),
        f"/{account}{path}",
    ]
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error:
        raise UploadRefused("azure needs the storage account's access key, in Base64") from None
    digest = hmac.digest(secret, "\n".join(lines).encode(), "sha256")
    return base64.b64encode(digest).decode()


def _parse_s3_key(credentials: str) -> _S3Key:
    match credentials.split(":"):
        case [access_key, secret, region] if access_key and secret and region:
            return _S3Key(access_key, secret, region)
        case _:
            raise UploadRefused("s3 needs KEY:SECRET:REGION")


def _parse_google_key(credentials: str) -> _S3Key:
    match credentials.split(":"):
        case [access_key, secret] if access_key and secret:
            return _S3Key(access_key, secret, "auto")
        case _:
            raise UploadRefused("gs needs KEY:SECRET")


def replace_key(credentials: str) -> str:
    """Return credentials of the same form that every store refuses, as if the key was deleted."""
    match credentials.split(":"):
        case [_, _, *region]:
            return ":".join(["AKIANOLONGERTHERE", "no-longer-the-secret", *region])
        case _:
            return base64.b64encode(b"no longer the key").decode()
