"""How Sinch may behave where its documents are silent or contradict each other.

The defaults are what the documents say, or else what is likelier. `call-recorder trial` finds out by live calls which
readings are right; it is tested with the simulator in each of them. ``menu.FirstMenu`` is one more reading, and
``calls.list_variants`` has those of the spelling of a callback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TimeForm = Literal["seconds", "fraction", "no zone"]
"""The form of a timestamp. Documents show seconds, a fraction of up to seven digits, and (2020) a time without Z."""


@dataclass(frozen=True)
class Readings:
    """One way in which Sinch may behave.

    Attributes:
        content_type: the content type of the callbacks. The signature vectors of the SDKs have both forms.
        user_agent: the product in the header of this name. No document has it.
        time_form: the form of ``x-timestamp``.
        menu_value_limit: the length at which the value of ``return(...)`` is cut off. No document names a limit.
        capital_results: whether results of menus are capitalised, as in the pages of 2021.
        phone_after_menu: whether ``connectPstn`` may answer a PIE. A model of the Node SDK leaves it out.
        records_in_app: whether the flag ``record`` works on ``connectMxp``. One page shows it; another one says that
            in-app calls cannot be recorded by ``startRecording``.
        ace_for_all: whether an ACE comes for app users and conferences too. The documents exclude app users.
        ace_call_id: whether an ACE has the call id of its ICE, as all samples suggest.
        notification_fields: the fields that notifications have besides the documented ones, of ``applicationKey``,
            ``timestamp`` and ``custom``.
        destination: the URL in a notification: the one that was asked for, a page of Sinch as in one document, or none.
        transcript_name: whether ``-transcript.json`` replaces the file's extension or follows it.
        failed_upload: the type of a notification of a failed upload. No document has one.
    """

    content_type: str = "application/json"
    user_agent: str | None = None
    time_form: TimeForm = "seconds"
    menu_value_limit: int | None = None
    capital_results: bool = False
    phone_after_menu: bool = True
    records_in_app: bool = True
    ace_for_all: bool = False
    ace_call_id: bool = True
    notification_fields: tuple[Literal["applicationKey", "timestamp", "custom"], ...] = ()
    destination: Literal["as asked", "https", "absent"] = "as asked"
    transcript_name: Literal["replaces", "follows"] = "replaces"
    failed_upload: str | None = None


LIKELIEST = Readings()
