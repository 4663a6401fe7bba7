"""A stored file, as its two witnesses describe it: Sinch's notification and the bucket."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Self

from pydantic import AwareDatetime

from call_recorder.facts.facts import ObjectStoredFact
from call_recorder.facts.model import Model
from call_recorder.facts.storage_urls import ObjectPointer
from call_recorder.facts.stores import Scheme

UNNAMED = "unnamed"
"""The name of a file that a notification does not name."""


class StoredFile(Model):
    """A stored file.

    ``at`` is when it was first reported. A notification may have no ``url``. ``size`` (bytes), ``checksum`` (S3's ETag)
    and ``stored_at`` come from the bucket.
    """

    at: AwareDatetime
    url: str | None = None
    storage: Scheme | None = None
    bucket: str | None = None
    key: str | None = None
    size: int | None = None
    checksum: str | None = None
    stored_at: AwareDatetime | None = None

    @classmethod
    def at_url(cls, url: str, at: datetime) -> Self:
        """Describe the file at a URL."""
        pointer = ObjectPointer.of(url)
        return cls(at=at, url=url, storage=pointer.storage, bucket=pointer.bucket, key=pointer.key)

    @classmethod
    def from_bucket(cls, stored: ObjectStoredFact) -> Self:
        """Describe a file that the bucket reports."""
        known = {"size": stored.size, "checksum": stored.checksum, "stored_at": stored.at}
        return cls.at_url(stored.url, stored.at).model_copy(update=known)

    @property
    def name(self) -> str:
        """The key of the file in a conference's recording: its file name, which both forms of its URL share."""
        return (ObjectPointer(self.url).file_name if self.url else "") or UNNAMED

    @property
    def empty(self) -> bool:
        """True if the file has 0 bytes. A file of unknown size counts as not empty."""
        return self.size == 0

    def join(self, other: StoredFile) -> StoredFile:
        """Return what two witnesses report of one file: earliest time, most reliable location, latest content."""
        location, content = min(self, other, key=_reliability), max(self, other, key=_version)
        return location.model_copy(
            update=_undeclared(self, other)
            | {
                "at": min(self.at, other.at),
                "size": content.size,
                "checksum": content.checksum,
                "stored_at": content.stored_at,
            }
        )


def _undeclared(one: StoredFile, other: StoredFile) -> dict[str, object]:
    """Return the fields that a later version added. The choice between two values does not depend on their order."""
    extras = (one.model_extra or {}, other.model_extra or {})
    names = extras[0].keys() | extras[1].keys()
    return {name: min((each[name] for each in extras if name in each), key=json.dumps) for name in names}


def _reliability(file: StoredFile) -> tuple[bool, bool, str]:
    """Rank the location of a file: the bucket's report, then a URL of a known storage, then any other URL."""
    return file.stored_at is None, file.storage is None, file.url or "\U0010ffff"


def _version(file: StoredFile) -> tuple[float, str]:
    """Rank the content of a file: the latest counts, since Sinch overwrites files."""
    stored = file.model_dump_json(include={"size", "checksum", "stored_at"})
    return file.stored_at.timestamp() if file.stored_at else 0.0, stored
