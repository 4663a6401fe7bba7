"""The kinds of storage that Sinch uploads to: one entry each. A new kind of storage is a new entry.

URL and credential forms are Sinch's (https://developers.sinch.com/docs/in-app-calling/voice-recording).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Scheme = Literal["s3", "azure", "gs"]


class Store(NamedTuple):
    """One kind of storage.

    Attributes:
        url_form: a URL as an operator writes it.
        container: a full match is a valid name of a container.
        container_rule: the rule for that name, in words.
        credential_form: the credentials as an operator writes them.
        credentials: a full match has the form of credentials.
        base64_credentials: the credentials are Base64.
        container_parts: how many parts of the path name the container: a bucket, or an account and its container.
    """

    url_form: str
    container: re.Pattern[str]
    container_rule: str
    credential_form: str
    credentials: re.Pattern[str]
    base64_credentials: bool = False
    container_parts: int = 1

    def split(self, path: str) -> tuple[str, str]:
        """Split the part of a URL behind ``://`` into the container and the object key."""
        parts = [*path.split("/", self.container_parts), *[""] * self.container_parts]
        return "/".join(parts[: self.container_parts]), parts[self.container_parts]

    def accepts_credentials(self, credentials: str) -> bool:
        """Tell whether credentials have the form that this storage needs."""
        return bool(self.credentials.fullmatch(credentials)) and (
            not self.base64_credentials or _is_base64(credentials)
        )


STORES: Final[Mapping[Scheme, Store]] = {
    "s3": Store(
        url_form="s3://bucket/path/{callId}.{format}",
        container=re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        container_rule="a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens",
        credential_form="KEY:SECRET:REGION",
        credentials=re.compile(r"[^:\s]+:[^:\s]+:[a-z]{2,}(-[a-z]+)+-[0-9]+"),
    ),
    "azure": Store(
        url_form="azure://account/container/path/{callId}.{format}",
        container=re.compile(r"[a-z0-9]{3,24}/[a-z0-9](?:-?[a-z0-9]){2,62}"),
        container_rule=(
            "an account's name has 3 to 24 lower-case letters and digits, a container's 3 to 63 and single hyphens"
        ),
        credential_form="the storage account's access key (Base64)",
        credentials=re.compile(r"[^:\s]+"),
        base64_credentials=True,
        container_parts=2,
    ),
    "gs": Store(
        url_form="gs://bucket/path/{callId}.{format}",
        container=re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
        container_rule="a bucket's name has 3 to 222 lower-case letters, digits, dots, hyphens and underscores",
        credential_form="KEY:SECRET (an HMAC interoperability key)",
        credentials=re.compile(r"[^:\s]+:[^:\s]+"),
    ),
}


def find_store(url: str) -> tuple[Scheme, Store, str] | None:
    """Return the kind of storage that a URL names, with the rest of the URL behind ``://``; else ``None``."""
    match url.partition("://"):
        case ("s3" | "azure" | "gs") as scheme, _, path:
            return scheme, STORES[scheme], path
        case _:
            return None


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:  # not Base64, or not ASCII
        return False
