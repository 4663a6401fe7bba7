"""The Sinch applications of `make run` and their recording profiles.

The first has a rule and a number for each kind of consent, and records every other call too. The second has its own
backend behind the recorder. The third has a single rule, which most of its calls do not match.
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
"""The phone number that the routes connect to."""

APP_USER = "desk"
"""The app user that the route of ``APP_MENU_NUMBER`` connects to."""

HEADER_USER = "asked-by-her-app"
"""The app user whose calls are recorded only if the caller's app sends the header of consent."""

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


def make_application(key: str) -> Application:
    """Return an application with a new random secret."""
    return Application(key, SecretStr(base64.b64encode(secrets.token_bytes(16)).decode()))


def make_applications(with_backend: Application, backend_url: str) -> list[DemoApplication]:
    """Return the applications; the first one records every call.

    Args:
        with_backend: the application that has the backend; the backend knows its secret.
        backend_url: the backend's https URL.
    """
    return [
        DemoApplication(make_application(DEMO), DEMO_PROFILE),
        DemoApplication(with_backend, _make_backend_profile(backend_url)),
        DemoApplication(make_application(ONE_RULE), _ONE_RULE_PROFILE),
    ]


def _route_to_phone(number: str) -> dict[str, Any]:
    return {"to": number, "action": {"name": "connectPstn", "number": CALLEE, "cli": number}}


def _route_to_app(number: str, username: str) -> dict[str, Any]:
    return {
        "to": number,
        "action": {"name": "connectMxp", "destination": {"type": "username", "endpoint": username}},
    }


def _match_phone_call_to(number: str) -> dict[str, Any]:
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
        {"name": "menu", "when": _match_phone_call_to(MENU_NUMBER), "record": True, "consent": _ASKED},
        {
            "name": "menu for an app user",
            "when": _match_phone_call_to(APP_MENU_NUMBER),
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
        _route_to_app(APP_MENU_NUMBER, APP_USER),
        *map(_route_to_phone, (ROUTED_NUMBER, ANNOUNCED_NUMBER, MENU_NUMBER, ON_ANSWER_NUMBER, SAMPLED_NUMBER)),
    ],
}
"""Records every call into the stack's own bucket; some calls only with consent."""

_ONE_RULE_PROFILE: Mapping[str, Any] = {
    **_TRANSCRIBED,
    "rules": [{"name": "one number", "when": {"toType": "did", "to": RULED_NUMBER}, "record": True}],
    "routes": [_route_to_phone(RULED_NUMBER), _route_to_phone(UNRULED_NUMBER)],
}


def _make_backend_profile(url: str) -> dict[str, Any]:
    return {
        **_TRANSCRIBED,
        "upstream": {"url": url},
        "rules": [{"name": "behind the recorder", "record": True, "consent": _ANNOUNCED}],
        "routes": [_route_to_phone(BACKEND_NUMBER), _route_to_phone(LATE_BACKEND_NUMBER)],
    }
