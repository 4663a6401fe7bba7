"""The command line against the deployed stack, as the administrator or as a person with one of its policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from call_recorder_cli.main import main
from local import azurite
from local.emulator import ADMINISTRATOR, LocalError

if TYPE_CHECKING:
    from local.stack import LocalStack


def need_azurite() -> None:
    """Skip the test, and say why, if Azurite cannot be installed: npm or its registry is missing."""
    try:
        azurite.install()
    except LocalError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command line with the rights of a policy of the stack, or of another one, or with all rights."""

    def __call__(self, *words: str, policy: str | None = None, of: LocalStack | None = None) -> Printed: ...


@pytest.fixture
def run(stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line against the stack, with its words."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.aws_endpoint)
    monkeypatch.setenv("AWS_REGION", stack.region)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("CALL_RECORDER_STACK", stack.stack_name)

    def run(*words: str, policy: str | None = None, of: LocalStack | None = None) -> Printed:
        access_key, secret_key = ADMINISTRATOR if policy is None else _find_person(of or stack, policy)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        capsys.readouterr()
        code = main(words)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run


def _find_person(stack: LocalStack, policy: str) -> tuple[str, str]:
    """Return the access key of a user who has one of the stack's policies and nothing else."""
    iam, user = stack.aws.iam, f"{stack.stack_name}-{policy}"
    if user not in {each["UserName"] for each in iam.list_users()["Users"]}:
        iam.create_user(UserName=user)
        iam.attach_user_policy(UserName=user, PolicyArn=stack.outputs[f"{policy}Arn"])
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    made = iam.create_access_key(UserName=user)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]
