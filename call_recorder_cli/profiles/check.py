"""Checks a recording profile before it is stored: finds its mistakes and describes what it does to each kind of call.

The functions log only the first mistake of a profile. Its author wants to see all of them at once, each with its line
and column, and warnings about a valid profile too: calls that are hung up, rules that no call reaches, no call that is
recorded.
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
from call_recorder.answering.patterns import matches, overlap
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
from call_recorder_cli.profiles.json_positions import Position, find_nearest, find_positions

KINDS: Final[Mapping[ToType, str]] = {
    "did": "a phone number of yours",
    "username": "an app user",
    "number": "a phone number, from an app",
    "sip": "a SIP address",
    "conference": "a conference",
}
"""The kinds of destination, by the type that the ICE names."""

_ANY: Final = "*"
_MAX_COMBINATIONS: Final = 2000
_JSON_ERROR_AT: Final = re.compile(r" at line (\d+) column (\d+)$")


@dataclass(frozen=True)
class Remark:
    """A sentence about a profile, and the position in its text."""

    position: Position
    sentence: str


@dataclass(frozen=True)
class OwnBucket:
    """The bucket of a stack, and the days after which its life cycle deletes a recording."""

    name: str
    retention_days: int


def find_mistakes(text: str) -> list[Remark]:
    """Return every mistake for which the functions refuse a profile, in the order of its text.

    A check of several fields runs if these fields are valid, even if others are not.
    """
    try:
        profile = RecordingProfile.model_validate_json(text)
    except ValidationError as error:
        found = field_problems(error)
        if error.errors()[0]["type"] == "json_invalid":
            return [Remark(_find_json_error(found[0].sentence), found[0].sentence)]
        # Contradictions between rules have no path here; _find_contradictions finds them with one.
        found = [problem for problem in found if problem.path] or [each for each in found if _is_whole(each)]
        return _locate(text, [*found, *_find_contradictions(json.loads(text))])
    return _locate(text, _find_other_stores(profile))


def describe(profile: RecordingProfile) -> list[str]:
    """Return what a profile does to each kind of call, line by line."""
    lines = []
    for to_type, kind in KINDS.items():
        recording = [_describe_rule(rule) for rule in _find_reached(profile, to_type) if rule.record and rule.sample]
        recorded = f"recorded by {', '.join(recording)}" if recording else "not recorded"
        lines.append(f"  {f'to {kind} ({to_type})':<40} {_describe_connection(profile, to_type)}; {recorded}")
    return lines


def find_surprises(text: str, *, bucket: OwnBucket | None = None) -> list[Remark]:
    """Return warnings about parts of a valid profile that are probably mistakes, in the order of its text.

    Args:
        text: the profile's JSON.
        bucket: the stack's own bucket, if the stack is known and its life cycle deletes recordings.
    """
    profile = RecordingProfile.parse(text)
    kept = _find_short_retention(profile, bucket) if bucket else ()
    return _locate(text, [*_find_rule_surprises(profile), *_find_route_surprises(profile), *kept])


def locate(name: str, remarks: Iterable[Remark]) -> list[str]:
    """Return remarks as lines that begin with the name of the profile, the line and the column."""
    return [f"{name}:{each.position.line}:{each.position.column}: {each.sentence}" for each in remarks]


def _locate(text: str, problems: Iterable[ProfileProblem]) -> list[Remark]:
    positions = find_positions(text)
    remarks = {Remark(find_nearest(positions, problem.path), problem.sentence): None for problem in problems}
    return sorted(remarks, key=lambda remark: remark.position)


def _find_json_error(sentence: str) -> Position:
    position = _JSON_ERROR_AT.search(sentence)
    return Position(int(position[1]), int(position[2])) if position else Position(1, 1)


def _is_whole(problem: ProfileProblem) -> bool:
    return problem.sentence.startswith("recording-profile: the whole")


def _find_contradictions(document: Any) -> Iterator[ProfileProblem]:
    """Yield what valid rules ask and Sinch does not do, in a profile that has other mistakes too."""
    if not isinstance(document, dict):
        return
    rules = _parse_valid(Rule, document.get("rules"))
    routes = _parse_valid(Route, document.get("routes"))
    upstream = _parse_valid(Upstream, [document.get("upstream")])
    profile = RecordingProfile.model_construct(
        rules=tuple(rules.values()), routes=tuple(routes.values()), upstream=upstream.get(0)
    )
    for problem in profile.contradictions(list(rules)):
        yield ProfileProblem(problem.path, f"recording-profile: {problem.sentence}")
    yield from _find_repeated_names(document.get("rules"), rules)


def _parse_valid(model: Any, elements: Any) -> dict[int, Any]:
    """Return the valid elements of a list, parsed, by their index."""
    parsed = {}
    for index, element in enumerate(elements if isinstance(elements, list) else []):
        with suppress(ValidationError):
            parsed[index] = model.model_validate_json(json.dumps(element))
    return parsed


def _find_repeated_names(rules: Any, valid: Mapping[int, Rule]) -> Iterator[ProfileProblem]:
    """Yield each repeated name of which one rule is invalid for another reason."""
    first: dict[str, int] = {}
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        name = rule.get("name") if isinstance(rule, dict) else None
        if not isinstance(name, str):
            continue
        before = first.setdefault(name, index)
        if before != index and not {before, index} <= valid.keys():
            sentence = f"recording-profile: rules[{index}].name: another rule has this name; give each its own"
            yield ProfileProblem(("rules", index, "name"), sentence)


def _find_other_stores(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    """Yield the rules that record to another kind of store than the first rule.

    An application has the credentials of one kind only.
    """
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


def _find_rule_surprises(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    if not any(rule.record and rule.sample for rule in profile.rules):
        yield ProfileProblem(("rules",), "no call is recorded: no rule records; add one, for example for everything")
    for index, rule in enumerate(profile.rules):
        subject = f"rules[{index}] ({rule.name})"
        if rule.record and not rule.sample:
            yield ProfileProblem(("rules", index, "sample"), f"{subject}: sample is 0, so it records no call")
        if before := _find_covering(rule, profile.rules[:index]):
            names = " and ".join(repr(each) for each in before)
            verb = "matches" if len(before) == 1 else "match"
            sentence = f"{subject}: no call reaches this rule: {names} before it {verb} every one"
            yield ProfileProblem(("rules", index), sentence)
        elif rule.when.to_type == ("did",) and not _is_connected(profile, rule):
            sentence = f"{subject}: no route connects calls to its numbers, so they are hung up; add a route"
            yield ProfileProblem(("rules", index, "when", "to"), sentence)


def _find_short_retention(profile: RecordingProfile, bucket: OwnBucket) -> Iterator[ProfileProblem]:
    for index, rule in enumerate(profile.rules):
        template = rule.destination or profile.destination
        destination = Destination.parse(template) if template else None
        in_bucket = destination is None or (destination.scheme, destination.container) == ("s3", bucket.name)
        if rule.record and in_bucket and (rule.retention_days or 0) > bucket.retention_days:
            yield ProfileProblem(
                ("rules", index, "retentionDays"),
                f"rules[{index}] ({rule.name}): the bucket of the stack deletes recordings after "
                f"{bucket.retention_days} days, so the file is gone before; deploy with a larger RetentionDays",
            )


def _find_route_surprises(profile: RecordingProfile) -> Iterator[ProfileProblem]:
    if not profile.routes and not profile.upstream:
        yield ProfileProblem(
            ("routes",), 'every call to a phone number of yours (did) is hung up: add a route, for all numbers to "*"'
        )
    for index, route in enumerate(profile.routes):
        before = next((each.to for each in profile.routes[:index] if _covers(each.to, route.to)), None)
        if before is not None:
            sentence = (
                f"routes[{index}]: no call reaches this route: the route for {before} before it matches every one"
            )
            yield ProfileProblem(("routes", index), sentence)


def _describe_connection(profile: RecordingProfile, to_type: ToType) -> str:
    """Return how calls of a kind are connected, whether they are recorded or not."""
    if to_type != "did":
        connection = "connected"
    elif not profile.routes:
        connection = "hung up: there is no route"
    elif any(_covers(route.to, _ANY) for route in profile.routes):
        connection = "connected by the routes"
    else:
        numbers = ", ".join(route.to for route in profile.routes)
        connection = f"connected by the routes for {numbers}; any other number is hung up"
    return f"your backend decides, and if it fails: {connection}" if profile.upstream else connection


def _find_reached(profile: RecordingProfile, to_type: ToType) -> Iterator[Rule]:
    """Yield the rules that can match a call of a kind."""
    for index, rule in enumerate(profile.rules):
        if rule.when.to_type and to_type not in rule.when.to_type:
            continue
        if to_type == "did" and not _is_connected(profile, rule):
            continue
        combinations = _list_combinations(rule.when, (to_type,))
        if combinations is None or not all(_find_taker(each, profile.rules[:index]) for each in combinations):
            yield rule


def _is_connected(profile: RecordingProfile, rule: Rule) -> bool:
    """Return whether a route or the upstream can connect a call to a number (did) that a rule matches."""
    numbers = rule.when.to or (_ANY,)
    routes = [route for route in profile.routes if not isinstance(route.action, Hangup)]
    return bool(profile.upstream) or any(overlap(route.to, number) for route in routes for number in numbers)


def _find_covering(rule: Rule, before: tuple[Rule, ...]) -> list[str]:
    """Return the names of the earlier rules that together match every call of a rule; none if a call is left."""
    combinations = _list_combinations(rule.when, rule.when.to_type or get_args(ToType))
    takers = [_find_taker(each, before) for each in combinations] if combinations else []
    return list(dict.fromkeys(filter(None, takers))) if takers and all(takers) else []


def _list_combinations(when: When, to_types: Iterable[ToType]) -> list[dict[str, Any]] | None:
    """Return every combination of the conditions' values, one value each; ``None`` if there are too many."""
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


def _find_taker(combination: Mapping[str, Any], before: tuple[Rule, ...]) -> str | None:
    """Return the name of the first earlier rule that matches every call of a combination of conditions."""
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
    required = {key.lower(): pattern for key, pattern in (combination["call_headers"] or {}).items()}
    headers = all(
        key.lower() in required and _covers(pattern, required[key.lower()])
        for key, pattern in (when.call_headers or {}).items()
    )
    return words and patterns and headers


def _covers(one: str, other: str) -> bool:
    """Return whether a pattern matches every text that another pattern matches.

    As a text, the other pattern has stars that only a star can match, so it stands for all its texts.
    """
    return matches(one, other)


def _describe_rule(rule: Rule) -> str:
    notes: list[str] = [rule.consent.kind] if rule.consent else []
    notes += [f"{rule.sample * 100:g} % of them"] if rule.sample < 1 else []
    notes += ["from the answer on"] if rule.start == "answer" else []
    return f"{rule.name!r} ({', '.join(notes)})" if notes else repr(rule.name)
