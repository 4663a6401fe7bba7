"""URLs of stored files: the storage that they name, and the object location of a recording and its transcript."""

from __future__ import annotations

from dataclasses import dataclass

from call_recorder.facts.stores import Scheme, find_store

_TRANSCRIPT = "-transcript.json"
_EXTENSIONS = (".mp3", ".wav")

PROBE = "call-recorder-check;"
"""The beginning of the name of a probe: a small file with which an operator tries out a destination.

No recording is requested under such a name: neither a destination nor an escaped id may have a semicolon.
"""

_MAX_PROBE_BYTES = 1024


def is_transcript(url: str) -> bool:
    """Tell whether a file is a transcript, by the name that Sinch gives it: ``<recording>-transcript.json``.

    Source: Sinch's page on call transcription of 2021. It does not say whether ``<recording>`` has its extension.
    """
    return url.endswith(_TRANSCRIPT)


def get_location(url: str) -> str:
    """Return the object location of a recording or a transcript: the URL without the endings that differ."""
    location = url.removesuffix(_TRANSCRIPT)
    for extension in _EXTENSIONS:
        location = location.removesuffix(extension)
    return location


@dataclass(frozen=True, slots=True)
class ObjectPointer:
    """The parts of a stored file's URL that are known. For Azure, ``bucket`` is ``account/container``."""

    url: str
    storage: Scheme | None = None
    bucket: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, url: str) -> ObjectPointer:
        """Split a URL. If it names no known storage, the pointer has the URL only. The URL is never fetched."""
        found = find_store(url)
        if found is None:
            return cls(url=url)
        scheme, store, path = found
        bucket, key = store.split(path)
        return cls(url=url, storage=scheme, bucket=bucket, key=key) if bucket and key else cls(url=url)

    def is_probe(self, size: int) -> bool:
        """Tell whether the file is a probe: it is no recording, so nothing waits for it.

        The name alone does not tell. Somebody else may have chosen it, such as a caller who names a conference.
        """
        return size <= _MAX_PROBE_BYTES and PROBE in (self.key or "")

    @property
    def file_name(self) -> str:
        """The last part of the path. It is the same in both forms of a file's URL."""
        return self.url.partition("?")[0].rpartition("/")[2]
