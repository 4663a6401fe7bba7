"""Sinch's configuration API: the callback URLs of an application.

Sources, read in November 2026: "Applications" and "Signed Request" of the Voice API's reference at developers.sinch.com
(paths, body, Basic or signed requests, signed in production); sinch-sdk-python and sinch-sdk-node (the host, and both
sign); sinch/docs of 2021 (error codes 40108, 40003 and 50000). The example of the reference sends ``url`` as a list,
its schema and all SDKs as an object. No source says how to remove a URL: see ``set_callback_url``.

A signed request does not contain the secret, so neither a proxy nor an error can show it.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ValidationError

from call_recorder.sinch.signature import format_authorization, sign
from call_recorder_cli.errors import CommandFailed, NoRight, NotFound, TryAgain

if TYPE_CHECKING:
    from pydantic import SecretStr

API_URL: Final = "https://callingapi.sinch.com"
API_URL_VARIABLE: Final = "SINCH_CONFIGURATION_URL"
"""The environment variable with another URL of the API, such as that of `make run`."""

_PATH: Final = "/v1/configuration/callbacks/applications/"
_CONTENT_TYPE: Final = "application/json; charset=utf-8"
_TIMEOUT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 65_536
_INVALID_APPLICATION_KEY: Final = 40003


@dataclass(frozen=True, slots=True)
class CallbackUrls:
    """The URLs that Sinch calls for an application; empty if there is none.

    Attributes:
        primary: the URL of all callbacks.
        fallback: the URL that Sinch calls after a timeout or an error of the primary one.
    """

    primary: str = ""
    fallback: str = ""


def describe_url(url: str) -> str:
    """Return a callback URL for people: without a user, a password and a query, which may be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?...' if parts.query else ''}"


def find_api_url() -> str:
    """Return the URL of the API: Sinch's own, or the one that the environment names.

    Raises:
        CommandFailed: the URL is neither https nor on this machine.
    """
    url = os.environ.get(API_URL_VARIABLE, "").rstrip("/") or API_URL
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise CommandFailed(f"{API_URL_VARIABLE} must be an https URL, or an http URL of this machine.")
    return url


def read_callback_url(application_key: str, secret: SecretStr, *, api_url: str) -> CallbackUrls:
    """Return the callback URLs of an application.

    Args:
        application_key: the key of the application.
        secret: its secret in Base64, one only.
        api_url: the URL of the API, as ``find_api_url`` returns it.

    Raises:
        NoRight: Sinch does not accept the key and the secret.
        NotFound: Sinch knows no such application.
        TryAgain: Sinch does not answer, or has an error.
        CommandFailed: Sinch refuses the request, or its answer is not understood.
    """
    answer = _send("GET", application_key, secret, b"", api_url)
    try:
        url = _CallbacksAnswer.model_validate_json(answer).url
    except ValidationError:
        raise CommandFailed(f"The answer of {urlsplit(api_url).hostname} is not understood.") from None
    return CallbackUrls(url.primary or "", url.fallback or "")


def set_callback_url(application_key: str, secret: SecretStr, urls: CallbackUrls, *, api_url: str) -> CallbackUrls:
    """Set both callback URLs of an application, and return what they are then.

    An empty URL is sent as an empty text. No document says whether Sinch removes the URL then, so compare the result.

    Raises: what ``read_callback_url`` raises.
    """
    body = json.dumps({"url": {"primary": urls.primary, "fallback": urls.fallback}}).encode()
    _send("POST", application_key, secret, body, api_url)
    return read_callback_url(application_key, secret, api_url=api_url)


class _Urls(BaseModel):
    primary: str | None = None
    fallback: str | None = None


class _CallbacksAnswer(BaseModel):
    url: _Urls = _Urls()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: the signature is good for one path only."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _send(method: str, application_key: str, secret: SecretStr, body: bytes, api_url: str) -> bytes:
    host, path = urlsplit(api_url).hostname, _PATH + quote(application_key, safe="")
    timestamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    signature = sign(
        secret.get_secret_value(),
        path=path,
        content_type=_CONTENT_TYPE,
        timestamp=timestamp,
        body=body,
        method=method,
    )
    headers = {
        "Accept": "application/json",
        "Authorization": format_authorization(application_key, signature),
        "Content-Type": _CONTENT_TYPE,
        "X-Timestamp": timestamp,
    }
    request = urllib.request.Request(  # noqa: S310 - https, or this machine: find_api_url
        api_url + path, data=body or None, headers=headers, method=method
    )
    proxies = [urllib.request.ProxyHandler({})] if _is_loopback(host) else []
    try:
        with urllib.request.build_opener(_NoRedirect, *proxies).open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return bytes(answer.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise _translate(error, application_key) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise TryAgain(f"Sinch cannot be reached at {host} ({reason}): check the network, then try again.") from None


def _translate(error: urllib.error.HTTPError, application_key: str) -> CommandFailed:
    code = _read_error_code(error)
    says = f"{error.code}, code {code}" if code else str(error.code)
    match error.code:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return NoRight(
                f"Sinch does not accept the secret of the application {application_key} ({says}): copy the key and the "
                "secret from the Sinch dashboard, and see that the clock of this machine is right."
            )
        case HTTPStatus.NOT_FOUND:
            return NotFound(f"Sinch knows no application {application_key} ({says}).")
        case HTTPStatus.BAD_REQUEST if code == _INVALID_APPLICATION_KEY:
            return NotFound(f"Sinch knows no application {application_key} ({says}).")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return TryAgain(f"Sinch limits the rate of requests ({says}): try again in a minute.")
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TryAgain(f"Sinch has an error of its own ({says}): try again.")
    return CommandFailed(f"Sinch refuses the request ({says}): set the callback URL in the Sinch dashboard.")


def _read_error_code(error: urllib.error.HTTPError) -> int | None:
    """Return the number that Sinch gives the error, if any. Its message is not repeated: it is a stranger's word."""
    try:
        code = json.loads(error.read(_MAX_ANSWER_BYTES))["errorCode"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return None
    return code if isinstance(code, int) else None


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
