"""Callback signatures of the Sinch Voice API.

Sinch signs each callback with the application secret::

    Authorization: application <application key>:<Base64(HMAC-SHA256(Base64Decode(secret), string to sign))>

over method, content MD5, content type, ``x-timestamp`` and path, as documented at
https://developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from call_recorder.sinch.timestamps import parse_timestamp

# A key becomes part of a parameter's path, so only what is safe there is a key at all.
_AUTHORIZATION = re.compile(r"application[ ]+([A-Za-z0-9_.-]{1,128}):([^\s]{1,256})", re.IGNORECASE)


class SignatureError(Exception):
    """The callback is not authentic. The text tells an operator why; it never reaches the sender."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """The two halves of a well-formed ``Authorization`` header: whose key, and which signature."""

    application_key: str
    signature: str

    @classmethod
    def parse(cls, header: str | None) -> Authorization:
        """Read the header's value.

        The scheme word is ``application`` in any case; ``Basic``, which the vendor's API description also
        lists, is refused because it would put the secret itself on the wire.

        Raises:
            SignatureError: the header is missing or of another form.
        """
        if header is None:
            raise SignatureError("authorization header missing")
        match = _AUTHORIZATION.fullmatch(header)
        if match is None:
            raise SignatureError("authorization header malformed")
        return cls(application_key=match[1], signature=match[2])


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a callback signature covers.

    ``path`` is the public one, as in the URL given to Sinch, without query. ``content_type`` and
    ``timestamp`` are the header values as they came; ``body`` is the raw bytes.
    """

    path: str
    content_type: str
    timestamp: str
    body: bytes
    method: str = "POST"

    def string_to_sign(self) -> bytes:
        """Return the bytes that the HMAC is made over."""
        md5 = hashlib.md5(self.body, usedforsecurity=False).digest() if self.body else b""
        content_md5 = base64.b64encode(md5).decode()
        lines = (self.method, content_md5, self.content_type, f"x-timestamp:{self.timestamp}", self.path)
        # A header can carry what UTF-8 cannot (a lone surrogate from JSON): it must fail to match, not to encode.
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    def signature(self, secret: bytes) -> str:
        """Return the Base64 signature under ``secret``, the Base64-decoded application secret."""
        return base64.b64encode(hmac.digest(secret, self.string_to_sign(), "sha256")).decode()


def check_age(timestamp: str, *, now: datetime, window: timedelta) -> datetime:
    """Return when the callback was signed; refuse what is further than ``window`` from ``now``, on either side.

    Sinch asks receivers to check the age and names no limit.

    Raises:
        SignatureError: the timestamp is not one, or is outside the window.
    """
    try:
        signed_at = parse_timestamp(timestamp)
    except ValueError:
        raise SignatureError("x-timestamp malformed") from None
    if abs(now - signed_at) > window:
        raise SignatureError("x-timestamp outside the window")
    return signed_at


def verify(request: SignedRequest, signature: str, secrets: Iterable[bytes]) -> None:
    """Check ``signature`` against each of the valid secrets, in constant time for each.

    Raises:
        SignatureError: no secret makes this signature.
    """
    given = signature.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(request.signature(secret).encode(), given) for secret in secrets]
    if not any(matches):
        raise SignatureError("signature does not match")


def decode_secret(secret: str) -> bytes:
    """Base64-decode an application secret as the Sinch dashboard shows it.

    Raises:
        ValueError: it is not Base64, or empty.
    """
    try:
        decoded = base64.b64decode(secret, validate=True)
    except ValueError:  # not Base64, or not even ASCII
        decoded = b""
    if not decoded:
        raise ValueError("the secret is not Base64; paste it as the Sinch dashboard shows it")
    return decoded


def sign(secret: str, *, path: str, content_type: str, timestamp: str, body: bytes, method: str = "POST") -> str:
    """Sign as Sinch does: the Base64 signature under the Base64 ``secret``. For the simulator and for upstreams.

    Raises:
        ValueError: the secret is not Base64.
    """
    request = SignedRequest(path=path, content_type=content_type, timestamp=timestamp, body=body, method=method)
    return request.signature(decode_secret(secret))


def authorization(application_key: str, signature: str) -> str:
    """Return the ``Authorization`` header's value for a signature."""
    return f"application {application_key}:{signature}"
