"""Each command of docs/operators.md works with the policy of its section alone, and fails in one sentence."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import click
import jsonschema
import pytest
from botocore.exceptions import ClientError

from call_recorder.facts.facts import RecordingAvailableFact
from call_recorder.facts.messages import write_message
from call_recorder_cli import invocation
from call_recorder_cli import stack as stacks
from call_recorder_cli.errors import ExitCode
from call_recorder_cli.main import cli
from local.flows import FLOWS, find_recording_id
from local.flows import play as play_flow
from local.schemas import SCHEMAS, find_reports
from tests.integration.conftest import WITHIN

if TYPE_CHECKING:
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/operators.md").read_text()

APART = {"trial", "events tail", "uninstall", "upgrade-indexes", "profile edit"}
"""They wait for people, or change the stack itself. Each has tests of its own."""

ASKS = {"offboard", "erase", "profile put", "dead-letters redrive", "events replay", "onboard"}
"""The commands that ask before they change something; ``--yes`` answers."""

WITHOUT_STACK = {"profile check", "explain"}

# The page names times and numbers of its own, and the emulator has no alarms to hear and no Object Lock.
MAY_FIND_NOTHING = {"recordings list", "erase", "why", "events replay"}
MAY_FIND_PROBLEMS = {"doctor", "check", "hold", "release", "erase"}

APPLICATION = "application-of-the-page"
SECRET = base64.b64encode(b"the secret of an application").decode()


@dataclass(frozen=True)
class Example:
    """A command line of the page: the words of its command, all of its words, and the policy of its section."""

    command: str
    words: tuple[str, ...]
    policy: str


def read_examples() -> Iterator[Example]:
    """Yield the command lines of the page."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        policy = section.partition("\n")[0].partition(": ")[2]
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)[1:]
                yield Example(find_command(words), tuple(words), policy)


def find_command(words: list[str]) -> str:
    """Return the words that name the command."""
    found: click.Command | None = cli
    names: list[str] = []
    while isinstance(found, click.Group) and words:
        found = found.get_command(click.Context(found), words[len(names)])
        if found:
            names.append(words[len(names)])
    return " ".join(names)


EXAMPLES = list(read_examples())
RUN = [each for each in EXAMPLES if each.command not in APART]
REPORTS = {name.replace("-", " "): name for name, _ in find_reports(cli)}


def test_the_page_has_every_command() -> None:
    assert {each.command for each in EXAMPLES} == {*leaves(cli)} - {"completion"}


def leaves(command: click.Command, *names: str) -> Iterator[str]:
    """Yield the words of every command in a group."""
    if not isinstance(command, click.Group):
        yield " ".join(names)
        return
    for name in command.list_commands(click.Context(command)):
        if found := command.get_command(click.Context(command), name):
            yield from leaves(found, *names, name)


@pytest.fixture(scope="module")
def recording(stack: LocalStack) -> str:
    """The id of a recording that is available, with the consent of its caller."""
    recording_id = find_recording_id(play_flow(FLOWS["menu"], stack))
    stack.wait_for_item(recording_id, "available", within=WITHIN)
    return recording_id


@pytest.fixture
def words(stack: LocalStack, recording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the variables and file names of the page stand for. The secret waits in the pipe."""
    profile = tmp_path / "profile.json"
    profile.write_text((ROOT / "examples/profiles/quick-start.json").read_text())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    return {
        "$APP": APPLICATION,
        "$RECORDING": recording,
        "$RECEIPT": str(uuid4()),
        "profile.json": str(profile),
        "recordings/": str(tmp_path),
    }


def fill_in(example: Example, words: dict[str, str]) -> list[str]:
    """Return a command line with values, which asks nothing."""
    filled = [words.get(word, word) for word in example.words]
    return [*filled, "--yes"] if example.command in ASKS else filled


@pytest.fixture
def found(example: Example, stack: LocalStack, run: Run) -> dict[str, str]:
    """The ids that other commands print: of a dead letter, which this puts into its queue, and of a receipt."""
    if "$MESSAGE" in example.words:
        fact = RecordingAvailableFact(
            recording_id="a-call-that-was-given-up-on",
            application_key=stack.application_key,
            call_id="a-call-that-was-given-up-on",
            at=datetime.now(UTC),
        )
        queue = stack.outputs["RecordingDeadLetterQueueUrl"]
        stack.aws.sqs.send_message(QueueUrl=queue, MessageBody=write_message(fact))
        [letter, *_] = json.loads(run("dead-letters", "list", "--json").out)["deadLetters"]
        return {"$MESSAGE": letter["messageId"]}
    if "$RECEIPT" in example.words:
        [receipt, *_] = json.loads(run("receipts", "list", "--json").out)["receipts"]
        return {"$RECEIPT": receipt["receipt"]["receiptId"]}
    return {}


@pytest.mark.parametrize("example", RUN, ids=lambda each: " ".join(each.words))
def test_a_command_works_with_its_own_policy(
    example: Example, run: Run, words: dict[str, str], found: dict[str, str]
) -> None:
    """The commands run in the order of the page, so that one finds what another made."""
    allowed = {ExitCode.DONE}
    allowed |= {ExitCode.NOT_FOUND} if example.command in MAY_FIND_NOTHING else set()
    allowed |= {ExitCode.PROBLEM_FOUND} if example.command in MAY_FIND_PROBLEMS else set()
    report = REPORTS.get(example.command)

    printed = run(*fill_in(example, words | found), *(["--json"] if report else []), policy=example.policy)

    assert printed.code in allowed, printed
    assert report is None or printed.code == ExitCode.NOT_FOUND or validate(printed.out, report)


def validate(text: str, report: str) -> bool:
    """Check the JSON that a command printed against its schema."""
    jsonschema.validate(json.loads(text), json.loads((SCHEMAS / f"cli/{report}.schema.json").read_text()))
    return True


NEEDS_STACK = [each for each in RUN if each.command not in WITHOUT_STACK]
ONE_OF_EACH = list({each.command: each for each in NEEDS_STACK}.values())
# The doctor looks at all else, and names what it may not see.
REFUSED = [each for each in ONE_OF_EACH if each.command != "doctor"]


@pytest.mark.parametrize("example", REFUSED, ids=lambda each: each.command)
@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("AccessDeniedException", ExitCode.NO_RIGHT, "no right to"),
        ("ExpiredTokenException", ExitCode.NO_RIGHT, "have expired"),
        ("ThrottlingException", ExitCode.TRY_AGAIN, "limits the rate"),
    ],
)
def test_a_refusal_of_aws_is_one_sentence(
    example: Example,
    fault: str,
    code: ExitCode,
    says: str,
    run: Run,
    words: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All calls are refused after the one that finds the stack."""
    refuse_after_the_stack(fault, monkeypatch)

    printed = run(*fill_in(example, words))

    assert printed.code == code, printed
    assert says in printed.err
    assert "Traceback" not in printed.err


def refuse_after_the_stack(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let AWS refuse every request of the command line, except to describe the stack."""
    open_session = stacks.open_session

    def open_refused(profile: str | None, region: str | None) -> boto3.Session:
        session = open_session(profile, region)
        session.events.register("before-call.*.*", refuse)
        return session

    def refuse(event_name: str, model: Any, **_: Any) -> None:
        if not event_name.startswith("before-call.cloudformation"):
            raise ClientError({"Error": {"Code": code, "Message": "No."}}, model.name)

    monkeypatch.setattr(invocation, "open_session", open_refused)


@pytest.mark.parametrize("example", ONE_OF_EACH, ids=lambda each: each.command)
def test_an_unknown_stack_is_named(example: Example, run: Run, words: dict[str, str]) -> None:
    printed = run(*fill_in(example, words), "--stack", "no-such-stack")

    assert printed.code == ExitCode.NOT_FOUND
    assert printed.err.startswith("There is no stack no-such-stack in us-east-1: name another one with --stack")


@pytest.mark.parametrize("command", ["recordings show", "recordings url", "recordings download", "consent", "why"])
def test_an_unknown_recording_is_not_found(command: str, run: Run) -> None:
    printed = run(*command.split(), "no-such-call")

    assert printed.code == ExitCode.NOT_FOUND
    assert printed.err.count("\n") == 1
