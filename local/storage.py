"""Uploads to the three stores that Sinch knows, made with nothing but what an SVAML answer gives it.

URLs and credentials are in the forms of https://developers.sinch.com/docs/in-app-calling/voice-recording.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
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
"""Google Cloud Storage's XML API, which takes S3's signatures made with an HMAC interoperability key."""

_AZURE_VERSION = "2021-12-02"
_CONFIG = Config(
    signature_version="s3v4",
    # Buckets in the path: neither Google nor an emulator needs a DNS name for each.
    s3={"addressing_style": "path"},
    connect_timeout=5,
    read_timeout=15,
    retries={"total_max_attempts": 1},
    # Only AWS knows the checksums that boto3 otherwise adds.
    request_checksum_calculation="when_required",
)


class UploadRefused(Exception):
    """The store did not take the file; the text says why, without credentials."""


@dataclass(frozen=True)
class StorageEndpoints:
    """Where the stores are. ``None`` is the real one; ``azure`` has the account in the path, as emulators do."""

    s3: str | None = None
    gs: str | None = None
    azure: str | None = None


@dataclass(frozen=True)
class StoredFile:
    """A file that a store took. ``size`` in bytes, ``sha256`` in hexadecimal."""

    url: str
    size: int
    sha256: str
    content_type: str


@dataclass(frozen=True)
class _S3Key:
    """What signs a request to S3, or to what speaks its language."""

    access_key: str
    secret: str
    region: str


class Storage:
    """Puts files where a destination URL says."""

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
        """Store ``body`` at ``url``, over whatever is there, as Sinch does.

        Raises:
            UploadRefused: the URL or the credentials have another form, or the store refuses.
        """
        scheme, _, rest = url.partition("://")
        container, _, key = rest.partition("/")
        secret = credentials.get_secret_value()
        match scheme:
            case "s3":
                self._put_s3(_s3_key(secret), self._endpoints.s3, container, key, body, content_type)
            case "gs":
                endpoint = self._endpoints.gs or GOOGLE
                self._put_s3(_google_key(secret), endpoint, container, key, body, content_type)
            case "azure":
                self._put_azure(container, key, secret, body, content_type)
            case _:
                raise UploadRefused(f"{scheme}:// is no store that Sinch knows")
        return StoredFile(url, len(body), hashlib.sha256(body).hexdigest(), content_type)

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
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint made of a nonsensical region
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
        signature = shared_key(key, account, "PUT", urlsplit(blob).path, headers)
        try:
            answer = self._transport.send(
                "PUT", blob, headers | {"Authorization": f"SharedKey {account}:{signature}"}, body
            )
        except NoResponse as error:
            raise UploadRefused(str(error)) from None
        if answer.status != 201:
            raise UploadRefused(f"the store answered {answer.status}")


def shared_key(key: str, account: str, method: str, path: str, headers: Mapping[str, str]) -> str:
    """Return Azure's Shared Key signature of a Blob request without a query string.

    The rule is that of https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key: the
    method, eleven standard headers by their values alone, the ``x-ms-`` headers sorted, and the resource.

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
        "",  # Date: x-ms-date takes its place
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


def _s3_key(credentials: str) -> _S3Key:
    match credentials.split(":"):
        case [access_key, secret, region] if access_key and secret and region:
            return _S3Key(access_key, secret, region)
        case _:
            raise UploadRefused("s3 needs KEY:SECRET:REGION")


def _google_key(credentials: str) -> _S3Key:
    match credentials.split(":"):
        case [access_key, secret] if access_key and secret:
            return _S3Key(access_key, secret, "auto")
        case _:
            raise UploadRefused("gs needs KEY:SECRET")


def with_wrong_key(credentials: str) -> str:
    """Return credentials of the same form that no store takes: a key that is not there, or no longer."""
    match credentials.split(":"):
        case [_, _, *region]:
            return ":".join(["AKIANOLONGERTHERE", "no-longer-the-secret", *region])
        case _:
            return base64.b64encode(b"no longer the key").decode()
