"""Clients of AWS that call operations in this process: in the place of our own client, and of boto3's HTTP session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from call_recorder.adapters.operations import CallFailed
from local.fake_tables import Answer, Call, Refused

_HEADERS = HTTPHeaders.from_dict({"content-type": "application/x-amz-json-1.0"})


class FakeClient:
    """Calls operations.

    Args:
        answer: carries out an operation with its parameters. Raises Refused.
    """

    def __init__(self, answer: Callable[[str, Call], Answer]) -> None:
        self._answer = answer

    def call(self, operation: str, parameters: Call) -> Answer:
        """Call an operation, as our own client does. Raises CallFailed."""
        try:
            return self._answer(operation, parameters)
        except Refused as refused:
            raise CallFailed(operation, refused.code, refused.details) from refused

    def preconnect(self) -> None:
        """Do nothing: there is no connection."""

    def answer_request(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Answer a request that botocore would send: a handler of its event ``before-send``."""
        target: Any = request.headers["X-Amz-Target"]  # bytes, in spite of the declared type
        body: Any = request.body
        try:
            status, answer = 200, self._answer(target.decode().rpartition(".")[2], json.loads(body))
        except Refused as refused:
            status, answer = 400, refused.answer
        return AWSResponse(request.url, status, _HEADERS, _Body(json.dumps(answer).encode()))


class _Body(BytesIO):
    """The body of an answer, as urllib3 gives it to botocore."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield the whole body."""
        yield self.read()
