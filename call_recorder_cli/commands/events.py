"""Follow the events of a stack, and send them again: ``call-recorder events``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from call_recorder.tracking.published_events import PUBLISHED, UploaderKeyChangedEvent
from call_recorder_cli.errors import NotFound
from call_recorder_cli.interruptions import interruptible
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.maintenance.masked_json import mask_json
from call_recorder_cli.options import application_option, yes_option
from call_recorder_cli.output import Output, Report, count, format_time, print_sentences, print_table, printable
from call_recorder_cli.questions import confirm
from call_recorder_cli.time_ranges import SINCE_OPTION, UNTIL_OPTION, make_range

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.maintenance.event_replay import PublishedEvents, Target, Wanted

_KINDS: Final = tuple(event.detail_type for event in PUBLISHED)
_IN_TABLES: Final = tuple(kind for kind in _KINDS if kind != UploaderKeyChangedEvent.detail_type)
_MAX_MINUTES: Final = 12 * 60

_application = application_option(required=False, help_text="Only events of this application.")


def _choose_kinds(kinds: tuple[str, ...]) -> Callable[[Any], Any]:
    choice = click.Choice(kinds, case_sensitive=False)
    return click.option("--type", "kinds", type=choice, multiple=True, metavar="TYPE", help="Only events of this type.")


class FollowedEvent(Report):
    """One event, with masked numbers. ``data`` is the event's own data."""

    event_id: str
    type: str
    occurred_at: datetime
    data: dict[str, Any]


class ReplayReport(Report):
    """The events that were or would be sent again, by their types. Without ``--yes``, ``done`` is false.

    ``outdated`` events were published, but are no longer true. ``unreadable`` items were written by a later version.
    """

    done: bool
    target: str
    since: datetime
    until: datetime
    events: dict[str, int]
    items: int
    outdated: int
    unreadable: int


@click.group("events")
def events() -> None:
    """Follow the events that subscribers get, and send them again."""


@events.command("tail")
@_choose_kinds(_KINDS)
@_application
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after this many events.")
@click.option(
    "--minutes",
    type=click.IntRange(1, _MAX_MINUTES),
    default=_MAX_MINUTES,
    show_default=True,
    metavar="N",
    help="End after this many minutes.",
)
@stack_command(OPERATOR, FollowedEvent)
def tail(
    invocation: Invocation, kinds: tuple[str, ...], application_key: str | None, limit: int | None, minutes: int
) -> None:
    """Print events as they are published, one on a line, until Ctrl-C.

    It makes a rule on the bus of the stack and a queue, and removes both at the end.
    """
    from call_recorder_cli.maintenance.event_tail import EventFilter, follow_events

    output, end, printed = invocation.output, time.monotonic() + 60 * minutes, 0
    wanted = EventFilter(kinds, application_key)
    with interruptible(), follow_events(invocation.stack, wanted) as followed:
        output.remark("Waiting for events; a new rule takes effect within a minute. Ctrl-C ends this.")
        while (left := end - time.monotonic()) > 0 and (limit is None or printed < limit):
            for event in followed.receive(left)[: None if limit is None else limit - printed]:
                _print_event(event, output)
                printed += 1


@events.command("replay")
@SINCE_OPTION
@UNTIL_OPTION
@_choose_kinds(_IN_TABLES)
@_application
@click.option("--queue-url", metavar="URL", help="Send to this queue alone, not to the bus with all subscribers.")
@yes_option()
@stack_command(OPERATOR, ReplayReport)
def replay(
    invocation: Invocation,
    since: datetime | None,
    until: datetime | None,
    kinds: tuple[str, ...],
    application_key: str | None,
    queue_url: str | None,
    yes: bool,
) -> None:
    """Send events of a time range again, with the same ids.

    Subscribers that deduplicate by eventId see nothing new. It reads the whole table. It can be repeated.
    """
    from call_recorder_cli.maintenance import event_replay

    output, stack = invocation.output, invocation.stack
    if since is None:
        raise click.UsageError("Pass --since: the time of the first event to send again.")
    times = make_range(since, until or datetime.now(UTC))
    wanted = event_replay.Wanted(times, kinds, application_key)
    dynamodb = stack.session.client("dynamodb")
    published = event_replay.PublishedEvents(
        dynamodb, stack.outputs["RecordingsTableName"], stack.output("PlacesTableName")
    )
    name = queue_url or stack.output("RecordingsBusName")

    def run(target: Target | None) -> None:
        """Find the events, send them if there is a target, and print the report."""
        report = _run(published, wanted, target, name, output)
        output.emit(report, lambda console: _render(report, console))
        if not report.events:
            raise NotFound("No such event was published in this time.")

    if not yes:
        run(None)
        confirm(output, f"Send them to {name} again?", yes=False)
    run(_open_target(invocation, queue_url))


def _open_target(invocation: Invocation, queue_url: str | None) -> Target:
    from call_recorder_cli.maintenance.event_replay import OneQueue, open_bus

    session, stack = invocation.stack.session, invocation.stack
    if queue_url:
        return OneQueue(session.client("sqs"), queue_url, stack.output("RecordingsBusArn"))
    return open_bus(session.client("events"), stack.output("RecordingsBusName"))


def _run(published: PublishedEvents, wanted: Wanted, target: Target | None, name: str, output: Output) -> ReplayReport:
    """Find the events and, if there is a target, send them."""
    from call_recorder_cli.maintenance.event_replay import Read
    from call_recorder_cli.maintenance.event_replay import replay as send

    read = Read()
    found = published.find(wanted, read)
    with output.progress() as progress:
        task = progress.add_task("Sending events" if target else "Finding events", total=None)
        for number in send(found, target) if target else (number for number, _ in enumerate(found, 1)):
            progress.update(task, completed=number)
    return ReplayReport(
        done=target is not None,
        target=name,
        since=wanted.published.since,
        until=wanted.published.until,
        events=read.events,
        items=read.items,
        outdated=read.outdated,
        unreadable=read.unreadable,
    )


def _render(report: ReplayReport, console: Console) -> None:
    verb = "sent" if report.done else "found"
    print_table(console, ("EVENTS", "TYPE"), [(str(number), kind) for kind, number in report.events.items()])
    sentences = [
        f"{count(sum(report.events.values()), 'event')} {verb}, from {report.items} items, for {report.target}."
    ]
    if report.outdated:
        sentences += [f"{count(report.outdated, 'event')} left out, since they are no longer true."]
    if report.unreadable:
        sentences += [f"{report.unreadable} items left out, since a later version of the stack wrote them."]
    print_sentences(console, *sentences)


def _print_event(event: dict[str, Any], output: Output) -> None:
    detail = event["detail"]
    # A later version may publish events of another form.
    metadata = detail.get("metadata", {})
    report = FollowedEvent(
        event_id=metadata.get("eventId", event["id"]),
        type=event["detail-type"],
        occurred_at=metadata.get("occurredAt", event["time"]),
        data=mask_json(detail.get("data", detail), output),
    )
    click.echo(report.format_json() if output.as_json else printable(_make_line(report)))


def _make_line(event: FollowedEvent) -> str:
    data = event.data
    parties = " -> ".join(str(data[name]) for name in ("from", "to") if name in data)
    subject = data.get("recordingId") or data.get("user")
    file = data.get("file") or {}
    rest = (subject, parties, file.get("url"), data.get("reason"), data.get("step"), data.get("key"))
    words = (format_time(event.occurred_at), f"{event.type:23}", *rest)
    return "  ".join(str(word) for word in words if word)
