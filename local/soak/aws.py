"""A fake AWS for CallbackFunction, in a process of its own: SSM, SQS and DynamoDB on loopback, over plain HTTP.

It keeps nothing, so it does not grow. It computes the parameters of 5,000 applications and the items of calls. Some
requests fail: with an error, without an answer, or late. It ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from call_recorder.adapters.dynamodb_items import to_attribute
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.facts.call_details import AwaitedAnswer, CallStart
from call_recorder.tracking.recording import Recording
from local.soak.applications import APPLICATIONS, find_application, key_of, parameters_of

PREFIX: Final = "soak"

_HOST: Final = "127.0.0.1"
_PAGE: Final = 50
_PERIOD: Final = 997
_SPELL: Final = 3
"""The number of requests in a row that fail in each period. A second attempt would repair a single failure."""

_LATE_PERIOD: Final = 20_011
_LATE_SECONDS: Final = 0.7
_STORED_SHARE: Final = 3
"""The table has the items of one call in this number of calls."""

_Answer = tuple[int, dict[str, Any]]


class Services:
    """The operations that CallbackFunction calls.

    Args:
        backend: the URL of the backend that some profiles name.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._requests = 0
        self._operations: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "GetParameters": self._get_parameters,
            "DescribeParameters": _describe_parameters,
            "SendMessage": lambda _: {"MessageId": "an-id"},
            "BatchGetItem": _batch_get_item,
        }

    def answer(self, operation: str, body: bytes) -> _Answer | None:
        """Return the status and the content of an answer, or ``None`` to close the connection instead."""
        self._requests += 1
        spell, place = divmod(self._requests, _PERIOD)
        if place < _SPELL:
            match spell % 3:
                case 0:
                    return 500, {"__type": "InternalServerError"}
                case 1:
                    return 400, {"__type": "ThrottlingException"}
                case _:
                    return None
        return 200, self._operations[operation](json.loads(body))

    @property
    def is_late(self) -> bool:
        """True if the answer to this request comes after the function has stopped waiting."""
        return self._requests % _LATE_PERIOD == 0

    def _get_parameters(self, call: Mapping[str, Any]) -> dict[str, Any]:
        found = []
        for name in call["Names"]:
            _, _, key, parameter = name.split("/")
            number = find_application(key)
            if number is not None:
                found.append({"Name": name, "Value": parameters_of(number, self._backend)[parameter]})
        return {"Parameters": found, "InvalidParameters": []}


def _describe_parameters(call: Mapping[str, Any]) -> dict[str, Any]:
    first = int(call.get("NextToken", 0))
    last = min(first + _PAGE, APPLICATIONS)
    names = [f"/{PREFIX}/{key_of(number)}/{SECRETS}" for number in range(first, last)]
    page: dict[str, Any] = {"Parameters": [{"Name": name, "Type": "SecureString"} for name in names]}
    return page if last == APPLICATIONS else page | {"NextToken": str(last)}


def _batch_get_item(call: Mapping[str, Any]) -> dict[str, Any]:
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


async def _serve_connection(services: Services, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (head := await _read_head(reader)) is not None:
            body = await reader.readexactly(int(head["content-length"]))
            answer = services.answer(head["x-amz-target"].rpartition(".")[2], body)
            if services.is_late:
                await asyncio.sleep(_LATE_SECONDS)
            if answer is None:
                break
            status, content = answer[0], json.dumps(answer[1]).encode()
            writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass  # The function has stopped waiting, or the soak is over.
    finally:
        writer.close()


async def _read_head(reader: asyncio.StreamReader) -> dict[str, str] | None:
    """Return the headers of the next request by their names in lower case, or ``None`` if the connection is closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("ascii").split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _serve(backend: str) -> None:
    server = await asyncio.start_server(partial(_serve_connection, Services(backend)), _HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
