"""The commands that people give to CustodyFunction, and its answers. Both are JSON with camel-case names.

A command is read strictly: a wrong one gets an answer with the state ``refused``, whose problem names the field.
Without a command, the function starts a round, as its schedule does every hour.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from call_recorder.facts.model import Identifier, Key, MaxBytes, Name, Text, Time
from call_recorder.sinch.strict import FullMatch, Strict

ReceiptId = Annotated[
    str, FullMatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "write a UUID in lower case")
]
"""The id of a receipt. The client chooses it, so that a repeated command opens no second receipt."""

Person = Annotated[str, Field(min_length=1), MaxBytes(256)]
"""The person who gives the command: the ARN that STS returns, or a name."""


class _AboutRecording(Strict):
    """A command about one recording: ``recordingId`` is the key of its item, or the id of the call or conference."""

    recording_id: Key
    application_key: Identifier
    by: Person


class Erase(_AboutRecording):
    """Erase a recording: its files, transcripts and all their versions, its object locations, and its item.

    The receipt must be open, except for a preview, which only counts.
    """

    command: Literal["erase"] = "erase"
    receipt_id: ReceiptId
    preview: bool


class Hold(_AboutRecording):
    """Put a recording under a legal hold: nothing removes it, neither retention nor an erasure."""

    command: Literal["hold"] = "hold"


class Release(_AboutRecording):
    """End the legal hold of a recording."""

    command: Literal["release"] = "release"


class EraseTraces(Strict):
    """Erase the traces of unrecorded calls from or to a number, in any spelling, between two times."""

    command: Literal["erase-traces"] = "erase-traces"
    application_key: Identifier
    number: Annotated[Name, Field(min_length=1)]
    since: Time
    until: Time
    receipt_id: ReceiptId
    by: Person
    preview: bool


class OpenReceipt(Strict):
    """Open a receipt, before the first erasure under it. A receipt that is open stays as it is.

    ``note`` is the reference of the request, such as a ticket. It must hold no personal data.
    """

    command: Literal["open-receipt"] = "open-receipt"
    receipt_id: ReceiptId
    by: Person
    reason: Literal["request"]
    note: Text | None = None


class ReadReceipt(Strict):
    """Read a receipt, with the sums of what was erased under it so far."""

    command: Literal["read-receipt"] = "read-receipt"
    receipt_id: ReceiptId


Command = Erase | Hold | Release | EraseTraces | OpenReceipt | ReadReceipt

_COMMAND: TypeAdapter[Command] = TypeAdapter(
    Annotated[Command, Field(discriminator="command")], config=ConfigDict(defer_build=True)
)

_NAMES = "erase, hold, release, erase-traces, open-receipt, read-receipt"


class CommandRefused(ValueError):
    """A command is wrong. The text is one sentence for each wrong field; it quotes no value."""


def read_command(event: Mapping[str, Any]) -> Command:
    """Read a command.

    Raises:
        CommandRefused: it is not a command.
    """
    try:
        # As JSON, because the strict form of a time in Python is no text.
        return _COMMAND.validate_json(json.dumps(event))
    except ValidationError as error:
        raise CommandRefused(" ".join(map(_explain, error.errors(include_input=False)))) from None


def _explain(wrong: Any) -> str:
    if wrong["type"].startswith("union_tag"):  # pydantic's own text quotes the value.
        return f"command: write one of {_NAMES}."
    return f"{'.'.join(map(str, wrong['loc'][1:]))}: {wrong['msg'].removeprefix('Value error, ')}."


class _Answered(BaseModel):
    """A part of an answer. The command line reads it tolerantly: a later version may add fields."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,
    )


class Counts(_Answered):
    """What is erased, or would be. Each thing counts once, however often an erasure was interrupted and repeated.

    Attributes:
        files: the recordings' files in the stack's bucket.
        transcripts: the transcripts in the stack's bucket.
        versions: all versions of these files and transcripts, with the delete markers.
        locations: the object locations, whose items are deleted.
        elsewhere: the files and transcripts in other stores. They are **not** erased: the operator erases them there.
        traces: the traces of unrecorded calls.
    """

    files: int = 0
    transcripts: int = 0
    versions: int = 0
    locations: int = 0
    elsewhere: int = 0
    traces: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Return the sums."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})


class Receipt(_Answered):
    """What was erased, when, why and by whom. It holds no personal data of the people in the calls.

    Attributes:
        receipt_id: its id.
        opened_by: who opened it; ``retention`` if a round did.
        opened_at: when.
        reason: ``request`` of a person, or ``retention``: the time that a rule sets has ended.
        note: the reference of the request.
        recordings: the number of recordings that were erased, or whose erasure has begun.
        unfinished: how many of these erasures must be repeated, since they were interrupted.
        erased_by: everybody who erased under this receipt.
        first_at: when the first erasure began.
        last_at: when the last erasure ended.
        counts: the sums of all erasures.
    """

    receipt_id: str
    opened_by: str
    opened_at: AwareDatetime
    reason: Literal["request", "retention"]
    note: str | None = None
    recordings: int = 0
    unfinished: int = 0
    erased_by: tuple[str, ...] = ()
    first_at: AwareDatetime | None = None
    last_at: AwareDatetime | None = None
    counts: Counts = Counts()


State = Literal[
    "found", "erased", "incomplete", "held", "released", "not-found", "refused", "opened", "complete", "done"
]


class Answer(_Answered):
    """The answer to a command.

    Attributes:
        state: the result.

            - ``found``: a preview counted what would be erased.
            - ``erased``: all of it is erased, now or before (``erase``, its preview, ``erase-traces``).
            - ``incomplete``: something failed, and ``problems`` says what. Repeat the command. Of a receipt: an erasure
              under it must be repeated.
            - ``held``: the recording is under a legal hold (``hold``), and therefore not erased (``erase``).
            - ``released``: the recording is under no legal hold.
            - ``not-found``: there is no such recording, receipt or trace.
            - ``refused``: the command is wrong or impossible; nothing was changed.
            - ``opened``: the receipt is open.
            - ``complete``: all erasures under the receipt are finished.
            - ``done``: a round is finished.
        counts: what is erased, or would be.
        problems: sentences for the person who gave the command. ``held``, ``erased`` and ``released`` may have some.
        receipt: the receipt (``open-receipt``, ``read-receipt``).
    """

    state: State
    counts: Counts = Counts()
    problems: tuple[str, ...] = ()
    receipt: Receipt | None = None
