"""Masks JSON that strangers wrote: an event, or a message of a queue."""

from __future__ import annotations

import re
from typing import Any, Final

from call_recorder_cli.output import Output

# No fact or event has such a field. But anybody with the right to send may have sent it.
_SECRET: Final = re.compile("secret|credential|password|token|authori[sz]ation|signature|api_?key", re.IGNORECASE)
_ADDRESSES: Final = {"from", "to", "cli"}


def mask_json(value: Any, output: Output, name: str = "") -> Any:
    """Return a value without what could be a secret, and with masked numbers in its names and texts.

    Args:
        value: the value.
        output: masks numbers, or does not if the user wants them.
        name: the name of the field that has the value.
    """
    match value:
        case _ if _SECRET.search(name):
            return "(not shown)"
        case dict():
            return {str(output.id(key)): mask_json(each, output, key) for key, each in value.items()}
        case list():
            return [mask_json(each, output, name) for each in value]
        case str() | int() if name in _ADDRESSES:
            return output.address(str(value))
        case str():
            return output.id(value)
        case _:
            return value
