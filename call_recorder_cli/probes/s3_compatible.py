"""Stores a probe in a store with the API of Amazon S3: Amazon S3 itself, or Google Cloud Storage.

Sources of the codes, read in November 2026: "Error responses" in the API reference of Amazon S3, and "HTTP status and
error codes for XML" of Google Cloud Storage; answers of both that others quote.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.facts.storage_urls import ObjectPointer
from call_recorder.uploader_key.plan import mask_key
from call_recorder_cli.probes.faults import (
    SERVER_ERROR,
    Fault,
    ProbeRefused,
    describe_network_fault,
    find_network_fault,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GOOGLE: Final = "https://storage.googleapis.com"
"""Google Cloud Storage's XML API, which accepts S3's signatures with an HMAC key."""

_GOOGLE_REGION: Final = "auto"  # Google's keys belong to no region, and it accepts this name in a signature.
_SECONDS: Final = 10
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")

_FAULTS: Final = {
    "InvalidAccessKeyId": Fault.WRONG_KEY,
    "InvalidSecurity": Fault.WRONG_KEY,  # Google
    "InvalidToken": Fault.WRONG_KEY,
    "SignatureDoesNotMatch": Fault.WRONG_SECRET,
    "AuthorizationHeaderMalformed": Fault.WRONG_REGION,
    "PermanentRedirect": Fault.WRONG_REGION,
    "TemporaryRedirect": Fault.WRONG_REGION,
    "IllegalLocationConstraintException": Fault.WRONG_REGION,
    "NoSuchBucket": Fault.NO_CONTAINER,
    "InvalidBucketName": Fault.NO_CONTAINER,
    "AccessDenied": Fault.NO_RIGHT,
    "RequestTimeTooSkewed": Fault.CLOCK,
    "SlowDown": Fault.BUSY,
    "ServiceUnavailable": Fault.BUSY,
    "InternalError": Fault.BUSY,
}

_STORES: Final = {"s3": "Amazon S3", "gs": "Google Cloud Storage"}
_RIGHTS: Final = {
    "s3": "allow it s3:PutObject there, and look at the bucket's policy too",
    "gs": "give its service account the role Storage Object Creator for the bucket",
}


class Account(NamedTuple):
    """A key that signs requests: its id, its secret and the region that it signs for."""

    key_id: str
    secret: str
    region: str

    @classmethod
    def of(cls, credentials: str) -> Account:
        """Read ``KEY:SECRET:REGION``, or Google's ``KEY:SECRET``."""
        key_id, secret, *region = credentials.split(":")
        return cls(key_id, secret, *region or (_GOOGLE_REGION,))


class StoredProbe(NamedTuple):
    """A probe that a store has accepted, and its version, if the bucket keeps versions."""

    pointer: ObjectPointer
    version: str | None = None


class S3Compatible:
    """One bucket, with the credentials of an application.

    Args:
        pointer: the probe's location.
        credentials: the credentials in the form of the parameter.
        endpoint: the URL of the store; ``None`` is the store itself.
        replace: how to replace the key, in words.
    """

    def __init__(self, pointer: ObjectPointer, credentials: str, endpoint: str | None, *, replace: str) -> None:
        self._pointer = pointer
        self._account = Account.of(credentials)
        self._replace = replace
        self._endpoint = endpoint or (GOOGLE if pointer.storage == "gs" else None)

    def store(self, body: bytes) -> StoredProbe:
        """Store the probe.

        Raises:
            ProbeRefused: the store did not accept it.
        """
        try:
            client = self._make_client()
            stored = client.put_object(**self._object(), Body=body, ContentType="text/plain")
        except ClientError as error:
            raise self._refuse(error) from None
        except (BotoCoreError, ValueError) as error:  # ValueError: the region makes no valid endpoint
            raise self._refuse_without_answer(error) from None
        return StoredProbe(self._pointer, stored.get("VersionId"))

    def remove(self, probe: StoredProbe) -> bool:
        """Remove the probe, and return whether the store has done it."""
        try:
            return remove(self._make_client(), probe)
        except (BotoCoreError, ValueError):
            return False

    def _make_client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        client = boto3.Session().client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=self._account.region,
            aws_access_key_id=self._account.key_id,
            aws_secret_access_key=self._account.secret,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
                retries={"total_max_attempts": 1},
                # Only AWS supports the checksums that boto3 adds by default.
                request_checksum_calculation="when_required",
            ),
        )
        client.meta.events.register("before-call.s3", _stay_in_region)
        return client

    def _object(self) -> Any:
        return {"Bucket": self._pointer.bucket, "Key": self._pointer.key}

    def _refuse(self, error: ClientError) -> ProbeRefused:
        answer: Any = error.response
        code = str(answer["Error"].get("Code", ""))
        fault = find_fault(answer)
        return ProbeRefused(fault, f"{self._describe(fault, code, _find_region(answer))}.")

    def _describe(self, fault: Fault, code: str, region: str | None) -> str:
        """Return the sentence about a fault."""
        store, key = _STORES[self._pointer.storage or "s3"], mask_key(self._account.key_id)
        bucket, scheme = self._pointer.bucket, self._pointer.storage or "s3"
        match fault:
            case Fault.WRONG_KEY:
                return f"{store} knows no active access key {key}: {self._replace}"
            case Fault.WRONG_SECRET:
                return f"The secret does not belong to the access key {key}: {self._replace}"
            case Fault.WRONG_REGION:
                return (
                    f"The bucket {bucket} is in {region or 'another region'}, and the credentials say "
                    f"{self._account.region}: write KEY:SECRET:{region or 'REGION'}"
                )
            case Fault.NO_CONTAINER:
                return f"{store} has no bucket {bucket}: create it, or correct the destination in the profile"
            case Fault.NO_RIGHT:
                return f"The access key {key} may not store {self._pointer.url}: {_RIGHTS[scheme]}"
            case Fault.CLOCK:
                return f"The clock of this machine differs too much from that of {store}: set it, then check again"
            case Fault.BUSY:
                return f"{store} fails or limits the rate of requests ({code}): check again in a minute"
            case _:
                return f"{store} refuses the file with {code or 'no code'}: look this code up in its documentation"

    def _refuse_without_answer(self, error: Exception) -> ProbeRefused:
        fault = find_network_fault(error)
        host = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", ""))).hostname
        known = host or urlsplit(self._endpoint or "").hostname or f"Amazon S3 in {self._account.region}"
        sentence = describe_network_fault(fault, known)
        if fault is Fault.DNS and self._endpoint is None:
            sentence = f"{known} is not a name that DNS knows here: correct the region in the credentials, or the DNS."
        return ProbeRefused(fault, sentence)


def remove(client: S3Client, probe: StoredProbe) -> bool:
    """Remove a probe with a client's rights, and return whether that was done."""
    version: Any = {"VersionId": probe.version} if probe.version else {}
    try:
        client.delete_object(Bucket=probe.pointer.bucket or "", Key=probe.pointer.key or "", **version)
    except ClientError:
        return False
    return True


def find_fault(answer: Any) -> Fault:
    """Return the fault that an answer of the store shows, as botocore read it."""
    error = answer["Error"]
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    if code == "AuthorizationHeaderMalformed" and not _find_region(answer) and "region" not in message:
        return Fault.WRONG_KEY  # The id of the key has a character that no id has.
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _FAULTS.get(code) or (Fault.BUSY if status >= SERVER_ERROR else Fault.OTHER)


def _find_region(answer: Any) -> str | None:
    """Return the region of the bucket, if an answer names it."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = str(answer["Error"].get("Region") or headers.get("x-amz-bucket-region", ""))
    return region if _REGION.fullmatch(region) else None


def _stay_in_region(params: Any, **_: object) -> None:
    """Keep boto3 from signing again for the region of the bucket: nobody knows whether Sinch does that."""
    params["context"]["s3_redirect"]["redirected"] = True
