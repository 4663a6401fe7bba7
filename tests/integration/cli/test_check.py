"""`check` tries out a deployed application as Sinch uses it, and `doctor` looks at the whole stack."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest

from call_recorder.facts.storage_urls import PROBE
from call_recorder.sinch.signature import decode_secret
from call_recorder_cli.diagnosis.resources import diagnose_bucket
from call_recorder_cli.probes.callbacks import CallbackUrl
from call_recorder_cli.probes.faults import Fault
from call_recorder_cli.stack import Stack
from local.demo import DEMO
from local.emulator import ADMINISTRATOR
from tests import loopback
from tests.integration.conftest import new_application, parameter, wait_until_taken

if TYPE_CHECKING:
    from pathlib import Path

    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run


def read_codes(printed: str) -> dict[str, set[str | None]]:
    """Return the codes of a check by its parts."""
    codes: dict[str, set[str | None]] = {}
    for each in json.loads(printed)["results"]:
        codes.setdefault(each["part"], set()).add(each["code"])
    return codes


def test_a_sound_application_passes_and_leaves_no_trace(stack: LocalStack, run: Run) -> None:
    tables = [stack.aws.dynamodb.Table(stack.outputs[f"{name}TableName"]) for name in ("Recordings", "Places")]
    wait_until_taken(stack)
    before = [len(table.scan()["Items"]) for table in tables]

    printed = run("check", "--application", DEMO, "--json", policy="OperatorPolicy")

    assert (printed.code, printed.err) == (0, "")
    parts = ("parameters", "destination", "answer", "callback", "forged callback")
    assert read_codes(printed.out) == {part: {None} for part in parts}
    wait_until_taken(stack)
    assert [len(table.scan()["Items"]) for table in tables] == before
    listed = stack.aws.s3.list_object_versions(Bucket=stack.outputs["RecordingsBucketName"])
    assert not [each for each in listed.get("Versions", []) if PROBE in each["Key"]]
    assert stack.application_secret.get_secret_value() not in printed.out


def test_a_spoiled_application_fails_with_the_reason(stack: LocalStack, run: Run) -> None:
    key, _, region = parameter(stack, DEMO, "storage-credentials").split(":")
    with new_application(stack, f"{key}:not-its-secret:{region}") as simulator:
        application = simulator.application.key
        printed = run("check", "--application", application)
        assert (printed.code, "checks found a problem." in printed.err) == (6, True)
        assert "call-recorder rotate hands out a new one" in printed.out
        assert "not-its-secret" not in printed.out + printed.err

        chosen = run("check", "--application", application, "--rule", "menu", "--json").out
        assert read_codes(chosen)["destination"] == {Fault.WRONG_SECRET}
        assert {rule for each in json.loads(chosen)["results"] for rule in each["rules"]} == {"menu"}

        unknown = run("check", "--application", application, "--rule", "no such rule")
        assert (unknown.code, "has no rule no such rule" in unknown.err) == (3, True)
    assert run("check", "--application", "nobody").code == 3


def test_the_refused_one_of_two_secrets_is_found_at_the_function(stack: LocalStack) -> None:
    url = CallbackUrl(stack.callback_url, stack.public_path, timedelta(seconds=300), 5)
    good, wrong = decode_secret(stack.application_secret.get_secret_value()), b"another"

    assert url.judge(DEMO, [good]) is None
    found = url.judge(DEMO, [good, wrong])
    assert found
    assert "the second (previous) secret" in found.sentence
    late = replace(url, clock=lambda: url.clock() - timedelta(hours=1)).judge(DEMO, [good])
    assert late
    assert late.code == "callback-clock"
    elsewhere = replace(url, url=f"{url.url}/other").judge(DEMO, [good])
    assert elsewhere
    assert elsewhere.code == "callback-path"


@pytest.mark.parametrize(
    ("scheme", "says"), [("http", "refuses the connection"), ("https", "no certificate"), ("dns", "is not a name")]
)
def test_a_fault_of_the_network_before_the_url_is_found(scheme: str, says: str, tmp_path: Path) -> None:
    server = loopback.Server(BaseHTTPRequestHandler, loopback.certificate(tmp_path))
    urls = {
        "http": f"http://127.0.0.1:{loopback.closed_port()}/callbacks",
        "https": f"{server.url}/callbacks",
        "dns": "https://callbacks.invalid/callbacks",
    }
    try:
        found = CallbackUrl(urls[scheme], "/callbacks", timedelta(seconds=300), 5).judge("app", [b"secret"])
    finally:
        server.close()

    assert found
    assert (found.code, says in found.sentence) == ("callback-network", True), found.sentence


def test_doctor_finds_what_it_may_see_with_its_policy(stack: LocalStack, run: Run) -> None:
    printed = run("doctor", "--json", policy="OperatorPolicy")

    codes = {each["code"] for each in json.loads(printed.out)["findings"]}
    # Nobody hears the alarms of this stack. The other tests leave dead letters and strange applications behind.
    assert "alarms-unheard" in codes
    assert not codes & {"not-seen", "bucket-silent", "bucket-unversioned", "concurrency", "version-differs"}

    blind = run("doctor", "--json", policy="InvestigatorPolicy")
    assert blind.code == 6
    assert "the uploader's key" in {
        each["subject"] for each in json.loads(blind.out)["findings"] if each["code"] == "not-seen"
    }


def test_doctor_finds_a_bucket_that_reports_no_files(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"silent-{uuid4()}"
    stack.aws.s3.create_bucket(Bucket=bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.aws_endpoint)
    session = boto3.Session(*ADMINISTRATOR, region_name=stack.region)
    silent = replace(Stack.open(stack.stack_name, session), outputs={"RecordingsBucketName": bucket})

    assert {"bucket-silent", "bucket-unversioned"} <= {finding.code for finding in diagnose_bucket(silent)}
