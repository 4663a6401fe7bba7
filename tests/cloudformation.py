"""CloudFormation as the function of a custom resource sees it: it sends a request and gets the answer by PUT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

STACK_ID: Final = "arn:aws:cloudformation:us-east-1:000000000000:stack/the-stack/0d9a"


class CloudFormation:
    """Records the answers, and reports that every stack is being deleted."""

    def __init__(self, url: str = "") -> None:
        self.answers: list[dict[str, Any]] = []
        self.types: list[str | None] = []
        self.refusals = 0
        self.status = "DELETE_IN_PROGRESS"
        self.url = url

    def event(self, request: str, **more: str) -> dict[str, Any]:
        """Return the event of a request: ``Create``, ``Update`` or ``Delete``."""
        known = {} if request == "Create" else {"PhysicalResourceId": "Cleanup"}
        return {
            "RequestType": request,
            "ResponseURL": f"{self.url}/answer",
            "StackId": STACK_ID,
            "RequestId": "request",
            "ResourceType": "Custom::Cleanup",
            "LogicalResourceId": "Cleanup",
            "ResourceProperties": {"ServiceToken": "function"},
            **known,
            **more,
        }

    def describe(self, stack_id: str) -> str:
        """Return the answer of DescribeStacks."""
        return (
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
            f"<StackId>{stack_id}</StackId><StackName>the-stack</StackName><StackStatus>{self.status}</StackStatus>"
            "<CreationTime>2026-11-23T09:30:00Z</CreationTime>"
            "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        )


@contextmanager
def cloudformation() -> Iterator[CloudFormation]:
    """Serve CloudFormation on this machine while the block runs."""
    served = CloudFormation()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._send(200, served.describe(STACK_ID))

        def do_PUT(self) -> None:
            answer: Mapping[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if served.refusals:
                served.refusals -= 1
                self._send(503, "")
                return
            served.types.append(self.headers["content-type"])
            served.answers.append(dict(answer))
            self._send(200, "")

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
