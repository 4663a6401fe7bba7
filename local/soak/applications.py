"""The 5,000 registered Sinch applications of the soak: their keys, secrets and profiles."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from local.simulator.calls import Application

APPLICATIONS: Final = 5_000
CALLEE: Final = "+46700000002"

KINDS: Final = (
    "records all",
    "asks by menu",
    "starts on answer",
    "announces",
    "asks by header",
    "has a backend",
    "has a broken profile",
    "has broken secrets",
)
"""What the profile of an application does with calls: each eighth application is of the same kind."""

_KEY_END: Final = "-0f3e-4a86-b7a4-0c9e2f5d8a13"
_PROMPT: Final = {"text": "This call is recorded.", "locale": "en-US"}
_CREDENTIALS: Final = "AKIDOFTHEUPLOADER:storage/secret+value:eu-west-1"
_PHONE: Final = {"toType": "did", "originationType": ["pstn", "sip"]}


def find_kind(number: int) -> str:
    """Return what the profile of an application does."""
    return KINDS[number % len(KINDS)]


def make_application(number: int) -> Application:
    """Return the key and the secret of an application."""
    key = f"{number:08x}{_KEY_END}"
    return Application(key, SecretStr(base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()))


def make_phone_number(number: int) -> str:
    """Return the phone number that the routes of an application name."""
    return f"+1202{number:07}"


def make_parameters(number: int, backend: str) -> dict[str, str]:
    """Return the parameters of an application by name. ``backend`` is the URL of the backend of those that have one."""
    kind, secret = find_kind(number), make_application(number).secret.get_secret_value()
    return {
        SECRETS: "no Base64!" if kind == "has broken secrets" else secret,
        CREDENTIALS: _CREDENTIALS,
        PROFILE: "{" if kind == "has a broken profile" else json.dumps(_make_profile(number, kind, backend)),
    }


def _make_profile(number: int, kind: str, backend: str) -> dict[str, Any]:
    action = {"name": "connectPstn", "number": CALLEE, "cli": make_phone_number(number)}
    routes = [{"to": to, "action": action} for to in (make_phone_number(number), f"*{number:06}")]
    profile: dict[str, Any] = {"routes": routes}
    everything = {"name": "everything", "record": True}
    match kind:
        case "asks by menu":
            consent = {"kind": "menu", "prompt": _PROMPT, "accept": "1"}
            rules = [{"name": "asked", "record": True, "when": _PHONE, "consent": consent}]
        case "starts on answer":
            rules = [{"name": "on answer", "record": True, "when": _PHONE, "start": "answer"}]
        case "announces":
            rules = [everything | {"consent": {"kind": "announcement", "prompt": _PROMPT}}]
        case "asks by header":
            rules = [everything | {"consent": {"kind": "header", "header": "recording-consent", "value": "yes"}}]
        case "has a backend":
            rules, profile = [everything], profile | {"upstream": {"url": backend}}
        case _:
            rules = [{"name": "own", "record": True, "when": {"to": [make_phone_number(number)]}}, everything]
    return profile | {"rules": rules}
