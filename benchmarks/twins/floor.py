"""The floor: both jobs with the standard library alone, no logs, no metrics, no models, as few calls as they need.

It says how fast Python can be at this, not how anybody should write it: nothing is checked that the job does not need,
and whatever is wrong with a request or a batch is one error.
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
from uuid import NAMESPACE_URL, uuid5

_WINDOW_SECONDS = 300
_TTL_SECONDS = 300
_RETENTION_SECONDS = 365 * 86_400
_EVENTS = {
    "recording-finished": "Recording Finished",
    "recording-available": "Recording Available",
    "transcription-available": "Transcription Available",
}
_TARGETS = {"ssm": "AmazonSSM", "sqs": "AmazonSQS", "dynamodb": "DynamoDB_20120810", "events": "AWSEvents"}


class _Aws:
    """One service: a connection that is kept, and requests that are signed by hand (AWS Signature Version 4)."""

    def __init__(self, service: str) -> None:
        region = os.environ["AWS_REGION"]
        url = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or f"https://{service}.{region}.amazonaws.com")
        connection = HTTPConnection if url.scheme == "http" else HTTPSConnection
        self._connection = connection(url.netloc, timeout=2)
        self._host = url.netloc
        self._target = _TARGETS[service]
        self._scope = f"{region}/{service}/aws4_request"
        self._keys: dict[str, bytes] = {}

    def call(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(asked).encode()
        headers = self._headers(f"{self._target}.{operation}", body)
        try:
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
        except (HTTPException, OSError):  # the other side has closed what was kept
            self._connection.close()
            self._connection.request("POST", "/", body, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{operation}: {answer.status} {content!r}")
        told: dict[str, Any] = json.loads(content)
        return told

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
    """Answer an ICE: verify, decide, send the fact, answer with SVAML."""
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    headers = event["headers"]
    application, _, signature = headers["authorization"].partition(" ")[2].partition(":")
    timestamp = headers["x-timestamp"]
    at = datetime.fromisoformat(timestamp)
    if abs(time.time() - at.timestamp()) > _WINDOW_SECONDS:
        return {"statusCode": 401}
    secret, credentials, profile = _application(application)
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    lines = ("POST", digest, headers["content-type"], f"x-timestamp:{timestamp}", os.environ["CALLBACK_PATH"])
    expected = base64.b64encode(hmac.digest(secret, "\n".join(lines).encode(), "sha256")).decode()
    if not hmac.compare_digest(expected, signature):
        return {"statusCode": 401}
    ice = json.loads(body)
    action = _connect(ice["to"], profile)
    rule = next((rule for rule in profile["rules"] if rule["record"]), None)
    if rule and action["name"] != "hangup":
        fact = _decided(ice, application, profile, rule["name"], at)
        action |= {"record": True, "recordingOptions": _options(fact["request"], credentials)}
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


def _connect(to: dict[str, str], profile: dict[str, Any]) -> dict[str, Any]:
    match to["type"]:
        case "number":
            return {"name": "connectPstn", "number": to["endpoint"]}
        case "username":
            return {"name": "connectMxp", "destination": {"type": "username", "endpoint": to["endpoint"]}}
        case _:
            routes = (route["action"] for route in profile.get("routes", ()) if route["to"] == to["endpoint"])
            return dict(next(routes, {"name": "hangup"}))


def _decided(ice: dict[str, Any], application: str, profile: dict[str, Any], rule: str, at: datetime) -> dict[str, Any]:
    time_text = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    url = profile["destination"].replace("{date}", at.strftime("%Y/%m/%d")).replace("{callId}", ice["callid"])
    transcription = profile.get("transcription", {})
    call = {
        "at": time_text,
        "from": ice.get("cli") or ice.get("user"),
        "to": ice["to"]["endpoint"],
        "toType": ice["to"]["type"],
        "domain": ice.get("domain"),
        "originationType": ice.get("originationType", "").lower(),
        "custom": ice.get("custom"),
    }
    return {
        "recordingId": ice["callid"],
        "applicationKey": application,
        "callId": ice["callid"],
        "fact": "call-decided",
        "call": {name: value for name, value in call.items() if value is not None},
        "request": {
            "at": time_text,
            "rule": rule,
            "destinationUrl": url.replace("{format}", "mp3"),
            "format": "mp3",
            "notificationEvents": True,
            "transcription": transcription.get("enabled", False),
            "locale": transcription.get("locale", "en-US"),
        },
    }


def _options(request: dict[str, Any], credentials: str) -> dict[str, Any]:
    return {
        "destinationUrl": request["destinationUrl"],
        "credentials": credentials,
        "format": request["format"],
        "notificationEvents": request["notificationEvents"],
        "transcriptionOptions": {"enabled": request["transcription"], "locale": request["locale"]},
    }


def notify(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Take a batch of facts in four calls: read the items, write them together, publish, mark them together."""
    facts = [json.loads(record["body"]) for record in event["Records"]]
    items = _items({fact["recordingId"] for fact in facts})
    for fact in facts:
        known = items.setdefault(fact["recordingId"], {"revision": 0, "facts": {}, "published": []})
        known["facts"].setdefault(fact["fact"], fact)
    _save(items)
    due = [each for fact in facts if (each := _event(fact, items[fact["recordingId"]])) is not None]
    if due:
        entries = [
            {
                "EventBusName": os.environ["RECORDINGS_BUS"],
                "Source": "call-recorder",
                "DetailType": kind,
                "Detail": json.dumps(detail),
            }
            for kind, detail in due
        ]
        if _aws("events").call("PutEvents", {"Entries": entries})["FailedEntryCount"]:
            raise RuntimeError("the bus refused events")
        told = {}
        for _, detail in due:
            name = detail["data"]["recordingId"]
            told[name] = items[name]
            told[name]["published"].append(detail["metadata"]["eventId"])
        _save(told)
    return {"batchItemFailures": []}


def _items(names: set[str]) -> dict[str, dict[str, Any]]:
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
    for name, known in items.items():
        expected = known["revision"]
        known["revision"] += 1
        puts.append(
            {
                "Put": {
                    "TableName": os.environ["RECORDINGS_TABLE"],
                    "Item": {
                        "recordingId": {"S": name},
                        "revision": {"N": str(known["revision"])},
                        "facts": {"S": json.dumps(known["facts"])},
                        "published": {"SS": known["published"]} if known["published"] else {"NULL": True},
                        "expiresAt": {"N": str(int(time.time()) + _RETENTION_SECONDS)},
                    },
                    "ConditionExpression": "revision = :revision OR attribute_not_exists(recordingId)",
                    "ExpressionAttributeValues": {":revision": {"N": str(expected)}},
                }
            }
        )
    _aws("dynamodb").call("TransactWriteItems", {"TransactItems": puts})


def _event(fact: dict[str, Any], known: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    name = fact["recordingId"]
    decided = known["facts"].get("call-decided", {})
    request = decided.get("request", {})
    data = {"recordingId": name, "applicationKey": fact["applicationKey"], "callId": fact["callId"]}
    data |= {field: value for field, value in decided.get("call", {}).items() if field != "at"}
    if request:
        data |= {"rule": request["rule"], "requestedAt": request["at"]}
    if fact["fact"] == "call-decided" and request:
        kind, at = "Recording Requested", request["at"]
        data |= {field: request[field] for field in ("destinationUrl", "format", "transcription")}
    elif fact["fact"] in _EVENTS:
        kind, at = _EVENTS[fact["fact"]], fact["at"]
        data |= {"finishedAt": at} if "destination" not in fact else {"availableAt": at, "file": _file(fact)}
    else:
        return None
    event_id = str(uuid5(NAMESPACE_URL, f"{name}\n{kind}"))
    if event_id in known["published"]:
        return None
    return kind, {"metadata": {"eventId": event_id, "schemaVersion": "1", "occurredAt": at}, "data": data}


def _file(fact: dict[str, Any]) -> dict[str, str]:
    url = fact["destination"]
    storage, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return {"url": url, "storage": storage, "bucket": bucket, "key": key}
