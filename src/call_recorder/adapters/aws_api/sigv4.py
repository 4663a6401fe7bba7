"""Signature Version 4: how a request says that it is from one of an account's identities.

For requests of AWS's JSON protocol alone, which have no query and sign every header that they have
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
    """An access key, and the session token that a role's has beside it. Shows none of them."""

    __slots__ = ("access_key", "secret_key", "token")

    def __init__(self, access_key: str, secret_key: str, token: str | None = None) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token


def find_credentials(environment: Mapping[str, str]) -> Callable[[], Credentials]:
    """Return what gives the credentials of the moment.

    Lambda puts its role's into the environment, where they stay good for as long as the environment lives. Where
    there are none, as after SnapStart, botocore finds them and keeps them fresh.
    """
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        token = environment.get("AWS_SESSION_TOKEN")
        fixed = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], token)
        return lambda: fixed
    return _Found()


class _Found:
    """Credentials that botocore finds when they are first needed."""

    def __init__(self) -> None:
        # To import it takes longer than all that the other credentials need. In a snapshot it is there already.
        import botocore.session

        self._session = botocore.session.get_session()
        self._credentials: Any = None

    def __call__(self) -> Credentials:
        """Return them, refreshed if they are about to expire.

        Raises:
            NoCredentials: there are none, or they cannot be fetched.
        """
        from botocore.exceptions import BotoCoreError

        try:
            self._credentials = self._credentials or self._session.get_credentials()
            if self._credentials is None:
                raise NoCredentials("NoCredentialsError")
            found = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentials(type(error).__name__) from error
        return Credentials(found.access_key, found.secret_key, found.token)


class NoCredentials(Exception):
    """There is nothing to sign with; the text is the name of botocore's error."""


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
    """Return the headers of a POST with those that sign it added.

    Args:
        headers: what is signed, by names in lower case; ``host`` must be among them.
        body: the request's body.
        path: the request's path, as it goes over the wire.
        credentials: whose request it is.
        region: the region of the service, such as ``eu-west-1``.
        service: the service as signatures name it, such as ``sqs``.
        at: the time in UTC. AWS allows five minutes of difference.
    """
    time = f"{at:%Y%m%dT%H%M%SZ}"
    day = time[:8]
    headers = {**headers, "x-amz-date": time}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = sorted(headers)
    listed = ";".join(names)
    canonical = "\n".join(
        ("POST", path, "", *(f"{name}:{headers[name]}" for name in names), "", listed, hashlib.sha256(body).hexdigest())
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    signature = hmac.digest(_key(credentials.secret_key, day, region, service), to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
    )
    return headers


@lru_cache(maxsize=8)
def _key(secret_key: str, *scope: str) -> bytes:
    """Return the key of one day, region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
