"""The files of recordings in the stack's bucket (Amazon S3): their versions, and the legal hold of Object Lock.

Sources, read in November 2026: "Deleting object versions from a versioning-enabled bucket" and "Locking objects with
Object Lock" in the user guide of Amazon S3, and DeleteObjects in its API reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.custody.ports import FileVersion
from call_recorder.facts.errors import FilesUnavailable
from call_recorder.facts.storage_urls import get_location

MAX_KEYS: Final = 1000
"""Maximum number of versions in one DeleteObjects."""

_NO_OBJECT_LOCK: Final = "ObjectLockConfigurationNotFoundError"


class RecordingFiles:
    """Lists, deletes and holds the versions of files.

    Args:
        s3: S3.
        bucket: the name of the stack's bucket.
    """

    def __init__(self, s3: Operations, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = f"s3://{bucket}/"

    def list_versions(self, location: str) -> list[FileVersion]:
        """Return every version of the files at an object location, with the delete markers. Raises FilesUnavailable."""
        return [version for version in self._list(location) if get_location(version.url) == location]

    def delete(self, versions: Sequence[FileVersion]) -> set[str]:
        """Delete versions for good. A version that is gone counts as deleted.

        Returns:
            S3's error codes for the versions that it refused.

        Raises:
            FilesUnavailable: a call failed.
        """
        refused: set[str] = set()
        for first in range(0, len(versions), MAX_KEYS):
            some = versions[first : first + MAX_KEYS]
            objects = [{"Key": self._key(version.url), "VersionId": version.id} for version in some]
            answer = self._call("DeleteObjects", {"Delete": {"Objects": objects, "Quiet": True}})
            refused |= {error.get("Code", "unknown") for error in answer.get("Errors", ())}
        return refused

    def has_object_lock(self) -> bool:
        """Tell whether the bucket has Object Lock. Raises FilesUnavailable."""
        try:
            answer = self._s3.call("GetObjectLockConfiguration", {"Bucket": self._bucket})
        except CallFailed as error:
            if error.reason == _NO_OBJECT_LOCK:
                return False
            raise FilesUnavailable(str(error)) from error
        return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def set_legal_hold(self, version: FileVersion, *, on: bool) -> None:
        """Put the legal hold on a version, or take it away. Raises FilesUnavailable."""
        status = {"Status": "ON" if on else "OFF"}
        about = {"Key": self._key(version.url), "VersionId": version.id}
        self._call("PutObjectLegalHold", {**about, "LegalHold": status})

    def _list(self, location: str) -> Iterator[FileVersion]:
        """Yield the versions of all files whose name begins as the location. Others may be among them."""
        parameters: dict[str, Any] = {"Prefix": self._key(location)}
        while True:
            page = self._call("ListObjectVersions", parameters)
            for kind in ("Versions", "DeleteMarkers"):
                for each in page.get(kind, ()):
                    url = f"{self._prefix}{each['Key']}"
                    yield FileVersion(url, each["VersionId"], is_marker=kind == "DeleteMarkers")
            if not page.get("IsTruncated"):
                return
            parameters |= {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _key(self, url: str) -> str:
        return url.removeprefix(self._prefix)

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._s3.call(operation, {"Bucket": self._bucket, **parameters})
        except CallFailed as error:
            raise FilesUnavailable(str(error)) from error
