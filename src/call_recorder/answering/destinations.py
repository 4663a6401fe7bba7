"""Destinations of recordings: Amazon S3, Azure Blob Storage or Google Cloud Storage.

URL and credential forms are Sinch's (https://developers.sinch.com/docs/in-app-calling/voice-recording).
Sinch overwrites a file of the same name without a warning, and reports no failed upload. So a destination that cannot
work is refused when the profile is read. Otherwise, only missing recordings would show the mistake.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from call_recorder.facts.identifiers import escape
from call_recorder.facts.stores import STORES, Scheme, find_store

PLACEHOLDERS = ("callId", "conferenceId", "applicationKey", "date", "time", "format")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_KEY_PATH = re.compile(r"[A-Za-z0-9!_.*'()/{}=+@,~-]+")
_MAX_KEY = 1024


class DestinationRefused(ValueError):
    """A destination or its credentials cannot work. The text says what to write instead, and contains no secret."""


class Naming(NamedTuple):
    """The values for the placeholders in a file's name. ``at`` is when the call reached Sinch, in UTC."""

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
            # Several times faster than strftime, and a caller waits.
            "date": f"{self.at.year:04}/{self.at.month:02}/{self.at.day:02}",
            "time": f"{self.at.hour:02}{self.at.minute:02}{self.at.second:02}",
            "format": self.format,
        }


class Destination(NamedTuple):
    """A destination URL with placeholders. ``container`` is the bucket, or for Azure ``account/container``."""

    scheme: Scheme
    container: str
    path: str

    @classmethod
    def parse(cls, template: str) -> Destination:
        """Read a URL such as ``s3://bucket/recordings/{date}/{callId}.{format}``.

        Raises:
            DestinationRefused: the text is not a URL of a known storage, has an unknown placeholder, or names the same
                file for every call.
        """
        found = find_store(template)
        if found is None:
            raise DestinationRefused(f"write one of {', '.join(store.url_form for store in STORES.values())}")
        scheme, store, rest = found
        container, path = store.split(rest)
        if not path:
            raise DestinationRefused(f"write {store.url_form}")
        if not store.container.fullmatch(container):
            raise DestinationRefused(f"{store.container_rule}; write {store.url_form}")
        _check_path(path)
        return cls(scheme=scheme, container=container, path=path)

    def make_url(self, naming: Naming) -> str:
        """Return the URL of one call's file.

        Raises:
            DestinationRefused: the call's identifiers are too long for an object key of 1024 bytes.
        """
        key = self.path.format_map(naming.values())  # Its only braces are around placeholders: _check_path.
        if len(key) > _MAX_KEY:
            raise DestinationRefused("the call's identifiers are too long for an object key")
        return f"{self.scheme}://{self.container}/{key}"


def check_credentials(scheme: Scheme, credentials: str) -> None:
    """Check that credentials have the form that their storage needs.

    Raises:
        DestinationRefused: they have another form. The text shows the right one.
    """
    store = STORES[scheme]
    if not store.accepts_credentials(credentials):
        raise DestinationRefused(f"write {store.credential_form}")


def _check_path(path: str) -> None:
    for name in _PLACEHOLDER.findall(path):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise DestinationRefused(f"{{{name}}} is no placeholder; write one of {known}")
    fixed = _PLACEHOLDER.sub("", path)
    if "{" in fixed or "}" in fixed or not _KEY_PATH.fullmatch(path) or "//" in f"/{path}" or ".." in path:
        raise DestinationRefused("use letters, digits, / and - _ . ! * ' ( ) = + @ , ~ around the placeholders")
    if "{callId}" not in path:
        raise DestinationRefused(
            "every call would overwrite the same file, and Sinch gives no warning; put {callId} into the name"
        )
    if path.endswith("/"):
        raise DestinationRefused("this names a folder; end it with a file name such as {callId}.{format}")
