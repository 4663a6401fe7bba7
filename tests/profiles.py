"""Parts of profiles that ask for consent."""

from __future__ import annotations

from typing import Any, Final

ANNOUNCED: Final = "This call is recorded."
ASKED: Final = "May we record this call? Press 1 for yes."

ANNOUNCEMENT: Final[dict[str, Any]] = {"kind": "announcement", "prompt": {"text": ANNOUNCED, "locale": "en-US"}}
MENU: Final[dict[str, Any]] = {"kind": "menu", "prompt": {"text": ASKED, "locale": "en-US"}, "accept": "1"}
HEADER: Final[dict[str, Any]] = {"kind": "header", "header": "recording-consent", "value": "yes"}
FROM_PHONE: Final = {"originationType": ["pstn", "sip"]}
AGREED: Final = [{"key": "recording-consent", "value": "yes"}]

SIP_ACTION: Final[dict[str, Any]] = {
    "name": "connectSip",
    "destination": {"type": "sip", "endpoint": "desk@pbx.example"},
}
MXP_ACTION: Final[dict[str, Any]] = {
    "name": "connectMxp",
    "destination": {"type": "username", "endpoint": "alice"},
}
PSTN_ACTION: Final[dict[str, Any]] = {"name": "connectPstn", "number": "+46700000009", "cli": "+12015550100"}
CONF_ACTION: Final[dict[str, Any]] = {"name": "connectConf", "conferenceId": "lobby"}


def rule(name: str = "asked", **fields: Any) -> dict[str, Any]:
    """Return a rule that records."""
    return {"name": name, "record": True} | fields


def profile(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a profile of these rules."""
    return {"rules": list(rules)} | fields


def asking(consent: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a profile whose one rule asks for this consent of callers by phone, whichever number they call."""
    when = FROM_PHONE | {"toType": "number"} if consent["kind"] == "menu" else {"toType": "number"}
    return profile(rule(when=when, consent=consent, **fields))
