"""Sinch as the tests play it: signed callbacks, as API Gateway hands them over."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from call_recorder.sinch.signature import format_authorization, sign
from local.simulator import svaml
from local.simulator.menu import FirstMenu, play_menus

APPLICATION: Final = "6b1d7c52-0f3e-4a86-b7a4-0c9e2f5d8a13"
SECRET: Final = base64.b64encode(b"the secret of the application").decode()
PREVIOUS_SECRET: Final = base64.b64encode(b"the secret that was replaced").decode()
PATH: Final = "/callbacks"
JSON: Final = "application/json"
NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
CALL: Final = "4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88"


def stamp(at: datetime = NOW) -> str:
    """Write a time as Sinch does."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def delivered(body: bytes, headers: dict[str, str], *, encoded: bool = False) -> dict[str, Any]:
    """Return the API Gateway event (payload 2.0) of a request."""
    text = base64.b64encode(body).decode() if encoded else body.decode("utf-8", "surrogatepass")
    return {
        "version": "2.0",
        "routeKey": f"POST {PATH}",
        "rawPath": PATH,
        "headers": headers,
        "body": text,
        "isBase64Encoded": encoded,
    }


def signed(
    body: dict[str, Any] | bytes,
    *,
    key: str = APPLICATION,
    secret: str = SECRET,
    path: str = PATH,
    content_type: str = JSON,
    timestamp: str | None = None,
    encoded: bool = False,
) -> dict[str, Any]:
    """Return the API Gateway event of a callback signed as Sinch signs it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = stamp() if timestamp is None else timestamp
    signature = sign(secret, path=path, content_type=content_type, timestamp=timestamp, body=raw)
    headers = {
        "content-type": content_type,
        "x-timestamp": timestamp,
        "authorization": format_authorization(key, signature),
    }
    return delivered(raw, headers, encoded=encoded)


def ice(to_type: str = "username", endpoint: str = "alice", **fields: Any) -> dict[str, Any]:
    """Return the body of an ICE."""
    return {
        "event": "ice",
        "callid": CALL,
        "timestamp": stamp(),
        "version": 1,
        "cli": "+46700000001",
        "to": {"type": to_type, "endpoint": endpoint},
        "domain": "pstn",
        "originationType": "PSTN",
        "applicationKey": APPLICATION,
    } | fields


def ace(**fields: Any) -> dict[str, Any]:
    """Return the body of an ACE."""
    return {"event": "ace", "callid": CALL, "timestamp": stamp(), "version": 1, "applicationKey": APPLICATION} | fields


def pie(value: str | None = None, **result: Any) -> dict[str, Any]:
    """Return the body of a PIE: a menu that returned a value, or ended as ``result`` says instead."""
    ended = {"menuId": "main", "type": "return", "value": value, "inputMethod": "dtmf"} | result
    return ace(event="pie", menuResult=ended)


def after(menu: dict[str, Any], key: str = "1", *, first_menu: FirstMenu = "mainMenu", **result: Any) -> dict[str, Any]:
    """Return the body of the PIE that ends a menu, which is a SVAML answer, after a key, or as ``result`` says instead.

    ``key`` is what the simulator's callers enter: ``""`` lets the menu time out, ``hangup`` hangs up.
    """
    action = svaml.read("ice", json.dumps(menu).encode()).action
    assert isinstance(action, svaml.RunMenu)
    return ace(event="pie", menuResult=play_menus(action, iter([key]), first_menu) | result)


def dice(**fields: Any) -> dict[str, Any]:
    """Return the body of a DiCE."""
    return {
        "event": "dice",
        "callid": CALL,
        "timestamp": stamp(),
        "version": 1,
        "reason": "CALLERHANGUP",
        "result": "ANSWERED",
        "duration": 42,
        "debit": {"currencyId": "EUR", "amount": 0.0175},
        "from": "46700000001",
        "to": {"type": "username", "endpoint": "alice"},
        "applicationKey": APPLICATION,
    } | fields


def notify(notification: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a notification."""
    return {"event": "notify", "callid": CALL, "version": 1, "type": notification} | fields
