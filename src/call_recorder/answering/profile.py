"""The recording profile: which calls of an application are recorded, how, and where calls go.

An operator writes it as JSON. A profile that cannot work is refused when it is read. The refusal names the field and
the correction. Otherwise, Sinch would refuse the answer while a caller waits, or only a missing recording would show
the mistake.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from call_recorder.answering.consent import ConsentMenu, ConsentRule, HeaderConsent
from call_recorder.answering.destinations import Destination
from call_recorder.answering.patterns import Pattern, overlap
from call_recorder.sinch.strict import Strict
from call_recorder.sinch.svaml import (
    Connect,
    ConnectConf,
    ConnectMxp,
    ConnectPstn,
    ConnectSip,
    Hangup,
    TranscriptionOptions,
)

ToType = Literal["number", "username", "sip", "did", "conference"]
Format = Annotated[str, Field(pattern=r"^(mp3|wav)$", description="mp3; wav is not documented for Sinch Voice v1")]

_PARAMETER = "recording-profile"
_NO_SUCH_FIELD = "no such field; check its spelling or leave it out"
_ACTIONS = frozenset({"connectMxp", "connectPstn", "connectConf", "connectSip", "hangup"})
_CONSENTS = frozenset({"announcement", "menu", "header"})
_SHARED_CONFERENCE = (
    "a caller who declined would join a conference that is recorded; use an announcement instead, "
    "or keep conferences out of the rule with when.toType"
)
_NO_APP_USER_AFTER_MENU = (
    "Sinch does not connect a call to an app user after a menu; set usernameByConference to true, "
    "or keep app users out of the rule with when.toType"
)
_NO_ANSWER_REPORTED = (
    "Sinch does not report that it was answered; start with the connect, or keep it out of the rule with when.toType"
)

_UPSTREAM_FORM = "write https://host/path, without user, query or fragment"
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{0,5}))?")

_DIRECT: dict[ToType, type[Connect]] = {
    "username": ConnectMxp,
    "number": ConnectPstn,
    "sip": ConnectSip,
    "conference": ConnectConf,
}


class ProfileProblem(NamedTuple):
    """A mistake in a profile: its path, as keys and indexes, and the sentence for the operator."""

    path: tuple[int | str, ...]
    sentence: str


class ProfileRefused(ValueError):
    """A parameter cannot be used. The text is one sentence: it names the parameter, the field and the correction."""


def _to_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _to_lower_tuple(value: Any) -> Any:
    values = _to_tuple(value)
    if not isinstance(values, tuple):
        return value
    return tuple(each.lower() if isinstance(each, str) else each for each in values)


def _check_destination(template: str) -> str:
    Destination.parse(template)
    return template


Template = Annotated[
    str,
    AfterValidator(_check_destination),
    Field(description="s3://, azure:// or gs:// URL with {callId} in its file's name"),
]
_OneOrMore = BeforeValidator(_to_tuple, json_schema_input_type=Pattern | list[Pattern])
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1), _OneOrMore]
Words = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[a-z]+$")], ...],
    Field(min_length=1),
    BeforeValidator(_to_lower_tuple, json_schema_input_type=str | list[str]),
]
ToTypes = Annotated[
    tuple[ToType, ...],
    Field(min_length=1),
    BeforeValidator(_to_lower_tuple, json_schema_input_type=ToType | list[ToType]),
]


class When(Strict):
    """The conditions of a rule. A call must meet all of them. If a condition has several values, one must match.

    ``from`` is the caller's number or username, ``to`` the dialled number or destination, ``to_type`` its type in the
    ICE, ``conference`` the id of the conference that the call goes to.
    """

    domain: Words | None = None
    origination_type: Words | None = None
    to_type: ToTypes | None = None
    from_: Patterns | None = Field(None, alias="from")
    to: Patterns | None = None
    call_headers: dict[str, Pattern] | None = None
    custom: Patterns | None = None
    conference: Patterns | None = None

    @property
    def conditions(self) -> frozenset[str]:
        """The names of the conditions that are set."""
        fields = type(self).model_fields
        return frozenset(fields[name].alias or name for name in fields if getattr(self, name) is not None)


class Rule(Strict):
    """Whether a call is recorded, and how. The first rule whose conditions the call meets decides.

    ``sample`` is the share of calls to record. ``start`` says whether the recording begins with the connect or with the
    callee's answer. ``destination``, ``format`` and ``transcription`` override the profile's. ``retention_days`` is how
    long the item of the recording is kept.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
    when: When = Field(default_factory=When)
    record: bool
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    start: Literal["connect", "answer"] = "connect"
    consent: Annotated[ConsentRule, Field(discriminator="kind")] | None = None
    destination: Template | None = None
    format: Format | None = None
    transcription: TranscriptionOptions | None = None
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = None

    @model_validator(mode="after")
    def _refuse_options_without_recording(self) -> Self:
        options = self.model_fields_set - {"name", "when", "record"}
        if not self.record and options:
            raise ValueError(f"record is false, so leave out {', '.join(sorted(map(to_camel, options)))}")
        return self


class Route(Strict):
    """Where a call to a dialled number goes. ``to`` is the number, or a pattern with ``*``. The first match counts."""

    to: Pattern
    action: Annotated[ConnectMxp | ConnectPstn | ConnectConf | ConnectSip | Hangup, Field(discriminator="name")]

    @field_validator("action")
    @classmethod
    def _refuse_recording(cls, action: Any) -> Any:
        if getattr(action, "record", None) or getattr(action, "recording_options", None):
            raise ValueError("leave record and recordingOptions out; the rules decide who is recorded")
        return action


class Upstream(Strict):
    """The URL of the application's own backend, which answers callbacks already."""

    url: Annotated[str, Field(max_length=1024)]

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("write the URL in plain ASCII")
        try:
            parts = urlsplit(url)
        except ValueError:  # brackets without an IPv6 address
            raise ValueError(_UPSTREAM_FORM) from None
        address = _HOST_AND_PORT.fullmatch(parts.netloc)
        if parts.scheme != "https" or not address or parts.query or parts.fragment:
            raise ValueError(_UPSTREAM_FORM)
        if address["port"] and not 0 < int(address["port"]) < 65536:
            raise ValueError("port out of range 1-65535")
        return url


class RecordingProfile(Strict):
    """Destination, format, transcription, rules, routes and backend of one Sinch application.

    Without ``destination``, recordings go to the stack's own bucket. Without rules, nothing is recorded. With
    ``observe``, the log has the shape of each callback (observation.py), and two answers are questions to Sinch: a
    menu comes twice, under two ids, and a hang-up has a field that no document names. Callers notice neither.
    """

    destination: Template | None = None
    format: Format = "mp3"
    notification_events: bool = True
    transcription: TranscriptionOptions | None = None
    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    upstream: Upstream | None = None
    observe: bool = False

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        for problem in self.contradictions(range(len(self.rules))):
            raise ValueError(problem.sentence)
        return self

    def contradictions(self, indexes: Sequence[int]) -> Iterator[ProfileProblem]:
        """Yield the rules that Sinch cannot carry out, and the rules that contradict each other.

        Args:
            indexes: the index of each rule in the profile as it is written, which may have more rules.
        """
        names = set()
        for index, rule in zip(indexes, self.rules, strict=True):
            where = f"rules[{index}] ({rule.name})"
            if rule.name in names:
                sentence = f"{where}: name: another rule has this name; give each its own"
                yield ProfileProblem(("rules", index, "name"), sentence)
            names.add(rule.name)
            for field, mend in self._find_impossible(rule):
                yield ProfileProblem(("rules", index, field), f"{where}: {field}: {mend}")

    def _find_impossible(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """Yield what Sinch cannot carry out of a rule: the field and the correction."""
        actions = dict(self._find_actions(rule))
        if isinstance(rule.consent, ConsentMenu):
            yield from self._find_impossible_menu(rule, rule.consent, actions)
        if isinstance(rule.consent, ConsentMenu | HeaderConsent) and ConnectConf in actions:
            yield (
                "consent",
                f"{actions[ConnectConf]}: {_SHARED_CONFERENCE}",
            )
        if rule.start == "answer":
            yield from self._find_impossible_start(rule, actions)

    def _find_impossible_menu(
        self, rule: Rule, menu: ConsentMenu, actions: dict[type[Connect], str]
    ) -> Iterator[tuple[str, str]]:
        origins = rule.when.origination_type or rule.when.domain
        if origins is None or "mxp" in origins:
            yield "consent", 'Sinch runs no menu in in-app calls; add when.originationType, such as "pstn"'
        if self.upstream:
            yield "consent", "a menu would take the place of the upstream's answer; use an announcement or a header"
        if ConnectMxp in actions and not menu.username_by_conference:
            yield (
                "consent",
                f"{actions[ConnectMxp]}: {_NO_APP_USER_AFTER_MENU}",
            )

    def _find_impossible_start(self, rule: Rule, actions: dict[type[Connect], str]) -> Iterator[tuple[str, str]]:
        for connect in (ConnectMxp, ConnectConf):
            if connect in actions:
                yield (
                    "start",
                    f"{actions[connect]}: {_NO_ANSWER_REPORTED}",
                )
        if self.upstream:
            yield "start", "the upstream answers the ACE; start with the connect"
        for route in self._reachable_routes(rule):
            if getattr(route.action, "suppress_callbacks", None):
                yield "start", f"the route to {route.to} has suppressCallbacks, so no answer is reported; leave it out"

    def _find_actions(self, rule: Rule) -> Iterator[tuple[type[Connect], str]]:
        """Yield the connect actions that a call under a rule may take, each with its route or destination type."""
        to_types = rule.when.to_type or (*_DIRECT, "did")
        for route in self._reachable_routes(rule):
            if not isinstance(route.action, Hangup):
                yield type(route.action), f"the route to {route.to}"
        for to_type, connect in _DIRECT.items():
            if to_type in to_types:
                yield connect, f"a call to a {to_type}"

    def _reachable_routes(self, rule: Rule) -> Iterator[Route]:
        """Yield the routes that a call under a rule may take."""
        if "did" in (rule.when.to_type or ("did",)):
            for route in self.routes:
                if any(overlap(route.to, pattern) for pattern in rule.when.to or ("*",)):
                    yield route

    @classmethod
    def parse(cls, text: str) -> "RecordingProfile":
        """Read a profile from JSON.

        Raises:
            ProfileRefused: the profile cannot work.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = field_problems(error)
            # A misspelt field makes two problems. The one that names the field is shown.
            first = next((each for each in problems if each.sentence.endswith(_NO_SUCH_FIELD)), problems[0])
            raise ProfileRefused(first.sentence) from None

    @cached_property
    def asks_by_menu(self) -> bool:
        """True if any rule asks by a menu, so that a PIE belongs to a menu of a rule."""
        return any(isinstance(rule.consent, ConsentMenu) for rule in self.rules)

    @cached_property
    def records_on_answer(self) -> bool:
        """True if any rule starts with the callee's answer, so that an ACE depends on the call's ICE."""
        return any(rule.start == "answer" for rule in self.rules)

    @cached_property
    def goes_on_after_ice(self) -> bool:
        """True if a PIE or an ACE may depend on the call's ICE."""
        return self.asks_by_menu or self.records_on_answer

    @cached_property
    def header_names(self) -> frozenset[str]:
        """The names of the call headers in conditions."""
        return frozenset(name for rule in self.rules for name in rule.when.call_headers or ())

    def rule(self, name: str) -> Rule | None:
        """Return the rule with a name, or ``None``."""
        return next((rule for rule in self.rules if rule.name == name), None)


def field_problems(error: ValidationError) -> list[ProfileProblem]:
    """Return the mistakes that pydantic found in a profile, as sentences for the operator."""
    errors = error.errors(include_input=False, include_url=False)
    return [ProfileProblem(_path(each["loc"]), _sentence(each)) for each in errors]


def _sentence(error: ErrorDetails) -> str:
    cause = error.get("ctx", {}).get("error")
    if error["type"] == "json_invalid":
        return f"{_PARAMETER}: write a JSON object; this is not valid JSON: {cause}"
    match error["type"]:
        case "extra_forbidden":
            mend = _NO_SUCH_FIELD
        case "missing":
            mend = "missing; write it"
        case "string_pattern_mismatch":
            mend = f"write something that matches {error['ctx']['pattern']}"
        case _ if isinstance(cause, ValueError):
            mend = str(cause)
        case _:
            mend = error["msg"][0].lower() + error["msg"][1:]
    # A contradiction between rules has no field of its own. Its sentence names the rule.
    whole = "" if isinstance(cause, ValueError) else "the whole"
    return ": ".join(filter(None, (_PARAMETER, _field(_path(error["loc"])) or whole, mend)))


def _path(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return a location of pydantic without the names of union members that pydantic adds."""

    def is_union_member(before: int | str, part: int | str) -> bool:
        # A header consent also has a field named header.
        return (part in _ACTIONS and before == "action") or (part in _CONSENTS and before == "consent")

    pairs = zip(("", *location), location, strict=False)
    return tuple(part for before, part in pairs if not is_union_member(before, part))


def _field(path: tuple[int | str, ...]) -> str:
    field = ""
    for part in path:
        if isinstance(part, int):
            field += f"[{part}]"
        else:
            field += f".{part}" if field else part
    return field
