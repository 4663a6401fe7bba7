"""Gives commands to CustodyFunction, the only one that may erase recordings and put them under a legal hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from botocore.config import Config
from pydantic import ValidationError

from call_recorder.custody.commands import Answer, Command, Receipt
from call_recorder.facts.model import MAX_NAME_BYTES, clip
from call_recorder_cli.errors import CommandFailed, NotFound, TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack

WORKERS: Final = 8
"""Number of commands that run at a time. Each takes one execution environment of CustodyFunction."""

# CustodyFunction has five minutes. Commands may be repeated, so the client repeats one whose answer was lost.
_CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=310,
    tcp_keepalive=True,
    max_pool_connections=WORKERS,
    retries={"mode": "standard", "max_attempts": 4},
)


class FunctionFailed(TryAgain):
    """CustodyFunction ended without an answer. Its trace is in its log, and is not shown."""


class CustodyClient:
    """Gives commands to the CustodyFunction of a stack.

    Args:
        stack: the stack.
    """

    def __init__(self, stack: Stack) -> None:
        self._name = stack.output("CustodyFunctionName")
        self._lambda = stack.session.client("lambda", config=_CONFIG)

    def send(self, command: Command) -> Answer:
        """Give one command and return the answer.

        Raises:
            FunctionFailed: the function ended without an answer.
            ClientError: AWS refused the request.
            BotoCoreError: AWS could not be reached.
        """
        payload = command.model_dump_json(by_alias=True, exclude_none=True).encode()
        answer = self._lambda.invoke(FunctionName=self._name, Payload=payload)
        if answer.get("FunctionError"):
            raise FunctionFailed(f"{self._name} failed at {command.command}, and its log has the reason: try again.")
        try:
            return Answer.model_validate_json(answer["Payload"].read())
        except ValidationError:
            raise CommandFailed(
                f"{self._name} gives an answer that this version cannot read: install the version of the stack."
            ) from None

    def send_all(self, commands: Sequence[Command]) -> Iterator[Answer]:
        """Give several commands at a time and yield the answers in their order.

        If the function fails at one of them, its answer is ``incomplete``, and the others go on. If the caller stops to
        read, no further command is given.
        """
        executor = ThreadPoolExecutor(WORKERS)
        try:
            yield from executor.map(self._send_or_explain, commands)
        finally:
            executor.shutdown(cancel_futures=True)

    def read_receipt(self, command: Command) -> Receipt:
        """Open or read a receipt.

        Raises:
            NotFound: there is no such receipt.
            CommandFailed: the command is refused.
        """
        answer = self.send(command)
        if answer.state == "not-found":
            raise NotFound("There is no such receipt.")
        if answer.receipt is None:
            raise CommandFailed(" ".join(answer.problems) or f"{self._name} returns no receipt ({answer.state}).")
        return answer.receipt

    def _send_or_explain(self, command: Command) -> Answer:
        try:
            return self.send(command)
        except FunctionFailed as error:
            return Answer(state="incomplete", problems=(str(error),))


def read_person(stack: Stack) -> str:
    """Return the ARN of the person who uses the credentials. Raises what boto3 raises."""
    arn = stack.session.client("sts").get_caller_identity()["Arn"]
    return str(clip(arn, MAX_NAME_BYTES))
