"""The difference between two profiles, and the profile that a new application gets."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any

_QUICK_START_RULE = {"name": "everything", "record": True}


def make_quick_start(phone: str | None) -> str:
    """Return the text of a profile that records every call.

    Args:
        phone: the number that calls to numbers of the application go to. Without it, such calls are hung up.
    """
    profile: dict[str, Any] = {"rules": [_QUICK_START_RULE]}
    if phone:
        profile["routes"] = [{"to": "*", "action": {"name": "connectPstn", "number": phone}}]
    return format_profile(json.dumps(profile))


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, or ``None``."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def format_profile(text: str) -> str:
    """Return a profile as an editor shows it. A text that is not JSON is returned as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return text


def list_differences(stored: str | None, new: str, name: str) -> list[str]:
    """Return the unified difference of two profiles, however they are spaced; empty if they say the same.

    Args:
        stored: the text of the present profile, if there is one.
        new: the text of the new one.
        name: the name of the new one.
    """
    before = format_profile(stored).splitlines() if stored is not None else []
    return list(unified_diff(before, format_profile(new).splitlines(), "the stored profile", name, lineterm=""))
