"""The files of a recording: where they are, whether they are ours, and URLs to read them with.

A notification may name any URL. So a file is read only if its place is known from our own request or profile: nobody
else makes this machine use the credentials of an application, or fetch another recording's file under this one's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from botocore.exceptions import ClientError
from pydantic import SecretStr

from call_recorder.answering.destinations import Destination, DestinationRefused, check_credentials
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE
from call_recorder.answering.profile import ProfileRefused, RecordingProfile
from call_recorder.facts.identifiers import escape
from call_recorder.facts.storage_urls import ObjectPointer, get_location
from call_recorder.facts.stores import Scheme
from call_recorder.tracking.recording import RECORDING, Recording
from call_recorder_cli.applications.parameters import ApplicationParameters, StoredApplication
from call_recorder_cli.errors import CommandFailed, NoRight, NotFound
from call_recorder_cli.recordings.finder import RecordingFinder
from call_recorder_cli.recordings.transfers import SignedUrl
from call_recorder_cli.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AZURE_ENDPOINT: Final = "https://{account}.blob.core.windows.net"
GOOGLE_ENDPOINT: Final = "https://storage.googleapis.com"
"""The endpoint of its XML API, which takes HMAC keys and signatures of S3's form ("Signatures" and "Simple migration
from Amazon S3" in the documentation of Cloud Storage, read in November 2026)."""

MAX_LIFETIME: Final = timedelta(days=7)
"""Maximum lifetime of a signed URL: of Signature Version 4 at S3 (`aws s3 presign`: 604800 seconds) and at Google
("V4 signing process"); read in November 2026. Azure has no maximum, and gets the same."""

_MAX_NAME: Final = 120
_EXTENSIONS: Final = ("-transcript.json", ".mp3", ".wav", ".json")

Kind = Literal["recording", "transcript"]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file of a recording.

    Attributes:
        kind: what it is.
        name: its name among the recording's files of this kind.
        url: its URL.
    """

    kind: Kind
    name: str
    url: str

    @property
    def pointer(self) -> ObjectPointer:
        """The parts of the URL."""
        return ObjectPointer.of(self.url)

    def choose_name(self, recording_id: str, *, single: bool) -> str:
        """Return a name for a copy of the file. Ids and names are words of strangers: it has no path and no surprise.

        Args:
            recording_id: the id of the recording.
            single: whether it is the only file of the recording of its kind.
        """
        extension = next((each for each in _EXTENSIONS if self.url.partition("?")[0].endswith(each)), ".bin")
        stem = escape(recording_id)
        if not single:
            stem += "--" + escape(self.name.removesuffix(extension))
        if len(stem) > _MAX_NAME:
            stem = f"{stem[:_MAX_NAME]}-{hashlib.sha256(stem.encode()).hexdigest()[:16]}"
        return stem + extension


def list_objects(recording: Recording, kind: Kind) -> list[StoredObject]:
    """Return the files of a recording, or its transcripts.

    If nobody reported the file of a recording, it may still be where Sinch was told to put it.
    """
    request = recording.first_request if kind == "recording" else None
    requested = request.destination_url if request else None
    stored = recording.available if kind == "recording" else recording.transcripts
    found = [StoredObject(kind, name, url) for name, file in sorted(stored.items()) if (url := file.url or requested)]
    if not found and requested:
        found.append(StoredObject(kind, RECORDING, requested))
    return list({each.url: each for each in found}.values())


class FileReader:
    """Makes URLs to read the files of one recording with.

    Args:
        stack: the stack.
        recording: the recording.
        finder: finds who owns a location in the stack's bucket.
    """

    def __init__(self, stack: Stack, recording: Recording, finder: RecordingFinder) -> None:
        self._stack = stack
        self._recording = recording
        self._finder = finder
        self._own_bucket = stack.output("RecordingsBucketName")

    def sign(self, stored: StoredObject, lifetime: timedelta, *, with_checksum: bool = False) -> SignedUrl:
        """Return a URL to read a file with, after a check that the file is ours.

        Args:
            stored: the file.
            lifetime: how long the URL works, at most seven days.
            with_checksum: whether S3 is to send its checksum. It needs a header, so a browser cannot use such a URL.

        Raises:
            CommandFailed: the file is not ours, or the credentials of the application cannot read it.
        """
        pointer = stored.pointer
        if pointer.storage is None or pointer.bucket is None or pointer.key is None:
            raise CommandFailed("The URL of the file names no storage that the recorder knows.")
        self._check_ours(pointer)
        if pointer.storage == "azure":
            return self._sign_azure(pointer.bucket, pointer.key, lifetime)
        client, needs = self._make_s3_client(pointer.storage, pointer.bucket)
        wanted: dict[str, Any] = {"Bucket": pointer.bucket, "Key": pointer.key}
        headers = {}
        if with_checksum and pointer.storage == "s3":
            wanted["ChecksumMode"] = "ENABLED"
            headers["x-amz-checksum-mode"] = "ENABLED"
        url = client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=int(lifetime.total_seconds()))
        return SignedUrl(pointer.storage, url, headers, needs)

    def uses_own_bucket(self, stored: StoredObject) -> bool:
        """Tell whether a file is in the stack's bucket, which the user's own credentials read."""
        return (stored.pointer.storage, stored.pointer.bucket) == ("s3", self._own_bucket)

    def _check_ours(self, pointer: ObjectPointer) -> None:
        requested = [ObjectPointer.of(each.destination_url) for each in self._recording.requests.values()]
        if get_location(pointer.url) in {get_location(each.url) for each in requested}:
            return
        container = (pointer.storage, pointer.bucket)
        if container == ("s3", self._own_bucket):
            owner = location.owner if (location := self._finder.find_owner(pointer.url)) else None
            ids = (self._recording.call_id, self._recording.conference_id, self._recording.recording_id)
            if owner and owner.application_key == self._recording.application_key and owner.recording_id in ids:
                return
            raise CommandFailed(
                "The file is not this recording's: only a notification names it, and its place in the stack's bucket "
                "belongs to no request of this recording."
            )
        if container not in {*((each.storage, each.bucket) for each in requested), *self._list_destinations()}:
            raise CommandFailed(
                f"The file is said to be in {pointer.storage}://{pointer.bucket}, which is no destination of this "
                "application: a notification names it, and neither a request nor the profile does. It is not fetched."
            )

    def _list_destinations(self) -> Iterator[tuple[Scheme, str]]:
        try:
            profile = RecordingProfile.parse(self._application.profile or "{}")
        except ProfileRefused:
            return
        for template in (profile.destination, *(rule.destination for rule in profile.rules)):
            if template:
                destination = Destination.parse(template)
                yield destination.scheme, destination.container

    @cached_property
    def _application(self) -> StoredApplication:
        """The parameters of the application that say where its files are and how to read them."""
        return ApplicationParameters(self._stack).read(self._recording.application_key, (CREDENTIALS, PROFILE))

    def _read_credentials(self, scheme: Scheme) -> list[str]:
        """Return the parts of the application's storage credentials.

        Raises:
            CommandFailed: there are none, or they are for another storage.
        """
        secret = SecretStr(self._application.values.get(CREDENTIALS, SecretStr("")).get_secret_value().strip())
        if not secret.get_secret_value():
            raise NotFound(f"The application has no {CREDENTIALS}, with which its files at {scheme} are read.")
        try:
            check_credentials(scheme, secret.get_secret_value())
        except DestinationRefused:
            raise CommandFailed(
                f"The application's {CREDENTIALS} are for another storage than {scheme}, where the file is: read it "
                "with credentials of that storage."
            ) from None
        return secret.get_secret_value().split(":")

    def _make_s3_client(self, scheme: Scheme, bucket: str) -> tuple[S3Client, str]:
        """Return a client that reads a bucket, and who gives the right to."""
        from botocore.config import Config

        session = self._stack.session
        config = Config(
            signature_version="s3v4",  # S3 in newer regions, and objects that KMS encrypts, take no other.
            # By itself, boto3 signs for the global endpoint, which redirects, and so breaks the signature.
            s3={"addressing_style": "virtual" if self._stack.on_aws else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        if scheme == "gs":
            key, secret = self._read_credentials(scheme)
            client = session.client(
                "s3",
                endpoint_url=GOOGLE_ENDPOINT,
                region_name="auto",
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=config.merge(Config(s3={"addressing_style": "path"})),
            )
            return client, "the account of the HMAC key in storage-credentials needs storage.objects.get on the bucket"
        if bucket == self._own_bucket:
            region = _find_region(session.client("s3"), bucket)
            return session.client("s3", region_name=region, config=config), "ask for the stack's InvestigatorPolicy"
        key, secret, region = self._read_credentials(scheme)
        client = session.client(
            "s3", region_name=region, aws_access_key_id=key, aws_secret_access_key=secret, config=config
        )
        return client, f"the key in storage-credentials needs s3:GetObject on {bucket}, which an upload does not"

    def _sign_azure(self, bucket: str, key: str, lifetime: timedelta) -> SignedUrl:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        account, _, container = bucket.partition("/")
        endpoint = AZURE_ENDPOINT.format(account=account)
        [secret] = self._read_credentials("azure")
        token = generate_blob_sas(
            account,
            container,
            key,
            account_key=secret,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + lifetime,
            protocol=endpoint.partition(":")[0],
        )
        url = f"{endpoint}/{container}/{quote(key, safe='/~')}?{token}"
        return SignedUrl("azure", url, {}, "the access key in storage-credentials is not, or no longer, the account's")


def _find_region(client: S3Client, bucket: str) -> str | None:
    """Return the region of a bucket. S3 names it in every answer to HeadBucket, also if it denies the rest.

    Source: HeadBucket and GetBucketLocation in the API reference of Amazon S3, read in November 2026.
    """
    try:
        metadata: Any = client.head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        metadata = error.response["ResponseMetadata"]
        if metadata.get("HTTPStatusCode") == 404:
            raise NotFound(f"There is no bucket {bucket}.") from None
    region: str | None = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return region


def find_signing_problem(stack: Stack) -> str | None:
    """Return why a URL that the user's own credentials sign may end earlier, or ``None`` if it does not."""
    credentials = stack.session.get_credentials()
    if credentials is None:
        raise NoRight("There are no usable AWS credentials: sign in, or pass --profile.")
    if credentials.get_frozen_credentials().token is None:
        return None
    # Source: "Sharing objects with presigned URLs" in the user guide of Amazon S3, and AWS's knowledge centre on URLs
    # that end early; read in November 2026.
    return "Your credentials are temporary: the URL ends with them, if that is earlier."
