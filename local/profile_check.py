"""All that is to be said of a recording profile before it is put: its mistakes, and what it does to each kind of call.

The functions use a profile or they do not, and then log the first mistake. Who writes one wants to see all of them
at once, each with its place in the file, and what works but will surprise: calls that are hung up, rules that no
call reaches, calls that nobody records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, get_args

from pydantic import ValidationError

from call_recorder.answering.destinations import Destination
from call_recorder.answering.patterns import (
    matches,
    overlap,
)
from call_recorder.answering.profile import (
    ProfileProblem,
    RecordingProfile,
    Route,
    Rule,
    ToType,
    Upstream,
    When,
    field_problems,
)
from call_recorder.sinch.svaml import Hangup
from local.json_positions import Position, nearest, positions

KINDS: Final[Mapping[ToType, str]] = {
    "did": "a phone number of yours",
    "username": "an app user",
    "number": "a phone number, from an app",
    "sip": "a SIP address",
    "conference": "a conference",
}
"""What a call goes to, by the type that the ICE names."""

_ANY: Final = "*"
_INSTEAD_OF_STARS: Final = "\ufffe"
_MAX_COMBINATIONS: Final = 2000
_NO_JSON_AT: Final = re.compile(r" at line (\d+) column (\d+)$")


@dataclass(frozen=True)
class Remark:
    """A sentence about a place in a profile's text."""

    position: Position
    sentence: str


def find_mistakes(text: str) -> list[Remark]:
    """Return everything that keeps a profile from being used, in the order of its text.

    What depends on several fields is looked at as far as these can be read.
    """
    try:
        profile = RecordingProfile.model_validate_json(text)
    except ValidationError as error:
        found = field_problems(error)
        if error.errors()[0]["type"] == "json_invalid":
            return [Remark(_where_json_ends(found[0].sentence), found[0].sentence)]
        # What the rules ask of Sinch has no path of its own there.
        found = [problem for problem in found if problem.path] or [each for each in found if _is_whole(each)]
        return _placed(text, [*found, *_against_each_other(json.loads(text))])
    return _placed(text, _several_stores(profile))


def describe(profile: RecordingProfile) -> list[str]:
    """Return what a profile does to each kind of call, line by line."""
    lines = []
    for to_type, kind in KINDS.items():
        recording = [_named(rule) for rule in _reached(profile, to_type) if rule.record and rule.sample]
        recorded = f"recorded by {', '.join(recording)}" if recording else "not recorded"
        lines.append(f"  {f'to {kind} ({to_type})':<40} {_way(profile, to_type)}; {recorded}")
    return lines


def find_surprises(text: str) -> list[Remark]:
    """Return what works in a profile but hardly does what its author wants, in the order of its text."""
    profile = RecordingProfile.parse(text)
    return _placed(text, [*_rule_surprises(profile), *_route_surprises(profile)])


def _placed(text: str, problems: Iterable[ProfileProblem]) -> list[Remark]:
    places = positions(text)
    remarks = {Remark(nearest(places, problem.path), problem.sentence): None for problem in problems}
    return sorted(remarks, key=lambda remark: remark.position)


def _where_json_ends(sentence: str) -> Position:
    where = _NO_JSON_AT.search(sentence)
    return Position(int(where[1]), int(where[2])) if where else Position(1, 1)


def _is_whole(problem: ProfileProblem) -> bool:
    return problem.sentence.startswith("recording-profile: the whole")


def _against_each_other(written: Any) -> Iterator[ProfileProblem]:
    """Yield what the rules ask that Sinch does not do, as far as they can be read."""
    if not isinstance(written, dict):
        return
    rules = _valid(Rule, written.get("rules"))
    routes = _valid(Route, written.get("routes"))
    upstream = _valid(Upstream, [written.get("upstream")])
    profile = RecordingProfile.model_construct(
        rules=tuple(rules.values()), routes=tuple(routes.values()), upstream=upstream.get(0)
    )
    for problem in profile.contradictions(list(rules)):
        yield ProfileProblem(problem.path, f"recording-profile: {problem.sentence}")
    yield from _names_of_unreadable(written.get("rules"), rules)


def _valid(model: Any, written: Any) -> dict[int, Any]:
    """Return the elements of a list that can be read, by their index."""
    found = {}
    for index, element in enumerate(written if isinstance(written, list) else []):
        with suppress(ValidationError):
            found[index] = model.model_validate_json(json.dumps(element))
    return found


def _names_of_unreadable(written: Any, readable: Mapping[int, Rule]) -> Iterator[ProfileProblem]:
    """Yield names that are given twice, where one of the rules cannot be read for another reason."""
    first: dict[str, int] = {}
    for index, rule in enumerate(written if isinstance(written, list) else []):
        name = rule.get("name") if isinstance(rule, dict) else None
        if not isinstance(name, str):
            continue
        before = first.setdefault(name, index)
        if before != index and not {before, index} <= readable.keys():
            sentence = f"recording-profile: rules[{index}].name: another rule has this name; give each its own"
            yield ProfileProblem(("rules", index, "name"), sentence)


def _several_stores(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    """Yield the rules that record to another kind of store than the first: an application has credentials of one."""
    first: str | None = None
    for index, rule in enumerate(profile.rules):
        if not rule.record:
            continue
        template = rule.destination or profile.destination
        scheme = Destination.parse(template).scheme if template else "s3"
        first = first or scheme
        if scheme != first:
            yield ProfileProblem(
                ("rules", index, "destination"),
                f"recording-profile: rules[{index}] ({rule.name}): destination: this rule records to {scheme} and an "
                f"earlier one to {first}, and an application has credentials of one kind of store",
            )


def _rule_surprises(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    if not any(rule.record and rule.sample for rule in profile.rules):
        yield ProfileProblem(("rules",), "no call is recorded: no rule records; add one, for example for everything")
    for index, rule in enumerate(profile.rules):
        where = f"rules[{index}] ({rule.name})"
        if rule.record and not rule.sample:
            yield ProfileProblem(("rules", index, "sample"), f"{where}: sample is 0, so it records no call")
        if before := _covering(rule, profile.rules[:index]):
            names = " and ".join(repr(each) for each in before)
            take = "takes" if len(before) == 1 else "take"
            sentence = f"{where}: no call reaches this rule: {names} before it {take} them all"
            yield ProfileProblem(("rules", index), sentence)
        elif rule.when.to_type == ("did",) and not _leads_anywhere(profile, rule):
            sentence = f"{where}: no route leads a call to its numbers anywhere, so they are hung up; add a route"
            yield ProfileProblem(("rules", index, "when", "to"), sentence)


def _route_surprises(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    if not profile.routes and not profile.upstream:
        yield ProfileProblem(
            ("routes",), 'every call to a phone number of yours (did) is hung up: add a route, for all numbers to "*"'
        )
    for index, route in enumerate(profile.routes):
        before = next((each.to for each in profile.routes[:index] if _covers(each.to, route.to)), None)
        if before is not None:
            sentence = f"routes[{index}]: no call takes this route: the one to {before} before it takes them all"
            yield ProfileProblem(("routes", index), sentence)


def _way(profile: RecordingProfile, to_type: ToType) -> str:
    """Return what becomes of the calls of a kind, whether recorded or not."""
    if to_type != "did":
        way = "connected"
    elif not profile.routes:
        way = "hung up: there is no route"
    else:
        everywhere = any(_covers(route.to, _ANY) for route in profile.routes)
        numbers = ", ".join(route.to for route in profile.routes)
        way = "goes by the routes" if everywhere else f"goes by the routes for {numbers}; to any other it is hung up"
    return f"your backend says where it goes, and if it fails: {way}" if profile.upstream else way


def _reached(profile: RecordingProfile, to_type: ToType) -> Iterator[Rule]:
    """Yield the rules that can decide on a call of a kind."""
    for index, rule in enumerate(profile.rules):
        if rule.when.to_type and to_type not in rule.when.to_type:
            continue
        if to_type == "did" and not _leads_anywhere(profile, rule):
            continue
        combinations = _combinations(rule.when, (to_type,))
        if combinations is None or not all(_taken(each, profile.rules[:index]) for each in combinations):
            yield rule


def _leads_anywhere(profile: RecordingProfile, rule: Rule) -> bool:
    """Tell whether a call to a number (did) under a rule is connected, by the routes or by the upstream."""
    numbers = rule.when.to or (_ANY,)
    ways = (route for route in profile.routes if not isinstance(route.action, Hangup))
    return bool(profile.upstream) or any(overlap(way.to, number) for way in ways for number in numbers)


def _covering(rule: Rule, before: tuple[Rule, ...]) -> list[str]:
    """Return the names of earlier rules that together take every call of a rule, none if they do not."""
    combinations = _combinations(rule.when, rule.when.to_type or get_args(ToType))
    takers = [_taken(each, before) for each in combinations] if combinations else []
    return list(dict.fromkeys(filter(None, takers))) if takers and all(takers) else []


def _combinations(when: When, to_types: Iterable[ToType]) -> list[dict[str, Any]] | None:
    """Return conditions with one value each that together say the same; ``None`` if there are too many."""
    conditions: dict[str, Iterable[Any]] = {
        "to_type": to_types,
        "domain": when.domain or (None,),
        "origination_type": when.origination_type or (None,),
        "from_": when.from_ or (None,),
        "to": when.to or (None,),
        "custom": when.custom or (None,),
        "conference": when.conference or (None,),
        "call_headers": (when.call_headers,),
    }
    values = [tuple(each) for each in conditions.values()]
    size = 1
    for each in values:
        size *= len(each)
    if size > _MAX_COMBINATIONS:
        return None
    return [dict(zip(conditions, combination, strict=True)) for combination in product(*values)]


def _taken(combination: Mapping[str, Any], before: tuple[Rule, ...]) -> str | None:
    """Return the name of the earlier rule that takes every call of a combination of conditions."""
    return next((rule.name for rule in before if _takes_all(rule.when, combination)), None)


def _takes_all(when: When, combination: Mapping[str, Any]) -> bool:
    words = all(
        getattr(when, name) is None or combination[name] in getattr(when, name)
        for name in ("to_type", "domain", "origination_type")
    )
    patterns = all(
        getattr(when, name) is None
        or (combination[name] is not None and any(_covers(each, combination[name]) for each in getattr(when, name)))
        for name in ("from_", "to", "custom", "conference")
    )
    there = {key.lower(): pattern for key, pattern in (combination["call_headers"] or {}).items()}
    headers = all(
        key.lower() in there and _covers(pattern, there[key.lower()])
        for key, pattern in (when.call_headers or {}).items()
    )
    return words and patterns and headers


def _covers(one: str, other: str) -> bool:
    """Tell whether every text that fits the other pattern fits this one.

    Only a star can take a character that no pattern has, which stands for whatever a star of the other takes.
    """
    return matches(one, other.replace(_ANY, _INSTEAD_OF_STARS))


def _named(rule: Rule) -> str:
    notes: list[str] = [rule.consent.kind] if rule.consent else []
    notes += [f"{rule.sample * 100:g} % of them"] if rule.sample < 1 else []
    notes += ["from the answer on"] if rule.start == "answer" else []
    return f"{rule.name!r} ({', '.join(notes)})" if notes else repr(rule.name)
