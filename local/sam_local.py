"""Invokes the functions with every sample event in SAM's container and in this process, and compares the answers.

Both use the same environment and, by different addresses, the same local AWS: it has the samples' parameters, a queue,
tables and a bus. `local/sam_local.sh` builds the functions and then runs this module.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from call_recorder.adapters.dynamodb_waiting_index import PLACES_INDEX, RECORDINGS_INDEX
from local.aws import Aws
from local.emulator import ADMINISTRATOR, REGION, LocalError, find_free_port, run_emulator
from local.relay import expose_to_containers
from local.sample_events import APPLICATION, EVENTS, NAMES, PARAMETERS, Event, make_event

_STATE = EVENTS.parent / ".local" / "sam-local"
_FUNCTIONS = {
    "callback": ("CallbackFunction", "call_recorder.functions.callback"),
    "notify": ("NotifyFunction", "call_recorder.functions.notify"),
    "watchdog": ("WatchdogFunction", "call_recorder.functions.watchdog"),
}
_INVOKED_WITHIN = 120

Environment = dict[str, dict[str, str]]
"""Environment variables by function, as `sam local` takes them."""


def main() -> int:
    """Compare all answers; return 0 if they are the same."""
    options = _parser().parse_args()
    try:
        with run_emulator(find_free_port(), _STATE) as endpoint, expose_to_containers(endpoint) as reachable:
            return _compare(options, _prepare_environment(Aws(endpoint), reachable), endpoint)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1


def _compare(options: argparse.Namespace, environment: Environment, endpoint: str) -> int:
    """Invoke the functions twice with every event, and compare the answers.

    Args:
        options: the command line.
        environment: the variables for the containers.
        endpoint: the URL of the local AWS for this process.
    """
    template = _STATE / "build" / "with-endpoint.json"
    template.write_text(json.dumps(_declare_variables(options.template, environment)), "utf-8")
    variables = _STATE / "env.json"
    variables.write_text(json.dumps(environment), "utf-8")
    command = [options.sam, "local", "invoke", "--template", str(template), "--env-vars", str(variables)]
    command += ["--region", REGION, "--parameter-overrides", f"Architecture={options.architecture}"]
    command += ["--skip-pull-image"] if options.skip_pull_image else []

    different = 0
    for name in NAMES:
        event = make_event(name, datetime.now(UTC))
        function, module = _FUNCTIONS[name.partition("-")[0]]
        there = _invoke_in_container([*command, function], name, event)
        here = _invoke_here(module, event, environment[function] | {"AWS_ENDPOINT_URL": endpoint})
        same = there == here
        different += not same
        print(f"  {'same     ' if same else 'DIFFERENT'} {name}: {_summarize(there)}", flush=True)
        if not same:
            print(f"            here: {_summarize(here)}", flush=True)
    print(f"{len(NAMES) - different} of {len(NAMES)} answers are the same.")
    return 1 if different else 0


def _prepare_environment(aws: Aws, endpoint: str) -> Environment:
    """Create what the functions use, and return the variables of ``events/env.json`` with its names."""
    environment: Environment = json.loads((EVENTS / "env.json").read_text("utf-8"))
    callback, notify = environment["CallbackFunction"], environment["NotifyFunction"]
    for name, value in PARAMETERS.items():
        path = f"/{callback['PARAMETER_PREFIX']}/{APPLICATION.key}/{name}"
        aws.ssm.put_parameter(Name=path, Value=value, Type="SecureString")
    queue = aws.sqs.create_queue(QueueName="call-facts")["QueueUrl"]
    for variables in (callback, environment["WatchdogFunction"]):
        variables["RECORDING_QUEUE_URL"] = endpoint + queue.removeprefix(aws.endpoint)
    _create_table(aws, notify["RECORDINGS_TABLE"], "recordingId", RECORDINGS_INDEX)
    _create_table(aws, notify["PLACES_TABLE"], "place", PLACES_INDEX)
    _create_table(aws, notify["CUSTODY_TABLE"], "custodyId", PLACES_INDEX)
    aws.events.create_event_bus(Name=notify["RECORDINGS_BUS"])
    for variables in environment.values():
        variables["AWS_ENDPOINT_URL"] = endpoint
    return environment


def _create_table(aws: Aws, name: str, key: str, index: str) -> None:
    """Create a table with the index that the watchdog reads."""
    aws.dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in (key, "waitingShard", "dueAt")
        ],
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": "waitingShard", "KeyType": "HASH"},
                    {"AttributeName": "dueAt", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def _declare_variables(template: Path, environment: Environment) -> Any:
    """Return the built template with every variable declared: `sam local` passes only declared variables."""
    document = yaml.safe_load(template.read_text("utf-8"))
    for function, variables in environment.items():
        properties = document["Resources"][function]["Properties"]
        declared = properties.setdefault("Environment", {}).setdefault("Variables", {})
        for name in variables:
            declared.setdefault(name, "")
    return document


def _invoke_in_container(command: list[str], name: str, event: Event) -> Any:
    file = _STATE / "event.json"
    file.write_text(json.dumps(event), "utf-8")
    access_key, secret_key = ADMINISTRATOR
    try:
        done = subprocess.run(
            [*command, "--event", str(file)],
            env=os.environ | {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key},
            capture_output=True,
            timeout=_INVOKED_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LocalError(f"`sam local invoke` took more than {_INVOKED_WITHIN} s for {name}.") from None
    (_STATE / f"{name}.log").write_bytes(done.stderr)
    lines = done.stdout.decode().strip().splitlines()
    if done.returncode or not lines:
        raise LocalError(f"`sam local invoke` failed for {name}: see {_STATE / name}.log.")
    return json.loads(lines[-1])


def _invoke_here(module: str, event: Event, environment: dict[str, str]) -> Any:
    access_key, secret_key = ADMINISTRATOR
    os.environ |= environment | {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return json.loads(json.dumps(importlib.import_module(module).handler(event, None)))


def _summarize(answer: Any) -> str:
    """Return an answer's status and the name of its action, without secrets."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return json.dumps(answer)
    action = json.loads(answer["body"])["action"]["name"] if answer["body"] else "no body"
    return f"{answer['statusCode']}, {action}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.sam_local", description=__doc__)
    parser.add_argument("--sam", default="sam", help="the SAM CLI")
    parser.add_argument("--template", type=Path, required=True, help="the built template")
    parser.add_argument("--architecture", required=True, help="the architecture that it was built for")
    parser.add_argument("--skip-pull-image", action="store_true", help="use the Lambda image of an earlier run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
