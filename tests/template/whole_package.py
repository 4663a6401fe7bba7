"""Plays functions from a built package and nothing else, against an AWS that has one Sinch application.

The functions run in a process of their own, with the package alone on its path.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs

PLAYER: Final = """
import importlib, json, os, sys
class Context:
    def get_remaining_time_in_millis(self):
        return 60_000
asked, written, sys.stdout = json.load(sys.stdin), sys.stdout, sys.stderr
answers = {}
for name, function in asked.items():
    os.environ.clear()
    os.environ.update(function["environment"])
    module, _, handler = function["handler"].rpartition(".")
    answers[name] = getattr(importlib.import_module(module), handler)(function["event"], Context())
files = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
json.dump([answers, files], written)
written.flush()
"""
_CREDENTIALS: Final = {
    "AccessKeyId": "key",
    "SecretAccessKey": "secret",
    "Token": "",
    "Expiration": "2099-01-01T00:00:00Z",
}
_JSON: Final[Mapping[str, dict[str, Any]]] = {
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
    "DescribeParameters": {"Parameters": []},
    "ListRules": {"Rules": [{"Name": "subscriber"}]},
    "ListTargetsByRule": {"Targets": [{"Id": "queue", "Arn": "arn:of:the:queue"}]},
    "RemoveTargets": {"FailedEntryCount": 0, "FailedEntries": []},
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
}
_XML: Final[Mapping[str, str]] = {
    "ListAccessKeys": "<AccessKeyMetadata><member><AccessKeyId>AKIAOLDOLDOLDOLDOLD</AccessKeyId><Status>Active</Status>"
    "<CreateDate>2026-08-23T09:30:00Z</CreateDate></member></AccessKeyMetadata><IsTruncated>false</IsTruncated>",
    "CreateAccessKey": "<AccessKey><AccessKeyId>AKIANEW</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
    "<Status>Active</Status><CreateDate>2026-11-23T09:30:00Z</CreateDate></AccessKey>",
    "DeleteAccessKey": "",
    "DescribeStacks": "<Stacks><member><StackName>stack</StackName><CreationTime>2026-11-23T09:30:00Z</CreationTime>"
    "<StackStatus>DELETE_IN_PROGRESS</StackStatus></member></Stacks>",
}


@contextmanager
def aws(parameters: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Serve AWS on this machine; yield its URL and the operations that it was asked for."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(json.dumps(_CREDENTIALS))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            _, _, operation = self.headers.get("x-amz-target", "").partition(".")
            called.append(operation or parse_qs(body)["Action"][0])
            if operation == "GetParameters":
                known = [name for name in json.loads(body)["Names"] if name in parameters]
                written = {"LastModifiedDate": 1787477400}
                self._send(json.dumps({"Parameters": [{"Name": n, "Value": parameters[n], **written} for n in known]}))
            elif operation == "PutEvents":
                entries = [{"EventId": "event"} for _ in json.loads(body)["Entries"]]
                self._send(json.dumps({"FailedEntryCount": 0, "Entries": entries}))
            elif operation:
                self._send(json.dumps(_JSON.get(operation, {})))
            else:
                self._send(f"<Response><{called[-1]}Result>{_XML[called[-1]]}</{called[-1]}Result></Response>")

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            called.append("PUT")
            self._send("")

        def _send(self, text: str) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", called
    finally:
        server.shutdown()
        server.server_close()


def play(package: Path, functions: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Invoke each function once, given by its handler, environment and event.

    Returns:
        What each function answered, and the files of the modules that they imported.
    """
    process = subprocess.run(  # noqa: S603 - fixed arguments
        [sys.executable, "-S", "-P", "-B", "-W", "error", "-c", PLAYER],
        input=json.dumps(functions),
        env={"PYTHONPATH": str(package), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    answers, files = json.loads(process.stdout)
    return answers, files
