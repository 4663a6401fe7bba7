"""Callback signatures of the Sinch Voice API.

Sinch signs each callback with the application secret::

    Authorization: application <application key>:<Base64(HMAC-SHA256(Base64Decode(secret), string to sign))>

The string to sign contains the method, the MD5 of the content, the content type, ``x-timestamp`` and the path. Source:
https://developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from call_recorder.sinch.timestamps import parse_timestamp

# An application key becomes part of a parameter's path, so only characters that are safe there are accepted.
_AUTHORIZATION = re.compile(r"application[ ]+([A-Za-z0-9_.-]{1,128}):([^\s]{1,256})", re.IGNORECASE)


class SignatureError(Exception):
    """The callback is not authentic. The text tells an operator the reason. The sender does not get it."""


class Authorization(NamedTuple):
    """The two parts of a well-formed ``Authorization`` header: the application key and the signature."""

    application_key: str
    signature: str

    @classmethod
    def parse(cls, header: str | None) -> Authorization:
        """Read the value of the header.

        The scheme is ``application``, in any case. Sinch's API description also lists ``Basic``, which is refused: it
        would send the secret itself.

        Raises:
            SignatureError: the header is missing or has another form.
        """
        if header is None:
            raise SignatureError("authorization header missing")
        match = _AUTHORIZATION.fullmatch(header)
        if match is None:
            raise SignatureError("authorization header malformed")
        return cls(application_key=match[1], signature=match[2])


class SignedRequest(NamedTuple):
    """The parts of a request that a callback signature covers.

    ``path`` is the path of the callback URL in Sinch's dashboard, without a query. ``content_type`` and ``timestamp``
    are the unchanged values of the headers. ``body`` is the raw body.
    """

    path: str
    content_type: str
    timestamp: str
    body: bytes
    method: str = "POST"

    def string_to_sign(self) -> bytes:
        """Return the bytes that the signature is computed from."""
        md5 = hashlib.md5(self.body, usedforsecurity=False).digest() if self.body else b""
        content_md5 = base64.b64encode(md5).decode()
        lines = (self.method, content_md5, self.content_type, f"x-timestamp:{self.timestamp}", self.path)
        # A header in a Lambda event may have a lone surrogate, which UTF-8 refuses. Then the signature must not match.
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    def sign(self, secret: bytes) -> str:
        """Return the signature in Base64. ``secret`` is the application secret, decoded from Base64."""
        return _sign(secret, self.string_to_sign()).decode()


def _sign(secret: bytes, text: bytes) -> bytes:
    return base64.b64encode(hmac.digest(secret, text, "sha256"))


def check_age(timestamp: str, *, now: datetime, window: timedelta) -> datetime:
    """Return when the callback was signed. Refuse a time that differs from ``now`` by more than ``window``.

    Sinch asks receivers to check the age, and names no limit.

    Raises:
        SignatureError: the timestamp is malformed or outside the window.
    """
    try:
        signed_at = parse_timestamp(timestamp)
    except ValueError:
        raise SignatureError("x-timestamp malformed") from None
    if abs(now - signed_at) > window:
        raise SignatureError("x-timestamp outside the window")
    return signed_at


def verify(request: SignedRequest, signature: str, secrets: Iterable[bytes]) -> None:
    """Check a signature with each of the secrets, in constant time.

    Raises:
        SignatureError: the signature does not match any of the secrets.
    """
    received, text = signature.encode("utf-8", "surrogatepass"), request.string_to_sign()
    matches = [hmac.compare_digest(_sign(secret, text), received) for secret in secrets]
    if not any(matches):
        raise SignatureError("signature does not match")


def decode_secret(secret: str) -> bytes:
    """Decode an application secret from Base64, the form in which the Sinch dashboard shows it.

    Raises:
        ValueError: the secret is not Base64, or is empty.
    """
    try:
        decoded = base64.b64decode(secret, validate=True)
    except ValueError:  # not Base64, or not ASCII
        decoded = b""
    if not decoded:
        raise ValueError("the secret is not Base64; paste it as the Sinch dashboard shows it")
    return decoded


def sign(secret: str, *, path: str, content_type: str, timestamp: str, body: bytes, method: str = "POST") -> str:
    """Sign a request like Sinch, with a secret in Base64, and return the signature. The simulator uses it.

    Raises:
        ValueError: the secret is not Base64.
    """
    request = SignedRequest(path=path, content_type=content_type, timestamp=timestamp, body=body, method=method)
    return request.sign(decode_secret(secret))


def format_authorization(application_key: str, signature: str) -> str:
    """Return the value of the ``Authorization`` header for a signature."""
    return f"application {application_key}:{signature}"
