"""What an item is stored under: the id that Sinch's callbacks name, or that id with its application's key.

Call ids are Sinch's and unique; conference ids are whatever an application calls its conference, and an application
may sign a callback that names any id. The first that comes gets the id as it is; an item of any other application is
stored under ``<id>@@<key>``. An id with ``@@`` in it is always stored so. Since no key has an ``@``, the last ``@@``
of a name is the one that was put there, and a name without any is an id: two applications never meet in one name.
"""

from __future__ import annotations

from collections.abc import Mapping

from call_recorder.tracking.recording import Recording

_SEPARATOR = "@@"


def item_names(identifier: str, application_key: str) -> tuple[str, ...]:
    """Return the names that an application's item of an id may have: one that it shares with others, and its own."""
    qualified = f"{identifier}{_SEPARATOR}{application_key}"
    return (qualified,) if _SEPARATOR in identifier else (identifier, qualified)


def find_item(identifier: str, application_key: str, stored: Mapping[str, Recording]) -> Recording:
    """Return an application's item of an id: the one that is stored, else a new one under the name that it may have.

    An item under its own name is the application's for good. It stays there if the name that was taken becomes free
    meanwhile, as that of a call which nobody recorded does after a day.

    Args:
        identifier: the call id or conference id.
        application_key: whose item.
        stored: what is stored under the names that it may have.
    """
    *shared, own = item_names(identifier, application_key)
    if own in stored:
        return stored[own]
    for name in shared:
        if name not in stored:
            return Recording(recording_id=name, application_key=application_key)
        if stored[name].application_key == application_key:
            return stored[name]
    return Recording(recording_id=own, application_key=application_key)
