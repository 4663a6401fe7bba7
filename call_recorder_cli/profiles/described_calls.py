"""Calls that a command line describes, such as ``did:+12017777777``, and the callbacks that Sinch would send."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_DOMAINS: Final[Mapping[str, str]] = {
    "username": "mxp",
    "number": "pstn",
    "sip": "mxp",
    "conference": "mxp",
    "did": "pstn",
}
"""The ``domain`` of a call by the type of its destination."""

_CALLER_NUMBER: Final = "+12025550142"
_CALLER_USERNAME: Final = "bob"


@dataclass(frozen=True, slots=True)
class DescribedCall:
    """A call to a destination.

    Attributes:
        to_type: ``did`` for a call from a phone to a number of the application, another type for a call from an app.
        to: the number, username, address or conference.
        number: the number of the caller, if known.
        user: the username of the caller, if it is an app.
    """

    to_type: str
    to: str
    number: str | None = None
    user: str | None = None

    @property
    def from_app(self) -> bool:
        """Whether an app calls."""
        return self.to_type != "did"

    def made_by(self, caller: str) -> DescribedCall:
        """Return the call with another caller: a number, or the name of an app user."""
        if caller.removeprefix("+").isdecimal() or not self.from_app:
            return replace(self, number=caller, user=None)
        return replace(self, user=caller)

    def make_ice(self, application_key: str, at: datetime) -> bytes:
        """Return the body of the Incoming Call Event. Each has a call id of its own."""
        body = {
            "event": "ice",
            "callid": str(uuid4()),
            "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "version": 1,
            "applicationKey": application_key,
            "to": {"type": self.to_type, "endpoint": self.to},
            "domain": _DOMAINS[self.to_type],
            "originationType": "MXP" if self.from_app else "PSTN",
            "cli": self.number,
            "user": self.user,
        }
        return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def parse_destination(text: str) -> DescribedCall:
    """Return a call to ``type:endpoint``, such as ``username:alice`` or ``did:+12025550100``.

    Raises:
        ValueError: the type is unknown or the endpoint is missing.
    """
    kind, _, endpoint = text.partition(":")
    if kind not in _DOMAINS or not endpoint:
        raise ValueError(f"write one of {', '.join(f'{known}:...' for known in _DOMAINS)}")
    if kind == "did":
        return DescribedCall(kind, endpoint, number=_CALLER_NUMBER)
    return DescribedCall(kind, endpoint, user=_CALLER_USERNAME)
