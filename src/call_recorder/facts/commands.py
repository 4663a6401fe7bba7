"""Commands: messages that ask NotifyFunction to check an item. The watchdog sends them; they report nothing.

Their wire literals are older than their names. Messages with them may be in the queue during a deployment.
"""

from typing import Literal

from pydantic import Field

from call_recorder.facts.model import Identifier, Key, Model, Time


class CheckRecording(Model):
    """Check the item of a recording: the watchdog found at ``at`` that the item is due for a check.

    ``recording_id`` is the key of the item, which may differ from the id of the call or conference.
    """

    fact: Literal["overdue"] = "overdue"
    recording_id: Key
    application_key: Identifier
    at: Time


class CheckLocation(Model):
    """Check an object location: the watchdog found at ``at`` that its objects still belong to no recording."""

    fact: Literal["place-overdue"] = "place-overdue"
    location: Key = Field(alias="place")
    at: Time


Command = CheckRecording | CheckLocation
