"""Where recordings are stored: Amazon S3, Azure Blob Storage or Google Cloud Storage.

URL and credential forms are Sinch's (https://developers.sinch.com/docs/in-app-calling/voice-recording).
Sinch overwrites a file of the same name without a word and reports no failed upload, so what cannot work is
refused here, when the profile is read, and not found out when a recording is missed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Scheme = Literal["s3", "azure", "gs"]

PLACEHOLDERS = ("callId", "conferenceId", "applicationKey", "date", "time", "format")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")
_ESCAPE = re.compile(r"_([0-9a-f]{2})")

_URL_FORM: Mapping[str, str] = {
    "s3": "s3://bucket/path/{callId}.{format}",
    "azure": "azure://account/container/path/{callId}.{format}",
    "gs": "gs://bucket/path/{callId}.{format}",
}
_CONTAINER: Mapping[str, re.Pattern[str]] = {
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    "azure": re.compile(r"[a-z0-9]{3,24}/[a-z0-9](?:-?[a-z0-9]){2,62}"),
    "gs": re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
}
_CONTAINER_NAMES: Mapping[str, str] = {
    "s3": "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens",
    "azure": "an account's name has 3 to 24 lower-case letters and digits, a container's 3 to 63 and single hyphens",
    "gs": "a bucket's name has 3 to 222 lower-case letters, digits, dots, hyphens and underscores",
}
_CREDENTIAL_FORM: Mapping[str, str] = {
    "s3": "KEY:SECRET:REGION",
    "azure": "the storage account's access key (Base64)",
    "gs": "KEY:SECRET (an HMAC interoperability key)",
}
_CREDENTIALS: Mapping[str, re.Pattern[str]] = {
    "s3": re.compile(r"[^:\s]+:[^:\s]+:[a-z]{2,}(-[a-z]+)+-[0-9]+"),
    "azure": re.compile(r"[^:\s]+"),
    "gs": re.compile(r"[^:\s]+:[^:\s]+"),
}
_KEY_PATH = re.compile(r"[A-Za-z0-9!_.*'()/{}=+@,~-]+")
_LONGEST_KEY = 1024
_TRANSCRIPT = "-transcript.json"
_EXTENSIONS = (".mp3", ".wav")


class DestinationRefused(ValueError):
    """A destination or its credentials cannot work; the text names what to write instead, never a secret."""


def escape(identifier: str) -> str:
    """Make an identifier safe for an object key, reversibly: all but letters, digits and ``-`` become ``_hh``.

    The result has no ``.``, ``/`` or ``%``, so it cannot leave its folder, and no store or URL parser reads
    anything into it. ``unescape`` gives the identifier back.
    """
    return _UNSAFE.sub(lambda char: "".join(f"_{byte:02x}" for byte in char[0].encode()), identifier)


def unescape(escaped: str) -> str:
    """Return the identifier that ``escape`` was given.

    Raises:
        ValueError: the text did not come from ``escape``.
    """
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), escaped).encode("latin-1")
    identifier = raw.decode()
    if escape(identifier) != escaped:
        raise ValueError("not an escaped identifier")
    return identifier


@dataclass(frozen=True, slots=True)
class Naming:
    """What a file is named after. ``at`` is when the call reached Sinch, in UTC."""

    call_id: str
    conference_id: str | None
    application_key: str
    at: datetime
    format: str

    def values(self) -> dict[str, str]:
        """Return the value of every placeholder."""
        return {
            "callId": escape(self.call_id),
            "conferenceId": escape(self.conference_id) if self.conference_id else "no-conference",
            "applicationKey": escape(self.application_key),
            "date": self.at.strftime("%Y/%m/%d"),
            "time": self.at.strftime("%H%M%S"),
            "format": self.format,
        }


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination URL with placeholders. ``container`` is the bucket, or Azure's account/container."""

    scheme: Scheme
    container: str
    path: str

    @classmethod
    def parse(cls, template: str) -> Destination:
        """Read a URL such as ``s3://bucket/recordings/{date}/{callId}.{format}``.

        Raises:
            DestinationRefused: it is no URL of a known store, uses a placeholder that does not exist, or does
                not name each call.
        """
        match template.partition("://"):
            case ("s3" | "azure" | "gs") as scheme, _, rest:
                return cls._parse(scheme, rest)
            case _:
                raise DestinationRefused(f"write one of {', '.join(_URL_FORM.values())}")

    @classmethod
    def _parse(cls, scheme: Scheme, rest: str) -> Destination:
        container, _, path = rest.partition("/")
        if scheme == "azure":
            folder, _, path = path.partition("/")
            container = f"{container}/{folder}"
        if not path:
            raise DestinationRefused(f"write {_URL_FORM[scheme]}")
        if not _CONTAINER[scheme].fullmatch(container):
            raise DestinationRefused(f"{_CONTAINER_NAMES[scheme]}; write {_URL_FORM[scheme]}")
        for name in _PLACEHOLDER.findall(path):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise DestinationRefused(f"{{{name}}} is no placeholder; there are {known}")
        fixed = _PLACEHOLDER.sub("", path)
        if "{" in fixed or "}" in fixed or not _KEY_PATH.fullmatch(path) or "//" in f"/{path}" or ".." in path:
            raise DestinationRefused("use letters, digits, / and - _ . ! * ' ( ) = + @ , ~ around the placeholders")
        if "{callId}" not in path:
            raise DestinationRefused(
                "every call would overwrite the same file, and Sinch does not ask; put {callId} into the name"
            )
        if path.endswith("/"):
            raise DestinationRefused("this names a folder; end it with a file name such as {callId}.{format}")
        return cls(scheme=scheme, container=container, path=path)

    def url(self, naming: Naming) -> str:
        """Return the URL of one call's file.

        Raises:
            DestinationRefused: the call's identifiers are too long for an object key of 1024 bytes.
        """
        values = naming.values()
        key = _PLACEHOLDER.sub(lambda match: values[match[1]], self.path)
        if len(key) > _LONGEST_KEY:
            raise DestinationRefused("the call's identifiers are too long for an object key")
        return f"{self.scheme}://{self.container}/{key}"


def check_credentials(scheme: Scheme, credentials: str) -> None:
    """Check that credentials have the form that this kind of store needs.

    Raises:
        DestinationRefused: they have another form; the text shows the right one.
    """
    fits = bool(_CREDENTIALS[scheme].fullmatch(credentials))
    if scheme == "azure":
        fits = fits and _is_base64(credentials)
    if not fits:
        raise DestinationRefused(f"write {_CREDENTIAL_FORM[scheme]}")


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:  # not Base64, or not even ASCII
        return False


def is_transcript(url: str) -> bool:
    """Tell whether a file is a transcript, by the name that Sinch gives it: ``<recording>-transcript.json``.

    Source: Sinch's page on call transcription of 2021. Whether the recording's extension is in it, it does not say.
    """
    return url.endswith(_TRANSCRIPT)


def place_of(url: str) -> str:
    """Return what a recording's URL and its transcript's have in common: all but their endings."""
    place = url.removesuffix(_TRANSCRIPT)
    for extension in _EXTENSIONS:
        place = place.removesuffix(extension)
    return place


@dataclass(frozen=True, slots=True)
class ObjectPointer:
    """Where a stored file is, as far as its URL tells."""

    url: str
    storage: Scheme | None = None
    bucket: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, url: str) -> ObjectPointer:
        """Take a URL apart. Of one that names no known store only the URL is kept; it is never fetched."""
        match url.partition("://"):
            case ("s3" | "gs") as scheme, _, rest:
                bucket, _, key = rest.partition("/")
            case "azure" as scheme, _, rest:
                account, _, rest = rest.partition("/")
                container, _, key = rest.partition("/")
                bucket = f"{account}/{container}"
            case _:
                return cls(url=url)
        return cls(url=url, storage=scheme, bucket=bucket, key=key) if bucket and key else cls(url=url)

    @property
    def file_name(self) -> str:
        """The last part of the path, by which the same file is known under two forms of URL."""
        return self.url.partition("?")[0].rpartition("/")[2]
