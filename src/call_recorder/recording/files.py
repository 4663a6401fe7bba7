"""A stored file as its witnesses describe it: Sinch's notification, and the bucket itself."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Self

from pydantic import AwareDatetime

from call_recorder.recording.destinations import ObjectPointer, Scheme
from call_recorder.recording.facts import Model, ObjectStored

UNNAMED = "unnamed"
"""What a file goes by that Sinch does not name."""


class StoredFile(Model):
    """A stored file: where, since when that is known, and how large, as far as its witnesses say.

    Sinch may leave out where. ``size`` (bytes), ``checksum`` (S3's ETag) and ``stored_at`` come from the bucket.
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
    def witnessed(cls, stored: ObjectStored) -> Self:
        """Describe a file that the bucket itself says it has."""
        known = {"size": stored.size, "checksum": stored.checksum, "stored_at": stored.at}
        return cls.at_url(stored.url, stored.at).model_copy(update=known)

    @property
    def name(self) -> str:
        """What the file goes by within a conference's recording: its file name, alike in every form of its URL."""
        return (ObjectPointer(self.url).file_name if self.url else "") or UNNAMED

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it. A file of unknown size is believed to be one."""
        return self.size == 0

    def joined(self, other: StoredFile) -> StoredFile:
        """Return what two witnesses say of one file: since when the earlier, where the surer, what the later."""
        where, what = min(self, other, key=_sureness), max(self, other, key=_version)
        return where.model_copy(
            update=_undeclared(self, other)
            | {
                "at": min(self.at, other.at),
                "size": what.size,
                "checksum": what.checksum,
                "stored_at": what.stored_at,
            }
        )


def _undeclared(one: StoredFile, other: StoredFile) -> dict[str, object]:
    """Return what a later version says of a file, of two values under one name always the same one."""
    extras = (one.model_extra or {}, other.model_extra or {})
    names = extras[0].keys() | extras[1].keys()
    return {name: min((each[name] for each in extras if name in each), key=json.dumps) for name in names}


def _sureness(file: StoredFile) -> tuple[bool, bool, str]:
    """Rank who says where a file is: the bucket before a URL of a known store, before any other."""
    return file.stored_at is None, file.storage is None, file.url or "\U0010ffff"


def _version(file: StoredFile) -> tuple[float, str]:
    """Rank what is said to be in a file: what was stored later counts, since Sinch writes over what is there."""
    stored = file.model_dump_json(include={"size", "checksum", "stored_at"})
    return file.stored_at.timestamp() if file.stored_at else 0.0, stored
