"""The Sinch applications of the demonstration, and what their profiles say.

One has a rule and a number for each kind of consent and records every other call too. One has a backend of its
own behind the recorder. One has a single rule, which most of its calls do not match.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from local.simulator import Application

if TYPE_CHECKING:
    from collections.abc import Mapping

DEMO = "demo-application"
WITH_BACKEND = "demo-with-backend"
ONE_RULE = "demo-one-rule"

ROUTED_NUMBER = "+12017777777"
ANNOUNCED_NUMBER = "+12017777701"
MENU_NUMBER = "+12017777702"
ON_ANSWER_NUMBER = "+12017777703"
SAMPLED_NUMBER = "+12017777704"
APP_MENU_NUMBER = "+12017777705"
UNRULED_NUMBER = "+12017777706"
RULED_NUMBER = "+12017777707"
BACKEND_NUMBER = "+12017777708"
LATE_BACKEND_NUMBER = "+12017777709"
"""The backend does not answer calls to this number in time."""

CALLEE = "+46700000001"
"""Where the routes of the demonstration's numbers lead."""

APP_USER = "desk"
"""The app user whom the menu's number belongs to."""

HEADER_USER = "asked-by-her-app"
"""The app user who is recorded only when the caller's app says that it has asked."""

CONSENT_HEADER = "recording-consent"
SAMPLE = 0.5

ANNOUNCEMENT = "This call is recorded. Hang up if you do not agree."
QUESTION = "May we record this call? Press 1 for yes, or any other key for no."

_ANNOUNCED: Mapping[str, Any] = {"kind": "announcement", "prompt": {"text": ANNOUNCEMENT, "locale": "en-US"}}
_ASKED: Mapping[str, Any] = {"kind": "menu", "prompt": {"text": QUESTION, "locale": "en-US"}, "accept": "1"}
_TRANSCRIBED: Mapping[str, Any] = {"transcription": {"enabled": True, "locale": "en-US"}}


@dataclass(frozen=True)
class DemoApplication:
    """A Sinch application and its recording profile."""

    application: Application
    profile: Mapping[str, Any]


def new_application(key: str) -> Application:
    """Return an application with a secret that nothing else has."""
    return Application(key, SecretStr(base64.b64encode(secrets.token_bytes(16)).decode()))


def applications(with_backend: Application, backend_url: str) -> list[DemoApplication]:
    """Return the demonstration's applications, the one that records every call first.

    Args:
        with_backend: the application whose backend is at ``backend_url``, which knows its secret.
        backend_url: an https URL.
    """
    return [
        DemoApplication(new_application(DEMO), DEMO_PROFILE),
        DemoApplication(with_backend, _backend_profile(backend_url)),
        DemoApplication(new_application(ONE_RULE), _ONE_RULE_PROFILE),
    ]


def _to_phone(number: str) -> dict[str, Any]:
    return {"to": number, "action": {"name": "connectPstn", "number": CALLEE, "cli": number}}


def _to_app(number: str, username: str) -> dict[str, Any]:
    return {
        "to": number,
        "action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": username}},
    }


def _by_phone_to(number: str) -> dict[str, Any]:
    return {"originationType": "pstn", "toType": "did", "to": number}


DEMO_PROFILE: Mapping[str, Any] = {
    "format": "mp3",
    "notificationEvents": True,
    **_TRANSCRIBED,
    "rules": [
        {
            "name": "announcement",
            "when": {"toType": "did", "to": ANNOUNCED_NUMBER},
            "record": True,
            "consent": _ANNOUNCED,
        },
        {"name": "menu", "when": _by_phone_to(MENU_NUMBER), "record": True, "consent": _ASKED},
        {
            "name": "menu for an app user",
            "when": _by_phone_to(APP_MENU_NUMBER),
            "record": True,
            "consent": {**_ASKED, "usernameByConference": True},
        },
        {
            "name": "header",
            "when": {"toType": "username", "to": HEADER_USER},
            "record": True,
            "consent": {"kind": "header", "header": CONSENT_HEADER, "value": "yes"},
        },
        {
            "name": "on answer",
            "when": {"toType": "did", "to": ON_ANSWER_NUMBER},
            "record": True,
            "start": "answer",
        },
        {"name": "sample", "when": {"toType": "did", "to": SAMPLED_NUMBER}, "record": True, "sample": SAMPLE},
        {"name": "everything", "record": True},
    ],
    "routes": [
        _to_app(APP_MENU_NUMBER, APP_USER),
        *map(_to_phone, (ROUTED_NUMBER, ANNOUNCED_NUMBER, MENU_NUMBER, ON_ANSWER_NUMBER, SAMPLED_NUMBER)),
    ],
}
"""Records every call into the stack's own bucket, some of them with consent only."""

_ONE_RULE_PROFILE: Mapping[str, Any] = {
    **_TRANSCRIBED,
    "rules": [{"name": "one number", "when": {"toType": "did", "to": RULED_NUMBER}, "record": True}],
    "routes": [_to_phone(RULED_NUMBER), _to_phone(UNRULED_NUMBER)],
}


def _backend_profile(url: str) -> dict[str, Any]:
    return {
        **_TRANSCRIBED,
        "upstream": {"url": url},
        "rules": [{"name": "behind the recorder", "record": True, "consent": _ANNOUNCED}],
        "routes": [_to_phone(BACKEND_NUMBER), _to_phone(LATE_BACKEND_NUMBER)],
    }
