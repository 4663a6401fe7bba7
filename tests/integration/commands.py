"""The two commands that README.md needs and this machine may not have, for the test that runs its commands.

``sam`` is the real SAM CLI. It builds for the emulator, which runs functions on this machine's processor and Python,
deploys without TLS and without metric math, which the emulator does not support, and then makes good what the emulator
does not do of a deployment. ``aws`` stands in for the AWS CLI: it makes of a command line the request that botocore's
models describe, and refuses what they do not know. Of the commands that are the CLI's own it has
``aws cloudformation deploy``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.config import Config
from botocore.model import ListShape, MapShape, Shape, StructureShape

from local import gaps
from local.aws import Aws
from local.emulator import ENVIRONMENTS, ROOT

DEVELOPMENT = "call-recorder-development"
_OUTSIDE_THE_MODEL = ("query", "output")


def sam(arguments: list[str]) -> int:
    """Run the SAM CLI for the emulator."""
    python = ENVIRONMENTS / "emulator" / "bin" / "python"
    environment = os.environ | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": str(python),
        "RECORDER_ARCH": "host",
        "RECORDER_CACHE": str(ROOT / ".local" / "dependencies"),
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }
    environment.pop("PYTHONPATH")
    deploys = arguments[0] == "deploy"
    command = [str(ENVIRONMENTS / "sam" / "bin" / "python"), "-m", "samcli", *arguments]
    command += ["--parameter-overrides", "RequireTls=false", "LogLevel=DEBUG"] if deploys else []
    status = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode  # noqa: S603
    if arguments[0] == "build" and not status:
        gaps.leave_out_metric_math(Path(".aws-sam/build/template.yaml"))
    if deploys and not status:
        local = Aws(os.environ["AWS_ENDPOINT_URL"])
        gaps.add_routes(local, DEVELOPMENT)
        gaps.rewrite_policies(local, DEVELOPMENT)
        [stack] = local.cloudformation.describe_stacks(StackName=DEVELOPMENT)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        gaps.limit_concurrency(local, outputs["NotifyFunctionName"])
    return status


def aws(arguments: list[str]) -> int:
    """Make the one request that a command line of the AWS CLI stands for, and print the answer."""
    service, command, *rest = arguments
    if (service, command) == ("cloudformation", "deploy"):
        return _deploy(**{option.replace("-", "_"): values for option, values in _options(rest) if option})
    client = boto3.client(service, config=Config(retries={"total_max_attempts": 1}))  # type: ignore[call-overload]
    names = {xform_name(name, "-"): name for name in client.meta.service_model.operation_names}
    model = client.meta.service_model.operation_model(names[command])
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    request, outside, positional = {}, dict.fromkeys(_OUTSIDE_THE_MODEL, ""), []
    for option, values in _options(rest):
        if option is None:
            positional += values
        elif option in outside:
            [outside[option]] = values
        else:
            name, shape = members[option]
            request[name] = _value(shape, values)
    answer = getattr(client, xform_name(names[command]))(**request)
    answer.pop("ResponseMetadata", None)
    if positional:  # the file that `aws lambda invoke` writes to
        Path(positional[0]).write_bytes(answer.pop("Payload").read())
    found = jmespath.search(outside["query"], answer) if outside["query"] else answer
    print(_text(found) if outside["output"] == "text" else json.dumps(found, indent=4, default=str))  # noqa: T201
    return 0


def _deploy(stack_name: list[str], template_file: list[str], parameter_overrides: list[str]) -> int:
    """Create a stack from a template and wait for it; this is a command of the AWS CLI and no operation of AWS."""
    client, [name], [template] = boto3.client("cloudformation"), stack_name, template_file
    pairs = (override.split("=", 1) for override in parameter_overrides)
    parameters: Any = [{"ParameterKey": key, "ParameterValue": value} for key, value in pairs]
    client.create_stack(StackName=name, TemplateBody=Path(template).read_text(), Parameters=parameters)
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    return 0


def _options(arguments: list[str]) -> list[tuple[str | None, list[str]]]:
    """Return the options, each with its values; the values before the first have none."""
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    for argument in arguments:
        if argument.startswith("--"):
            found.append((argument.removeprefix("--"), []))
        else:
            found[-1][1].append(argument)
    if found[-1][0] == "function-name" and len(found[-1][1]) == 2:
        found[0][1].append(found[-1][1].pop())
    return found


def _value(shape: Shape, values: list[str]) -> Any:
    values = [Path(each.removeprefix("file://")).read_text() if each.startswith("file://") else each for each in values]
    match shape:
        case ListShape():
            return [_value(shape.member, [each]) for each in values]
        case StructureShape() | MapShape() if not values[0].startswith("{"):
            return dict(pair.split("=", 1) for pair in values[0].split(","))
        case StructureShape() | MapShape():
            return json.loads(values[0])
        case _ if shape.type_name == "boolean":
            return True
        case _ if shape.type_name == "integer":
            return int(values[0])
        case _:
            [value] = values
            return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\t".join(map(_text, value))
    return str(value)


if __name__ == "__main__":
    sys.exit({"sam": sam, "aws": aws}[sys.argv[1]](sys.argv[2:]))
