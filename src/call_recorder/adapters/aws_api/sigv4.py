"""AWS Signature Version 4, for requests of AWS's JSON protocol.

These requests have no query, and sign all their headers
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials:
    """An access key, with a session token if it belongs to a role. Its ``repr`` shows neither."""

    __slots__ = ("access_key", "secret_key", "token")

    def __init__(self, access_key: str, secret_key: str, token: str | None = None) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token


def find_credentials(environment: Mapping[str, str]) -> Callable[[], Credentials]:
    """Return a function that returns the current credentials.

    Lambda puts the credentials of its role into the environment, where they are valid until the environment ends.
    Without them, as after SnapStart, botocore finds credentials and refreshes them.
    """
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        token = environment.get("AWS_SESSION_TOKEN")
        fixed = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], token)
        return lambda: fixed
    return _BotocoreCredentials()


class _BotocoreCredentials:
    """Returns credentials that botocore finds when they are first needed."""

    def __init__(self) -> None:
        # Imported here, since botocore takes long to import. A snapshot contains it already.
        import botocore.session

        self._session = botocore.session.get_session()
        self._credentials: Any = None

    def __call__(self) -> Credentials:
        """Return the credentials, refreshed if they are about to expire.

        Raises:
            NoCredentials: botocore finds no credentials, or cannot fetch them.
        """
        from botocore.exceptions import BotoCoreError

        try:
            self._credentials = self._credentials or self._session.get_credentials()
            if self._credentials is None:
                raise NoCredentials("NoCredentialsError")
            frozen = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentials(type(error).__name__) from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


class NoCredentials(Exception):
    """There are no credentials to sign with. The text is the name of botocore's error."""


def sign_request(
    headers: Mapping[str, str],
    body: bytes,
    *,
    path: str,
    credentials: Credentials,
    region: str,
    service: str,
    at: datetime,
) -> dict[str, str]:
    """Sign a POST request: return its headers and the headers of the signature.

    Args:
        headers: the headers, with names in lower case. They must include ``host``.
        body: the body of the request.
        path: the path of the request, as it is sent.
        credentials: the credentials to sign with.
        region: the region of the service, such as ``eu-west-1``.
        service: the name of the service in signatures, such as ``sqs``.
        at: the time in UTC. AWS accepts a difference of five minutes.
    """
    # Several times faster than strftime, and a caller waits.
    day = f"{at.year:04}{at.month:02}{at.day:02}"
    time = f"{day}T{at.hour:02}{at.minute:02}{at.second:02}Z"
    headers = {**headers, "x-amz-date": time}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = sorted(headers)
    lines = "".join([f"{name}:{headers[name]}\n" for name in names])
    signed_headers = ";".join(names)
    canonical = f"POST\n{path}\n\n{lines}\n{signed_headers}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _derive_key(credentials.secret_key, day, region, service)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={signed_headers}, "
        f"Signature={signature}"
    )
    return headers


@lru_cache(maxsize=8)
def _derive_key(secret_key: str, *scope: str) -> bytes:
    """Derive the signing key of a day, a region and a service."""
    key = f"AWS4{secret_key}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
