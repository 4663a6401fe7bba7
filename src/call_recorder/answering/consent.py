"""Consent to a recording: how a rule asks for it, and the proof that is kept.

There are three kinds. An *announcement* informs the caller before the connect. A *menu* asks the caller, and records
only a caller who presses the key. A *header* states that the app has asked. An in-app call allows only a header or an
announcement, since Sinch sends no PIE there.
"""

import base64
import binascii
import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from call_recorder.answering.patterns import Pattern, matches
from call_recorder.facts.call_details import Consent, ConsentOutcome
from call_recorder.sinch.callbacks import MAX_TEXT, CallHeader, MenuResult, is_text
from call_recorder.sinch.locales import list_voice_locales, normalize_voice_locale
from call_recorder.sinch.strict import OneOf, Strict
from call_recorder.sinch.svaml import Instruction, Menu, MenuOption, PlayFiles, RunMenu, Say

KEYS = "0123456789*#"

_MAIN = "main"
_FIRST = "first"
MENU_IDS = (_MAIN, _FIRST)
"""The ids of a consent menu, and of its twin for an application that is observed."""

_KEY = "key"
_MAX_HEADER_VALUE = 256  # characters


class Prompt(Strict):
    """A prompt: ``text``, spoken in ``locale``, or the file at a URL."""

    text: Annotated[str, Field(min_length=1, max_length=600)] | None = None
    file: Annotated[str, Field(pattern=r"^https://\S+$", max_length=1024)] | None = None
    locale: Annotated[str, OneOf(normalize_voice_locale, list_voice_locales)] | None = None

    @field_validator("text")
    @classmethod
    def _fits_a_menu(cls, text: str | None) -> str | None:
        if text and set(text) & set("[]"):
            raise ValueError("leave [ and ] out; Sinch marks spoken text with them")
        if text and ";" in text:
            raise ValueError("write a comma or a full stop for each ; since Sinch takes it for the end of the prompt")
        return text

    @field_validator("file")
    @classmethod
    def _is_one_file(cls, file: str | None) -> str | None:
        if file and ";" in file:
            raise ValueError("write %3B for each ; since Sinch takes it for the end of the prompt")
        return file

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueError("write either text or file")
        return self

    @property
    def content(self) -> str:
        """The text, or the URL of the file, as the proof of consent keeps it."""
        return self.text or self.file or ""

    def instruction(self) -> Instruction:
        """Return the instruction that plays the prompt."""
        if self.text:
            return Say(text=self.text, locale=self.locale)
        return PlayFiles(ids=(self.content,), locale=self.locale)

    def in_menu(self) -> str:
        """Return the prompt in the form of a menu."""
        return f"#tts[{self.text}]" if self.text else self.content


class Announcement(Strict):
    """The caller hears a prompt, and is then connected and recorded."""

    kind: Literal["announcement"]
    prompt: Prompt


class ConsentMenu(Strict):
    """The caller is asked, and recorded only after pressing ``accept``. Otherwise the call is connected unrecorded.

    Sinch does not connect a call to an app user after a menu. With ``username_by_conference`` such a call goes to a
    bridge conference instead, which the app joins.
    """

    kind: Literal["menu"]
    prompt: Prompt
    accept: Annotated[str, Field(pattern=r"^[0-9*#]$")] = "1"
    repeats: Annotated[int, Field(ge=0, le=5)] = 1
    timeout_mills: Annotated[int, Field(ge=500, le=30_000)] = 5000
    username_by_conference: bool = False

    @property
    def question(self) -> str:
        """The fingerprint of the prompt and of the key that agrees. It shows whether they have changed."""
        return hashlib.sha256(f"{self.accept}{self.prompt.content}".encode()).hexdigest()[:8]

    def action(self, ticket: "MenuTicket", *, twice: bool = False) -> RunMenu:
        """Return the menu for one call. Every key ends it, so the caller presses one key only.

        ``twice``: the same menu comes under two ids, so that the PIE shows which one Sinch plays first.
        """
        options = tuple(MenuOption(dtmf=key, action=f"return({ticket.value(key)})") for key in KEYS)
        prompt = self.prompt.in_menu()
        menu = Menu(
            id=_MAIN,
            main_prompt=prompt,
            repeat_prompt=prompt,
            repeats=self.repeats,
            max_digits=1,
            timeout_mills=self.timeout_mills,
            options=options,
        )
        menus = (menu, menu.model_copy(update={"id": _FIRST})) if twice else (menu,)
        return RunMenu(barge=True, locale=self.prompt.locale, main_menu=menus[-1].id, enable_voice=False, menus=menus)


class HeaderConsent(Strict):
    """The app states in a call header that it has asked. Without the header and its value the call is not recorded."""

    kind: Literal["header"]
    header: Annotated[str, Field(min_length=1, max_length=256)]
    value: Pattern

    def given(self, headers: tuple[CallHeader, ...]) -> tuple[bool, str | None]:
        """Return whether consent is given, and the header's value that decides it."""
        values = [each.value or "" for each in headers if (each.key or "").lower() == self.header.lower()]
        # If a header comes twice with different values, the value against consent counts.
        against = [value for value in values if not matches(self.value, value)]
        return bool(values) and not against, next(iter(against or values), None)


ConsentRule = Announcement | ConsentMenu | HeaderConsent


def prove(rule: str, consent: ConsentRule | None, headers: tuple[CallHeader, ...], at: datetime) -> Consent | None:
    """Return the proof of a consent that needs no answer of the caller: an announcement, or the app's header.

    Args:
        rule: the name of the rule.
        consent: the consent that the rule asks for. A menu has no proof yet.
        headers: the call headers of the ICE.
        at: the time of the proof.
    """
    if consent is None or isinstance(consent, ConsentMenu):
        return None
    if isinstance(consent, Announcement):
        prompt = consent.prompt.content
        return Consent(at=at, kind="announcement", rule=rule, outcome="announced", prompt=prompt)
    given, value = consent.given(headers)
    return Consent(
        at=at,
        kind="header",
        rule=rule,
        outcome="accepted" if given else "declined",
        header=consent.header,
        header_value=value[:_MAX_HEADER_VALUE] if value is not None else None,
    )


def prove_menu(rule: str, menu: ConsentMenu, result: MenuResult, at: datetime) -> Consent:
    """Return the proof of how a menu ended. A key without its ticket is no consent: the question is unknown."""
    return Consent(
        at=at, kind="menu", rule=rule, outcome=_menu_outcome(menu, result), prompt=menu.prompt.content, key=_key(result)
    )


def is_proof_of(proof: Consent | None, rule: str, consent: ConsentRule | None) -> bool:
    """Tell whether a proof shows the consent that a rule asks for."""
    if consent is None:
        return True
    if proof is None or not proof.given or (proof.rule, proof.kind) != (rule, consent.kind):
        return False
    match consent:
        case HeaderConsent(header=header, value=pattern):
            value = proof.header_value
            # A value of the maximum length may be cut off, so the real value is unknown.
            whole = value is not None and len(value) < _MAX_HEADER_VALUE
            return whole and (proof.header or "").lower() == header.lower() and matches(pattern, value or "")
        case ConsentMenu(accept=accept, prompt=prompt):
            return (proof.prompt, proof.key) == (prompt.content, accept)
        case Announcement(prompt=prompt):
            return proof.prompt == prompt.content


def _menu_outcome(menu: ConsentMenu, result: MenuResult) -> ConsentOutcome:
    match result.type:
        case "return":
            if _key(result) != menu.accept:
                return "declined"
            return "accepted" if MenuTicket.of(result) else "error"
        case "timeout" | "hangup" | "invalidinput" as outcome:
            return outcome
        case _:
            return "error"


def _key(result: MenuResult) -> str | None:
    name, _, rest = (result.value or "").partition(".")
    key = rest.partition(".")[0]
    pressed = result.type == "return" and name == _KEY and len(key) == 1 and key in KEYS
    return key if pressed else None


class MenuTicket(NamedTuple):
    """The data to continue a call after its menu. A PIE names no destination, so each key returns these data.

    ``question`` is the fingerprint of the menu that was played. If the profile asks another question by then, the key
    is no consent.
    """

    rule: str
    question: str
    to_type: str
    endpoint: str

    def value(self, key: str) -> str:
        """Return the value that the menu returns when the caller presses a key."""
        fields = [self.rule, self.question, self.to_type, self.endpoint]
        packed = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        return f"{_KEY}.{key}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"

    @property
    def fits(self) -> bool:
        """True if the ticket returns in full. Longer values are cut off."""
        return len(self.value(KEYS[0])) <= MAX_TEXT

    @classmethod
    def of(cls, result: MenuResult) -> "MenuTicket | None":
        """Read the ticket from the result of a menu; ``None`` if it has none."""
        name, _, rest = (result.value or "").partition(".")
        packed = rest.partition(".")[2]
        if name != _KEY:
            return None
        try:
            fields = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        except (binascii.Error, ValueError, RecursionError):
            return None
        if not isinstance(fields, list) or len(fields) != 4 or not all(is_text(each) for each in fields):
            return None
        return cls(*fields)
