"""Calls that reach the platform, and the callbacks that the platform sends about them.

Fields and spellings are those of https://developers.sinch.com/docs/voice/api-reference/voice/tag/Callbacks. The forms
of ``list_variants`` come from older documents and captures too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from call_recorder.sinch.signature import format_authorization, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from pydantic import SecretStr

    from local.simulator.readings import TimeForm

Body = dict[str, Any]
"""A callback's body before it is encoded as JSON."""

CALLER_NUMBER = "+12025550142"
CALLER_USERNAME = "bob"


@dataclass(frozen=True)
class Application:
    """A Sinch application: its key, and its secret in Base64 as the dashboard shows it."""

    key: str
    secret: SecretStr

    def sign_headers(
        self, content: bytes, *, path: str, content_type: str, at: datetime, time_form: TimeForm = "seconds"
    ) -> dict[str, str]:
        """Return the headers of a callback with this body that is sent at ``at`` to the public ``path``."""
        timestamp = format_time(at, time_form)
        secret = self.secret.get_secret_value()
        signature = sign(secret, path=path, content_type=content_type, timestamp=timestamp, body=content)
        return {
            "Content-Type": content_type,
            "X-Timestamp": timestamp,
            "Authorization": format_authorization(self.key, signature),
        }


@dataclass(frozen=True)
class End:
    """How a call ended, with the values of the DiCE."""

    result: str
    reason: str

    @property
    def answered(self) -> bool:
        """Return whether a person or a menu answered."""
        return self.result == "ANSWERED"


@dataclass(frozen=True, kw_only=True)
class IncomingCall:
    """A call that reaches the platform, and what its caller and callee do.

    Attributes:
        to_type: ``username``, ``number``, ``sip``, ``did`` or ``conference``, in the case to send.
        to_endpoint: the username, number, address or conference id.
        domain: ``mxp`` or ``pstn``, in the case to send.
        origination_type: ``MXP`` or ``PSTN``, in the case to send.
        call_id: the call's id; on the real platform it is not always a UUID.
        cli: the caller's number; absent in in-app calls.
        user: the caller's username; undocumented, but seen in in-app calls.
        call_headers: the headers that the calling Sinch SDK client set.
        custom: the opaque text that travels with the call.
        extra: additional or changed fields of the ICE; ``None`` removes a field.
        call_id_field: the name of the field with the call id, in every callback.
        conference_beside: the id of a conference that every callback names in addition to the call id, as in the
            fixtures of the Java and .NET SDKs, even if the call goes to a phone.
        answered: whether the callee answers.
        keys: the caller's input to each menu in turn: digits, ``""`` for a timeout or ``"hangup"``.
    """

    to_type: str
    to_endpoint: str
    domain: str
    origination_type: str
    call_id: str = field(default_factory=lambda: str(uuid4()))
    cli: str | None = None
    user: str | None = None
    call_headers: Mapping[str, str] = field(default_factory=dict)
    custom: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    call_id_field: str = "callid"
    conference_beside: str | None = None
    answered: bool = True
    keys: tuple[str, ...] = ()

    @property
    def in_app(self) -> bool:
        """Return whether the caller is a Sinch SDK client."""
        return self.origination_type.lower() == "mxp"

    @property
    def _ids(self) -> dict[str, str]:
        beside = {"conferenceId": self.conference_beside} if self.conference_beside else {}
        return {self.call_id_field: self.call_id, **beside}

    def _common(self, event: str, application_key: str, at: datetime) -> Body:
        return {
            "event": event,
            **self._ids,
            "timestamp": format_time(at),
            "version": 1,
            **({"custom": self.custom} if self.custom is not None else {}),
            "applicationKey": application_key,
        }

    def ice(self, application_key: str, at: datetime) -> Body:
        """Return the Incoming Call Event."""
        body = self._common("ice", application_key, at) | {
            "callResourceUrl": f"https://calling-use1.api.sinch.com/calling/v1/calls/id/{self.call_id}",
            "userRate": {"currencyId": "USD", "amount": 0.0},
            "to": {"type": self.to_type, "endpoint": self.to_endpoint},
            "domain": self.domain,
            "originationType": self.origination_type,
            "rdnis": "",
            "cli": self.cli,
            "user": self.user,
        }
        if self.call_headers:
            body["callHeaders"] = [{"key": key, "value": value} for key, value in self.call_headers.items()]
        return {name: value for name, value in (body | dict(self.extra)).items() if value is not None}

    def ace(self, application_key: str, at: datetime) -> Body:
        """Return the Answered Call Event."""
        return self._common("ace", application_key, at)

    def pie(self, application_key: str, at: datetime, menu_result: Mapping[str, Any]) -> Body:
        """Return the Prompt Input Event."""
        return self._common("pie", application_key, at) | {"menuResult": dict(menu_result)}

    def dice(self, application_key: str, at: datetime, end: End, seconds: int) -> Body:
        """Return the Disconnected Call Event. It has a duration only if the call was answered."""
        body = self._common("dice", application_key, at) | {
            "reason": end.reason,
            "result": end.result,
            "debit": {"currencyId": "USD", "amount": round(0.0021 * seconds, 4) if end.answered else 0.0},
            "userRate": {"currencyId": "USD", "amount": 0.0},
            "to": {"type": self.to_type, "endpoint": self.to_endpoint},
            "from": self.cli or self.user or "private",
        }
        return body | {"duration": seconds} if end.answered else body

    def notify(self, kind: str, *, conference_id: str | None = None, **fields: Any) -> Body:
        """Return a notification, which has neither a timestamp nor an application key.

        A notification about a conference has the conference id and, according to the documents, no call id; see
        ``conference_beside``.
        """
        call = {} if conference_id and not self.conference_beside else self._ids
        conference = {"conferenceId": conference_id} if conference_id else {}
        return {"event": "notify", **call, **conference, "version": 1, "type": kind, **fields}

    def calling_error(self, code: int, message: str) -> Body:
        """Return the notification that an answer was refused; for an in-app call it names the caller."""
        user = {"user": self.user} if self.user else {}
        return self.notify("callingerror", errorCode=code, errorMsg=message, **user)


def encode_body(body: Body) -> bytes:
    """Return a callback's body as the bytes that are sent."""
    return json.dumps(body, separators=(",", ":")).encode()


def format_time(at: datetime, form: TimeForm = "seconds") -> str:
    """Return a time in one of Sinch's formats."""
    match form:
        case "seconds":
            return at.strftime("%Y-%m-%dT%H:%M:%SZ")
        case "fraction":
            return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case "no zone":
            return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def app_to_app(username: str, *, user: str = CALLER_USERNAME) -> IncomingCall:
    """Return a call from an app to an app user. No official sample shows one; the shape is inferred."""
    return _call_from_app("username", username, "mxp", user)


def app_to_phone(number: str, *, user: str = CALLER_USERNAME) -> IncomingCall:
    """Return a call from an app to a phone number."""
    return _call_from_app("number", number, "pstn", user)


def app_to_sip(address: str, *, user: str = CALLER_USERNAME) -> IncomingCall:
    """Return a call from an app to a SIP address. No official sample shows one; the shape is inferred."""
    return _call_from_app("sip", address, "mxp", user)


def app_to_conference(conference_id: str, *, user: str = CALLER_USERNAME) -> IncomingCall:
    """Return a call from an app to a conference."""
    return _call_from_app("conference", conference_id, "mxp", user)


def phone_to_number(number: str, *, cli: str = CALLER_NUMBER) -> IncomingCall:
    """Return a call from a phone to a number that is rented from Sinch (a DID)."""
    return IncomingCall(to_type="did", to_endpoint=number, domain="pstn", origination_type="PSTN", cli=cli)


def _call_from_app(to_type: str, to_endpoint: str, domain: str, user: str) -> IncomingCall:
    return IncomingCall(to_type=to_type, to_endpoint=to_endpoint, domain=domain, origination_type="MXP", user=user)


_CALL_MAKERS: Mapping[str, Callable[[str], IncomingCall]] = {
    "username": app_to_app,
    "number": app_to_phone,
    "sip": app_to_sip,
    "conference": app_to_conference,
    "did": phone_to_number,
}


def parse_destination(text: str) -> IncomingCall:
    """Return a call to ``type:endpoint``, such as ``username:alice`` or ``did:+12025550100``.

    Raises:
        ValueError: the type is unknown or the endpoint is missing.
    """
    kind, _, endpoint = text.partition(":")
    if kind not in _CALL_MAKERS or not endpoint:
        raise ValueError(f"write one of {', '.join(f'{known}:...' for known in _CALL_MAKERS)}")
    return _CALL_MAKERS[kind](endpoint)


_FORMS: Mapping[str, Mapping[str, Any]] = {
    "as documented": {},
    "callId": {"call_id_field": "callId"},
    "call id with a suffix": {"call_id": "{}_257"},
    "call id with a host": {"call_id": "{}@192.0.2.7"},
    "conference beside the call": {"conference_beside": "a-conference"},
    "no user rate": {"extra": {"userRate": None}},
    "no caller": {"cli": None, "user": None},
    "private caller": {"cli": "private"},
    "caller without +": {"cli": CALLER_NUMBER.removeprefix("+")},
    "caller with a name": {"cli": f"Bob <{CALLER_NUMBER}>"},
    "headers and custom": {"call_headers": {"consent": "yes", "desk": "7"}, "custom": "order 4711"},
    "unknown fields": {"extra": {"duration": 0, "cookies": [], "leg": {"of": None}}},
    "barest": {
        "extra": dict.fromkeys(("callResourceUrl", "userRate", "rdnis", "version", "domain", "originationType"))
    },
}


def list_variants(call: IncomingCall) -> dict[str, IncomingCall]:
    """Return every form of a call that the documents describe or that was seen in captures, by its name.

    Each form has its own call id.
    """
    upper = {"to_type": call.to_type.capitalize(), "domain": call.domain.upper()}
    lower = {"origination_type": call.origination_type.lower()}
    forms = {**_FORMS, "capitals": upper, "lower case": lower}
    return {name: _apply_form(call, form) for name, form in forms.items()}


def _apply_form(call: IncomingCall, form: Mapping[str, Any]) -> IncomingCall:
    call_id = form.get("call_id", "{}").format(uuid4())
    return replace(call, **{**form, "call_id": call_id})
