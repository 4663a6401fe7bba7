"""The parts of a fact: how a call began and ended, its consent, its recording request, and Sinch's complaints."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from call_recorder.facts.model import (
    MAX_NAME_BYTES,
    Model,
    Name,
    Text,
    Time,
    Url,
    Word,
    fits,
    max_bytes,
    may_be_clipped,
)
from call_recorder.sinch.callbacks import DiceCallback, IceCallback, Money, To

MAX_HEADER_BYTES = 1024
"""Maximum size of the kept call headers, in bytes of JSON. Sinch has the same limit for all headers of a call."""

_MAX_CLOCK_DIFFERENCE = timedelta(days=1)


class CallStart(Model):
    """A call as its ICE describes it, with numbers, usernames and addresses as Sinch writes them."""

    at: Time
    from_: Name | None = Field(None, alias="from")
    to: Name | None = None
    to_type: Word | None = None
    domain: Word | None = None
    origination_type: Word | None = None
    custom: Text | None = None

    @classmethod
    def of(cls, ice: IceCallback, at: datetime) -> "CallStart":
        """Describe the call that an ICE announces."""
        to = ice.to or To()
        return cls.clipped(
            at=at,
            from_=ice.caller,
            to=to.endpoint,
            to_type=to.type,
            domain=ice.domain,
            origination_type=ice.origination_type,
            custom=ice.custom,
        )

    @property
    def possibly_clipped(self) -> frozenset[str]:
        """The fields that may be cut off, by the names of a profile's conditions."""
        fields = type(self).model_fields
        return frozenset(
            fields[name].alias or name
            for name, limit in max_bytes(type(self)).items()
            if (text := getattr(self, name)) and may_be_clipped(text, limit)
        )


class CallEnd(Model):
    """The end of a call, as its DiCE reports it. ``duration`` is in seconds; a call without an answer has none."""

    at: Time
    result: Name | None = None
    reason: Name | None = None
    duration: Annotated[int | None, Field(ge=0, lt=10**9)] = None
    charge: Name | None = None
    charge_currency: Name | None = None

    @classmethod
    def of(cls, dice: DiceCallback, at: datetime) -> "CallEnd":
        """Describe the end that a DiCE reports.

        The end has the DiCE's own timestamp, unless it differs from the signing time ``at`` by a day or more: the
        time at which a recording counts as missing depends on it.
        """
        debit = dice.debit or Money()
        ended_at = dice.timestamp if dice.timestamp and abs(dice.timestamp - at) < _MAX_CLOCK_DIFFERENCE else at
        return cls.clipped(
            at=ended_at,
            result=dice.result,
            reason=dice.reason,
            duration=dice.duration,
            charge=debit.amount,
            charge_currency=debit.currency_id,
        )


ConsentOutcome = Literal["announced", "accepted", "declined", "timeout", "hangup", "invalidinput", "error"]


class Consent(Model):
    """The proof of a consent: the rule that asked, how it asked, the outcome, and the time.

    If a menu ends without a key, the outcome is Sinch's: timeout, hangup, invalidinput or error. ``prompt`` is the
    spoken text, or the URL of the played file.
    """

    at: Time
    kind: Literal["announcement", "menu", "header"]
    rule: Word
    outcome: ConsentOutcome
    prompt: Annotated[str | None, Field(max_length=1024)] = None
    key: Name | None = None
    header: Annotated[str | None, Field(max_length=256)] = None
    header_value: Annotated[str | None, Field(max_length=256)] = None

    @property
    def given(self) -> bool:
        """True if the recording may begin."""
        return self.outcome in ("announced", "accepted")


class KeptHeader(Model):
    """A call header that a profile's conditions name, with all its values in the ICE; none if it is absent."""

    name: Name
    values: tuple[Name, ...] = ()


def _check_size(headers: tuple[KeptHeader, ...]) -> tuple[KeptHeader, ...]:
    if sum(map(_header_bytes, headers)) > MAX_HEADER_BYTES:
        raise ValueError("too long")
    return headers


KeptHeaders = Annotated[tuple[KeptHeader, ...], AfterValidator(_check_size)]
"""The headers that a later decision needs. A header that is not listed here is unknown, not absent."""


def keep_headers(ice: IceCallback, names: Iterable[str]) -> tuple[KeptHeader, ...]:
    """Return the headers with these names that fit in full. Names are compared without regard to case."""
    kept: list[KeptHeader] = []
    left = MAX_HEADER_BYTES
    for name in sorted({name.lower() for name in names}):
        values = tuple(each.value or "" for each in ice.call_headers if (each.key or "").lower() == name)
        if not all(fits(text, MAX_NAME_BYTES) for text in (name, *values)):
            continue
        header = KeptHeader(name=name, values=values)
        if _header_bytes(header) <= left:
            left -= _header_bytes(header)
            kept.append(header)
    return tuple(kept)


def _header_bytes(header: KeptHeader) -> int:
    return len(header.model_dump_json())


class AskedConsent(Model):
    """A caller is asked by a menu: the rule that asks, and the fingerprint of the question (``ConsentMenu.question``).

    A menu that ends without a key does not return them, so they are kept.
    """

    at: Time
    rule: Word
    question: Word
    headers: KeptHeaders = ()


class AwaitedAnswer(Model):
    """A decision to record a call from its answer on: the rule, and the proof of consent.

    The proof counts only if this decision is in force when the call is answered. ``contested``: two callbacks of the
    same time led to different decisions, so that it is unknown which of the two answers Sinch carries out.
    """

    at: Time
    rule: Word
    consent: Consent | None = None
    headers: KeptHeaders = ()
    contested: bool = False

    def join(self, other: "AwaitedAnswer") -> "AwaitedAnswer":
        """Return the later of two decisions. The result does not depend on their order of arrival."""
        if self.at != other.at:
            return max(self, other, key=lambda awaited: awaited.at)
        one, two = (each.model_copy(update={"contested": False}) for each in (self, other))
        contested = self.contested or other.contested or one != two
        return min(one, two, key=lambda each: each.model_dump_json()).model_copy(update={"contested": contested})

    def is_in_force(self, asked: AskedConsent | None, withdrawn_at: datetime | None) -> bool:
        """Tell whether this decision belongs to the last answer to Sinch. If that is uncertain, return ``False``.

        Args:
            asked: the latest menu of the same call.
            withdrawn_at: the time of the latest answer that awaits nothing.
        """
        if self.contested or (withdrawn_at is not None and self.at <= withdrawn_at):
            return False
        if asked is None or self.at > asked.at:
            return True
        # Times are whole seconds, so a menu can begin and end at the same time. The decision at its end is the later.
        return self.at == asked.at and self.consent is not None and self.consent.kind == "menu"


class WithdrawnAnswer(Model):
    """An ICE or PIE had an answer that awaits nothing, so an earlier decision to record is withdrawn.

    ``verified`` says whether the signature of the callback was verified. An unverified callback may be forged, so
    its withdrawal applies only to a call that is known.
    """

    at: Time
    verified: bool


class RecordingRequest(Model):
    """The request to record in an answer to Sinch: the rule and the options. ``retention_days`` is the rule's."""

    at: Time
    rule: Word
    destination_url: Url
    format: Word
    notification_events: bool
    transcription: bool
    locale: Word | None = None
    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None


class Notification(Model):
    """A notification of an unknown type, kept as Sinch sent it."""

    at: Time
    type: Name
    destination: Url | None = None
    error_code: Name | None = None
    error_message: Text | None = None


class CallingError(Model):
    """A calling error: Sinch refused the SVAML of an answer, or could not carry it out.

    ``code`` is Sinch's, for example 40001 for an illegal answer. ``message`` is Sinch's too, without anything that may
    be a credential.
    """

    at: Time
    code: Word | None = None
    message: Name | None = None
    user: Name | None = None
