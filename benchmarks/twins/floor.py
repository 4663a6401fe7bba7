"""The floor: both functions with the standard library alone, no logs, no metrics, no models, and few AWS calls.

It shows how fast Python can do the job, and is no example to follow: it checks only what the job needs, and every
fault in a request or a batch is the same error.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.twins import job

_WINDOW_SECONDS = 300
_TTL_SECONDS = 300
_RETENTION_SECONDS = 365 * 86_400
_TARGETS = {"ssm": "AmazonSSM", "sqs": "AmazonSQS", "dynamodb": "DynamoDB_20120810", "events": "AWSEvents"}


class _Aws:
    """A service: a connection that is kept open, and requests signed by hand (AWS Signature Version 4)."""

    def __init__(self, service: str) -> None:
        region = os.environ["AWS_REGION"]
        url = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or f"https://{service}.{region}.amazonaws.com")
        connection = HTTPConnection if url.scheme == "http" else HTTPSConnection
        self._connection = connection(url.netloc, timeout=2)
        self._host = url.netloc
        self._target = _TARGETS[service]
        self._scope = f"{region}/{service}/aws4_request"
        self._keys: dict[str, bytes] = {}

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        headers = self._headers(f"{self._target}.{operation}", body)
        try:
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
        except (HTTPException, OSError):  # the server has closed the connection
            self._connection.close()
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{operation}: {answer.status} {content!r}")
        result: dict[str, Any] = json.loads(content)
        return result

    def _headers(self, target: str, body: bytes) -> dict[str, str]:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self._scope}"
        headers = {
            "content-type": "application/x-amz-json-1.0" if "SSM" not in target else "application/x-amz-json-1.1",
            "host": self._host,
            "x-amz-date": now,
            "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
            "x-amz-target": target,
        }
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        names = ";".join(headers)
        canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(scope), to_sign.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key(self, scope: str) -> bytes:
        if scope not in self._keys:
            key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys = {scope: key}
        return self._keys[scope]


_clients: dict[str, _Aws] = {}
_parameters: dict[str, tuple[float, bytes, str, dict[str, Any]]] = {}


def _aws(service: str) -> _Aws:
    if service not in _clients:
        _clients[service] = _Aws(service)
    return _clients[service]


def callback(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer an ICE: verify it, decide, queue the fact, answer with SVAML."""
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    headers = event["headers"]
    application, _, signature = headers["authorization"].partition(" ")[2].partition(":")
    timestamp = headers["x-timestamp"]
    at = datetime.fromisoformat(timestamp)
    if abs(time.time() - at.timestamp()) > _WINDOW_SECONDS:
        return {"statusCode": 401}
    secret, credentials, profile = _application(application)
    expected = job.sign(secret, body, headers["content-type"], timestamp, os.environ["CALLBACK_PATH"])
    if not hmac.compare_digest(expected, signature):
        return {"statusCode": 401}
    ice = json.loads(body)
    routes = (route["action"] for route in profile.get("routes", ()) if route["to"] == ice["to"]["endpoint"])
    action = job.connect(ice["to"], routes)
    rule = next((rule for rule in profile["rules"] if rule["record"]), None)
    if rule and action["name"] != "hangup":
        transcription = profile.get("transcription", {})
        request = {
            "at": job.format_time(at),
            "rule": rule["name"],
            "destinationUrl": profile["destination"],
            "format": "mp3",
            "notificationEvents": True,
            "transcription": transcription.get("enabled", False),
            "locale": transcription.get("locale", "en-US"),
        }
        fact = job.request_recording(action, credentials, application, ice, request)
        message = {"QueueUrl": os.environ["RECORDING_QUEUE_URL"], "MessageBody": json.dumps(fact)}
        _aws("sqs").call("SendMessage", message)
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"action": action}),
    }


def _application(key: str) -> tuple[bytes, str, dict[str, Any]]:
    known = _parameters.get(key)
    if known is None or known[0] < time.monotonic():
        folder = f"/{os.environ['PARAMETER_PREFIX']}/{key}/"
        names = [folder + name for name in ("application-secrets", "storage-credentials", "recording-profile")]
        answer = _aws("ssm").call("GetParameters", {"Names": names, "WithDecryption": True})
        values = {each["Name"]: each["Value"] for each in answer["Parameters"]}
        secret, credentials, profile = (values[name] for name in names)
        known = (time.monotonic() + _TTL_SECONDS, base64.b64decode(secret), credentials, json.loads(profile))
        _parameters[key] = known
    return known[1:]


def notify(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Process a batch in four calls: read the items, write them together, publish, mark them together."""
    facts = [json.loads(record["body"]) for record in event["Records"]]
    items = _load({fact["recordingId"] for fact in facts})
    for fact in facts:
        item = items.setdefault(fact["recordingId"], {"revision": 0, "facts": {}, "published": []})
        item["facts"].setdefault(fact["fact"], fact)
    _save(items)
    published, entries = {}, []
    for fact in facts:
        name = fact["recordingId"]
        made = job.make_event(fact, items[name]["facts"].get("call-decided", {}))
        if made is None or made[1]["metadata"]["eventId"] in items[name]["published"]:
            continue
        kind, detail = made
        items[name]["published"].append(detail["metadata"]["eventId"])
        published[name] = items[name]
        entry = {"EventBusName": os.environ["RECORDINGS_BUS"], "Source": "call-recorder", "DetailType": kind}
        entries.append(entry | {"Detail": json.dumps(detail)})
    if entries:
        if _aws("events").call("PutEvents", {"Entries": entries})["FailedEntryCount"]:
            raise RuntimeError("the bus refused events")
        _save(published)
    return {"batchItemFailures": []}


def _load(names: set[str]) -> dict[str, dict[str, Any]]:
    table = os.environ["RECORDINGS_TABLE"]
    keys = [{"recordingId": {"S": name}} for name in names]
    answer = _aws("dynamodb").call("BatchGetItem", {"RequestItems": {table: {"Keys": keys, "ConsistentRead": True}}})
    return {
        item["recordingId"]["S"]: {
            "revision": int(item["revision"]["N"]),
            "facts": json.loads(item["facts"]["S"]),
            "published": item["published"].get("SS", []),
        }
        for item in answer["Responses"][table]
    }


def _save(items: dict[str, dict[str, Any]]) -> None:
    puts = []
    for name, item in items.items():
        expected = item["revision"]
        item["revision"] += 1
        puts.append(
            {
                "Put": {
                    "TableName": os.environ["RECORDINGS_TABLE"],
                    "Item": {
                        "recordingId": {"S": name},
                        "revision": {"N": str(item["revision"])},
                        "facts": {"S": json.dumps(item["facts"])},
                        "published": {"SS": item["published"]} if item["published"] else {"NULL": True},
                        "expiresAt": {"N": str(int(time.time()) + _RETENTION_SECONDS)},
                    },
                    "ConditionExpression": "revision = :revision OR attribute_not_exists(recordingId)",
                    "ExpressionAttributeValues": {":revision": {"N": str(expected)}},
                }
            }
        )
    _aws("dynamodb").call("TransactWriteItems", {"TransactItems": puts})
