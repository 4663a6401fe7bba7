"""The shape of a callback, for the log of an application that is observed (``observe`` in its profile).

It shows how Sinch writes its callbacks, and nothing of what they say about people: no number, name, text, file or
secret. A value appears only if it is one of the words of Sinch's protocol, letters without a digit.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from call_recorder.answering.consent import MENU_IDS, MenuTicket
from call_recorder.facts.identifiers import escape
from call_recorder.sinch.callbacks import MenuResult
from call_recorder.sinch.signature import SignedRequest
from call_recorder.sinch.timestamps import parse_timestamp

_MAX_FIELDS = 40
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")  # so that no digits of a hash are masked as a phone number
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z_]{0,39}")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z/_]{0,39}")
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[a-z+.-]+(?:; ?charset=[A-Za-z0-9-]{1,20})?")
_PRODUCT: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,39}")
_CODE: Final = re.compile(r"\d{3,6}")
_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID_FORMS: Final = {
    "uuid": re.compile(_UUID),
    "uuid with a suffix": re.compile(_UUID + r"_\d{1,6}"),
    "with a host": re.compile(r"[^@]+@[^@]+"),
}
_PARTY_FORMS: Final = {
    "private": re.compile(r"private|anonymous", re.IGNORECASE),
    "number with +": re.compile(r"\+\d{5,15}"),
    "number without +": re.compile(r"\d{5,15}"),
    "name and number": re.compile(r".*<\+?\d{5,15}>"),
    "address": re.compile(r"[^@\s]+@[^@\s]+"),
}
_HOSTS: Final = {
    "Sinch": re.compile(r"(.*\.)?sinch\.com"),
    "Amazon S3": re.compile(r".*\.amazonaws\.com(\.cn)?"),
    "Azure Blob Storage": re.compile(r".*\.blob\.core\.windows\.net"),
    "Google Cloud Storage": re.compile(r"(.*\.)?storage\.googleapis\.com"),
}
_SCHEME: Final = re.compile(r"s3|gs|azure|sdrive|https?")
_ENDING: Final = re.compile(r"(?:\.(?:mp3|wav|ogg|m4a|json|txt|vtt)|[-_.]transcript(?:ion)?){1,4}$")
_SPELLED: Final = (
    ("event",),
    ("type",),
    ("domain",),
    ("originationType",),
    ("to", "type"),
    ("result",),
    ("reason",),
    ("menuResult", "type"),
    ("menuResult", "inputMethod"),
    ("amd", "status"),
    ("amd", "reason"),
)
_PARTIES: Final = (("cli",), ("from",), ("to", "endpoint"))


def describe_callback(request: SignedRequest, *, user_agent: str, secret: bytes, now: datetime) -> dict[str, Any]:
    """Return the shape of a verified callback as fields of a log line.

    Args:
        request: the callback.
        user_agent: the header of this name.
        secret: the application's secret. It keys ``hash``, which is the same for each delivery of one body.
        now: the present time. ``offsetMs`` is how much later than ``x-timestamp`` it is.
    """
    body = json.loads(request.body.decode("utf-8", "surrogatepass"))
    offset = now - parse_timestamp(request.timestamp)
    return {
        "fields": _list_fields(body),
        "spelled": {".".join(path): _read_word(value) for path in _SPELLED if (value := _find(body, path)) is not None},
        "forms": _describe_forms(body) | {"x-timestamp": re.sub(r"\d", "0", request.timestamp)[:40]},
        "offsetMs": round(offset.total_seconds() * 1000),
        "contentType": _read(_MEDIA_TYPE, request.content_type),
        "userAgent": match[0] if (match := _PRODUCT.match(user_agent)) else None,
        "hash": hmac.digest(secret, request.body, "sha256").hex()[:12].translate(_LETTERS),
        "menu": _describe_menu(body.get("menuResult")),
        "destination": _describe_destination(body),
        "errorCode": _read(_CODE, str(body["errorCode"])) if "errorCode" in body else None,
    }


def describe_answer(answer: str) -> dict[str, Any]:
    """Return the names of the action and the instructions in an answer, and whether it records."""
    if not answer:
        return {}
    svaml = json.loads(answer)
    instructions = [each["name"] for each in svaml.get("instructions", ())]
    records = "recordingOptions" in svaml["action"] or "startRecording" in instructions
    return {"action": svaml["action"]["name"], "instructions": instructions, "records": records}


def _find(body: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields with a value, also inside ``menuResult`` and ``to``."""
    inner = {f"{name}.{each}": value for name in ("menuResult", "to") for each, value in _items(body.get(name))}
    present = [name for name, value in {**body, **inner}.items() if value not in (None, "", [], {})]
    return sorted(name for name in present if all(map(_FIELD.fullmatch, name.split("."))))[:_MAX_FIELDS]


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, Mapping) else ()


def _describe_forms(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the forms of the ids, of the parties and of the timestamp."""
    call_id = body.get("callid", body.get("callId"))
    forms = {"callId": _classify(_ID_FORMS, call_id)} if isinstance(call_id, str) else {}
    for path in _PARTIES:
        value = _find(body, path)
        if isinstance(value, str) and value:
            forms[".".join(path)] = _classify(_PARTY_FORMS, value)
    if isinstance(timestamp := body.get("timestamp"), str):
        forms["timestamp"] = re.sub(r"\d", "0", timestamp)[:40] if re.fullmatch(r"[\dTZ:.+ -]+", timestamp) else "other"
    return forms


def _describe_menu(result: Any) -> dict[str, str] | None:
    """Return which of our menus ended, and whether the value that it returns is whole."""
    if not isinstance(result, Mapping):
        return None
    menu_id, value = result.get("menuId"), result.get("value")
    whole = MenuTicket.of(MenuResult(value=value)) is not None
    return {
        "id": menu_id if menu_id in MENU_IDS else "other",
        "value": "whole" if whole else "absent" if not value else "cut off or changed",
    }


def _describe_destination(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the form of the URL in a notification: its scheme, the kind of its host, and what its name is made of."""
    url = body.get("destination")
    if not isinstance(url, str) or not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return {"scheme": "other"}
    ids = [body.get(name) for name in ("callid", "callId", "conferenceId")]
    # A lone surrogate cannot be escaped.
    known = [each.encode(errors="replace").decode() for each in ids if isinstance(each, str) and each]
    named = [each for name in known for each in (name, escape(name))]
    web = parts.scheme in ("http", "https")
    return {
        "scheme": _read(_SCHEME, parts.scheme),
        "host": _classify(_HOSTS, parts.hostname or "") if web else "container",
        "namesId": any(each in url for each in named),
        "ending": match[0] if (match := _ENDING.search(parts.path)) else "other",
    }


def _classify(forms: Mapping[str, re.Pattern[str]], value: str) -> str:
    return next((name for name, form in forms.items() if form.fullmatch(value)), "other")


def _read_word(value: Any) -> str:
    return _read(_WORD, value) if isinstance(value, str) else "other"


def _read(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else "other"
