"""Call ids and conference ids: which can be recorded, their form in object keys, and the id of a bridge conference."""

from __future__ import annotations

import hashlib
import re
from typing import TypeGuard

from call_recorder.facts.model import MAX_ID_BYTES, fits
from call_recorder.sinch.callbacks import MAX_CONFERENCE_ID

_BRIDGE_PREFIX = "recorder-call-"
_UNSAFE = re.compile(r"[^A-Za-z0-9-]")
_ESCAPE = re.compile(r"_([0-9a-f]{2})")


def is_recordable(identifier: str | None) -> TypeGuard[str]:
    """Tell whether a call or conference id exists and is short enough to store a recording under it."""
    return bool(identifier) and fits(identifier or "", MAX_ID_BYTES)


def escape(identifier: str) -> str:
    """Make an identifier safe for an object key, reversibly: all but letters, digits and ``-`` become ``_hh``.

    The result has no ``.``, ``/`` or ``%``. So it cannot leave its folder, and no store or URL parser changes it.
    ``unescape`` reverses it.
    """
    return _UNSAFE.sub(lambda char: "".join(f"_{byte:02x}" for byte in char[0].encode()), identifier)


def unescape(escaped: str) -> str:
    """Return the identifier from which ``escape`` made a text.

    Raises:
        ValueError: the text is not a result of ``escape``.
    """
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), escaped).encode("latin-1")
    identifier = raw.decode()
    if escape(identifier) != escaped:
        raise ValueError("not an escaped identifier")
    return identifier


def bridge_conference_id(call_id: str) -> str:
    """Return the id of the conference that connects a caller to an app user after a consent menu.

    The recording has this id, although the callbacks of the call may name the call only.
    """
    name = _BRIDGE_PREFIX + escape(call_id)
    if len(name) <= MAX_CONFERENCE_ID:
        return name
    return _BRIDGE_PREFIX + hashlib.sha256(call_id.encode()).hexdigest()[:32]


def is_bridge_conference(conference_id: str | None) -> bool:
    """Tell whether a conference connects a single call to an app user."""
    return conference_id is not None and conference_id.startswith(_BRIDGE_PREFIX)
