"""A fake AWS for CallbackFunction, in a process of its own: SSM, SQS and DynamoDB on loopback, over plain HTTP.

It keeps nothing that it receives, so it does not grow. It has the parameters of 5,000 applications, and computes the
items of calls. Some requests fail: with an error, without an answer, or late. It ends when its standard input is
closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from call_recorder.adapters.dynamodb_items import to_attribute
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.facts.call_details import AwaitedAnswer, CallStart
from call_recorder.tracking.recording import Recording
from local.fake_aws import Connection, Reply, Request
from local.fake_services import Parameters
from local.fake_tables import Answer, Call
from local.soak.applications import APPLICATIONS, make_application, make_parameters

PREFIX: Final = "soak"

_HOST: Final = "127.0.0.1"
_PERIOD: Final = 997
_SPELL: Final = 3
"""The number of requests in a row that fail in each period. A second attempt would repair a single failure."""

_LATE_PERIOD: Final = 20_011
_LATE_SECONDS: Final = 0.7
_STORED_SHARE: Final = 3
"""The table has the items of one call in this number of calls."""


class Applications(Parameters):
    """The parameters of all applications. The secrets alone are listed, so that a list has a hundred pages."""

    def __init__(self, backend: str) -> None:
        made = {make_application(number).key: make_parameters(number, backend) for number in range(APPLICATIONS)}
        super().__init__(
            {f"/{PREFIX}/{key}/{name}": value for key, values in made.items() for name, value in values.items()}
        )
        self._listed = [f"/{PREFIX}/{key}/{SECRETS}" for key in made]

    def list_names(self, _path: str) -> Sequence[str]:
        """Return the names of all secrets."""
        return self._listed


class Services:
    """The operations that CallbackFunction calls.

    Args:
        backend: the URL of the backend that some profiles name.
    """

    def __init__(self, backend: str) -> None:
        self._requests = 0
        self._operations = {
            **Applications(backend).operations,
            "SendMessage": lambda _: {"MessageId": "an-id"},
            "BatchGetItem": _batch_get_item,
        }

    def answer(self, request: Request) -> Reply | None:
        """Answer a request; ``None`` closes the connection instead."""
        self._requests += 1
        late = _LATE_SECONDS if self._requests % _LATE_PERIOD == 0 else 0
        spell, place = divmod(self._requests, _PERIOD)
        if place < _SPELL:
            match spell % 3:
                case 0:
                    return 500, {"__type": "InternalServerError"}, late
                case 1:
                    return 400, {"__type": "ThrottlingException"}, late
                case _:
                    return None
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        return 200, self._operations[operation](json.loads(request.body)), late


def _batch_get_item(call: Call) -> Answer:
    """Return the item of a call whose ICE another instance has answered, or nothing."""
    [(table, request)] = call["RequestItems"].items()
    name: str = request["Keys"][0]["recordingId"]["S"]
    qualified: str = request["Keys"][1]["recordingId"]["S"]
    if sum(name.encode()) % _STORED_SHARE:
        return {"Responses": {table: []}}
    at = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    recording = Recording(
        recording_id=name,
        application_key=qualified.rpartition("@@")[2],
        call_id=name,
        calls={name: CallStart(at=at, from_="+46700000001", to="+12020000001", to_type="did", origination_type="pstn")},
        awaited={name: AwaitedAnswer(at=at, rule="on answer")},
        revision=1,
    )
    fields = recording.model_dump(mode="json", exclude_none=True)
    return {"Responses": {table: [{field: to_attribute(value) for field, value in fields.items()}]}}


async def _serve(backend: str) -> None:
    services = Services(backend)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(services.answer), _HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
