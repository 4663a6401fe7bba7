"""Plays functions from a built package and nothing else, before an AWS that knows one Sinch application.

It reads what to play from its standard input, as JSON: the application's parameters, and of each function the
environment and the event. It writes what they answered, the operations that they called, and which files they were
loaded from. It needs the standard library alone and runs in a process of its own: the package is on its path, and
no other is.
"""

import importlib
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

_ASKED = json.load(sys.stdin)
_CREDENTIALS = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "", "Expiration": "2099-01-01T00:00:00Z"}
_IAM = {
    "ListAccessKeys": "<AccessKeyMetadata><member><AccessKeyId>AKIAOLDOLDOLDOLDOLD</AccessKeyId><Status>Active</Status>"
    "<CreateDate>2026-08-23T09:30:00Z</CreateDate></member></AccessKeyMetadata><IsTruncated>false</IsTruncated>",
    "CreateAccessKey": "<AccessKey><AccessKeyId>AKIANEW</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
    "<Status>Active</Status><CreateDate>2026-11-23T09:30:00Z</CreateDate></AccessKey>",
    "DeleteAccessKey": "",
    "DescribeStacks": "<Stacks><member><StackName>stack</StackName><CreationTime>2026-11-23T09:30:00Z</CreationTime>"
    "<StackStatus>DELETE_IN_PROGRESS</StackStatus></member></Stacks>",
}


def _answer(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what an operation that is called by JSON answers."""
    match operation:
        case "BatchGetItem":
            return {"Responses": {}, "UnprocessedKeys": {}}
        case "DescribeParameters":
            return {"Parameters": []}
        case "GetParameters":
            known = {name: value for name, value in _ASKED["parameters"].items() if name in asked["Names"]}
            written = {"LastModifiedDate": 1787477400}
            return {"Parameters": [{"Name": name, "Value": value, **written} for name, value in known.items()]}
        case "ListRules":
            return {"Rules": [{"Name": "subscriber"}]}
        case "ListTargetsByRule":
            return {"Targets": [{"Id": "queue", "Arn": "arn:of:the:queue"}]}
        case "RemoveTargets":
            return {"FailedEntryCount": 0, "FailedEntries": []}
        case "PutEvents":
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "event"} for _ in asked["Entries"]]}
        case "Query":
            return {"Items": [], "Count": 0, "ScannedCount": 0}
    return {}


class _Aws(BaseHTTPRequestHandler):
    """Answers every call, and a request for credentials."""

    protocol_version = "HTTP/1.1"
    called: list[str] = []  # noqa: RUF012 - all connections note what they are asked

    def do_GET(self) -> None:
        self._send(json.dumps(_CREDENTIALS))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        _, _, operation = self.headers.get("x-amz-target", "").partition(".")
        if operation:
            text = json.dumps(_answer(operation, json.loads(body)))
        else:
            operation = parse_qs(body)["Action"][0]
            text = f"<Response><{operation}Result>{_IAM[operation]}</{operation}Result></Response>"
        self.called.append(operation)
        self._send(text)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.called.append("PUT")
        self._send("")

    def _send(self, text: str) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: what is written is the answer to the test."""


class _Context:
    """What Lambda says of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def _play(url: str) -> dict[str, Any]:
    answers = {}
    for name, function in _ASKED["functions"].items():
        os.environ.clear()
        os.environ.update({variable: value.replace("AWS_IS_HERE", url) for variable, value in function["environment"]})
        handler = importlib.import_module(f"call_recorder.functions.{name}").handler
        event = json.loads(json.dumps(function["event"]).replace("AWS_IS_HERE", url))
        answers[name] = handler(event, _Context())
    return answers


def main() -> None:
    """Play, and write what came of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aws)
    Thread(target=server.serve_forever, daemon=True).start()
    written, sys.stdout = sys.stdout, sys.stderr  # the functions log to it
    answers = _play(f"http://127.0.0.1:{server.server_address[1]}")
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    json.dump({"answers": answers, "called": _Aws.called, "files": files}, written)


if __name__ == "__main__":
    main()
