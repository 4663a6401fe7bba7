"""The name of an item: the call or conference id, alone or with the application key.

Sinch chooses call ids, and they are unique. An application chooses its conference ids, and may sign a callback that
names any id. The first application gets the id as the name. The item of any other application is stored under
``<id>@@<key>``, and an id that contains ``@@`` is always stored in this form. An application key has no ``@``. So the
last ``@@`` of a name separates id and key, a name without ``@@`` is an id, and two applications never share a name.
"""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.tracking.recording import Recording

_SEPARATOR = "@@"


def list_item_names(identifier: str, application_key: str) -> tuple[str, ...]:
    """Return the possible names of an application's item: the id, which others may use too, and the qualified name."""
    qualified = f"{identifier}{_SEPARATOR}{application_key}"
    return (qualified,) if _SEPARATOR in identifier else (identifier, qualified)


def get_identifier(name: str, application_key: str) -> str:
    """Return the call or conference id of an application's item, by the item's name."""
    return name.removesuffix(f"{_SEPARATOR}{application_key}")


def find_item(identifier: str, application_key: str, stored: Mapping[str, Recording]) -> Recording:
    """Return an application's item of an id: the stored one, or a new one under the name that is free.

    An item keeps its qualified name. It keeps it even if the plain id becomes free later: the item of a call that is
    not recorded expires after a day. So the qualified name must have been read, unless the item has the plain id.

    Args:
        identifier: the call id or conference id.
        application_key: the application.
        stored: the items that are stored under the possible names.
    """
    *shared, own = list_item_names(identifier, application_key)
    for name in (*shared, own):
        if name in stored and stored[name].application_key == application_key:
            return stored[name]
    free = next((name for name in shared if name not in stored), own)
    return Recording(recording_id=free, application_key=application_key)
