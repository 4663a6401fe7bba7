"""The parts of the job that all twins do alike, with the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

_EVENTS = {
    "call-decided": "Recording Requested",
    "recording-finished": "Recording Finished",
    "recording-available": "Recording Available",
    "transcription-available": "Transcription Available",
}


def sign(secret: bytes, body: bytes, content_type: str, timestamp: str, path: str) -> str:
    """Return the signature of a callback, as Sinch computes it."""
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    text = "\n".join(("POST", digest, content_type, f"x-timestamp:{timestamp}", path))
    return base64.b64encode(hmac.digest(secret, text.encode(), "sha256")).decode()


def connect(to: Mapping[str, str], routes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the action that connects a call; ``routes`` are the actions for its destination."""
    match to["type"].lower():
        case "number":
            return {"name": "connectPstn", "number": to["endpoint"]}
        case "username":
            return {"name": "connectMxp", "destination": {"type": "username", "endpoint": to["endpoint"]}}
        case _:
            return dict(next(iter(routes), {"name": "hangup"}))


def request_recording(
    action: dict[str, Any], credentials: str, application: str, ice: Mapping[str, Any], request: dict[str, Any]
) -> dict[str, Any]:
    """Add the recording to an action, and return the fact for NotifyFunction.

    Args:
        action: the action that connects the call.
        credentials: the storage credentials.
        application: the application's key.
        ice: the callback's body.
        request: the recording request, whose ``destinationUrl`` still has its placeholders.
    """
    at = datetime.fromisoformat(request["at"])
    url: str = request["destinationUrl"]
    for name, value in (("date", f"{at:%Y/%m/%d}"), ("callId", ice["callid"]), ("format", request["format"])):
        url = url.replace(f"{{{name}}}", value)
    action["record"] = True
    action["recordingOptions"] = {
        "destinationUrl": url,
        "credentials": credentials,
        "format": request["format"],
        "notificationEvents": request["notificationEvents"],
        "transcriptionOptions": {"enabled": request["transcription"], "locale": request["locale"]},
    }
    call = {
        "at": request["at"],
        "from": ice.get("cli") or ice.get("user"),
        "to": ice["to"]["endpoint"],
        "toType": ice["to"]["type"],
        "domain": ice.get("domain"),
        "originationType": (ice.get("originationType") or "").lower() or None,
        "custom": ice.get("custom"),
    }
    return {
        "recordingId": ice["callid"],
        "applicationKey": application,
        "callId": ice["callid"],
        "fact": "call-decided",
        "call": {name: value for name, value in call.items() if value is not None},
        "request": request | {"destinationUrl": url},
    }


def format_time(at: datetime) -> str:
    """Format a time to the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def make_event(fact: Mapping[str, Any], decided: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the detail type and the detail of the event that a fact causes, if any.

    Args:
        fact: the fact.
        decided: the fact that the call is recorded, or an empty mapping if it is not known yet.
    """
    kind = _EVENTS.get(fact["fact"])
    if kind is None:
        return None
    data = {name: fact[name] for name in ("recordingId", "applicationKey", "callId")}
    data |= {name: value for name, value in decided.get("call", {}).items() if name != "at"}
    if request := decided.get("request"):
        data |= {"rule": request["rule"], "requestedAt": request["at"]}
    at = fact["request"]["at"] if fact["fact"] == "call-decided" else fact["at"]
    match fact["fact"]:
        case "call-decided":
            data |= {name: fact["request"][name] for name in ("destinationUrl", "format", "transcription")}
        case "recording-finished":
            data["finishedAt"] = at
        case _:
            url = fact["destination"]
            storage, _, rest = url.partition("://")
            bucket, _, key = rest.partition("/")
            data |= {"availableAt": at, "file": {"url": url, "storage": storage, "bucket": bucket, "key": key}}
    event_id = str(uuid5(NAMESPACE_URL, f"{fact['recordingId']}\n{kind}"))
    return kind, {"metadata": {"eventId": event_id, "schemaVersion": "1", "occurredAt": at}, "data": data}
