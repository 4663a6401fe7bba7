"""A deployed stack that keeps hashes says why a call was not recorded, to an investigator and without its numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from local.demo import ANNOUNCED_NUMBER
from local.simulator import app_to_app, phone_to_number
from tests.integration.conftest import add_application, deploy_another, wait_until_taken

if TYPE_CHECKING:
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

CALLER = "+46701234599"


def test_a_stack_that_keeps_nothing_says_so(run: Run) -> None:
    printed = run("why", "a-call-that-never-was", policy="InvestigatorPolicy")

    assert printed.code == 3
    assert "UnrecordedCalls" in printed.err


@pytest.mark.long
def test_an_investigator_learns_why_by_id_and_by_number(
    run: Run, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = deploy_another(stack, "keeping", UnrecordedCalls="hashes")
    simulator = add_application(keeping, "no-rule", rules=[{"name": "nobody", "record": False}])
    refused = simulator.play(phone_to_number(ANNOUNCED_NUMBER, cli=CALLER))
    recorded = keeping.simulator().play(app_to_app("alice"))
    assert refused.held, refused.failures
    assert recorded.held, recorded.failures
    wait_until_taken(keeping)
    monkeypatch.setenv("CALL_RECORDER_STACK", "keeping")

    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M}"
    for words in (
        (refused.call.call_id,),
        ("--number", "0046 70-123 45 99", "--at", now),
        ("--number", ANNOUNCED_NUMBER, "--at", now, "--application", "no-rule"),
    ):
        printed = run("why", *words, "--json", policy="InvestigatorPolicy", of=keeping)
        assert printed.code == 0, printed.err
        [call] = json.loads(printed.out)["calls"]
        assert (call["callId"], call["outcome"], call["rule"]) == (refused.call.call_id, "rule-says-no", "nobody")
    [told] = json.loads(run("why", recorded.call.call_id, "--json").out)["calls"]
    assert (told["recorded"], told["rule"]) == (True, "everything")
    items: list[Any] = keeping.aws.dynamodb.Table(keeping.outputs["UnrecordedCallsTableName"]).scan()["Items"]
    assert items
    assert not [number for number in (CALLER, ANNOUNCED_NUMBER) if number[1:] in str(items)]
