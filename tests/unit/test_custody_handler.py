"""CustodyFunction tells commands, rounds and late files apart, and its log names no call."""

from __future__ import annotations

from typing import Any

import pytest

from call_recorder.facts.errors import CustodyIncomplete, TableUnavailable
from call_recorder.functions.custody import CustodyHandler
from tests import sinch
from tests.custody import BY, RECEIPT, CustodyUnderTest
from tests.facts import URL, after, available, requested, stored
from tests.fakes import RecordedTelemetry

SCHEDULE = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
ERASE = {"command": "erase", "recordingId": sinch.CALL, "applicationKey": "app", "receiptId": RECEIPT, "by": BY}


class Custody:
    """The handler over tables and a bucket in memory, with one recording."""

    def __init__(self) -> None:
        self.stack, self.telemetry = CustodyUnderTest(), RecordedTelemetry()
        self.stack.bucket.put(URL)
        self.stack.take(requested(retention_days=1), available(), stored())
        self.handle = CustodyHandler(self.stack.custodian, self.stack.eraser, self.telemetry)

    def logged(self) -> str:
        return str([(line.message, line.fields) for line in self.telemetry.lines])


@pytest.fixture
def custody() -> Custody:
    return Custody()


def test_an_answer_is_json_with_camel_case_names(custody: Custody) -> None:
    opened = custody.handle({"command": "open-receipt", "receiptId": RECEIPT, "by": BY, "reason": "request"})
    erased = custody.handle(ERASE | {"preview": False})

    assert (opened["state"], opened["receipt"]["receiptId"], opened["receipt"]["openedBy"]) == ("opened", RECEIPT, BY)
    counts = {"files": 1, "transcripts": 0, "versions": 1, "locations": 1, "elsewhere": 0, "traces": 0}
    assert erased == {"state": "erased", "counts": counts, "problems": []}
    assert "'state': 'erased'" in custody.logged()
    assert sinch.CALL not in custody.logged()


@pytest.mark.parametrize("event", [{}, SCHEDULE])
def test_the_schedule_and_an_empty_event_make_a_round(custody: Custody, event: dict[str, Any]) -> None:
    custody.stack.clock.advance(3 * 86_400)

    assert custody.handle(event)["counts"]["files"] == 1

    assert custody.stack.tables.items == {}
    assert sinch.CALL not in custody.logged()


def test_an_event_of_a_late_file_has_it_erased(custody: Custody) -> None:
    custody.handle({"command": "open-receipt", "receiptId": RECEIPT, "by": BY, "reason": "request"})
    custody.handle(ERASE | {"preview": False})
    custody.stack.bucket.put(URL)
    custody.stack.take(stored(at=after(minutes=9)))
    event = custody.stack.bus.out[-1]
    delivered = {"detail-type": event.detail_type, "source": "call-recorder", "detail": event.model_dump(mode="json")}

    assert custody.handle(delivered)["state"] == "done"

    assert custody.stack.bucket.urls == set()


def test_a_wrong_command_is_refused_and_changes_nothing(custody: Custody) -> None:
    refused = custody.handle(ERASE | {"preview": "no"})

    assert (refused["state"], refused["problems"][0].partition(":")[0]) == ("refused", "preview")
    assert custody.stack.tables.items.keys() == {sinch.CALL}


def test_a_command_that_fails_answers_with_its_problem(custody: Custody) -> None:
    custody.stack.tables.down = True

    answer = custody.handle({"command": "hold", "recordingId": sinch.CALL, "applicationKey": "app", "by": BY})

    assert answer["state"] == "incomplete"
    assert answer["problems"] == ["BatchGetItem: InternalServerError. Repeat the command."]


def test_a_round_with_a_problem_ends_with_an_error(custody: Custody) -> None:
    """Lambda repeats it, and an alarm counts the error."""
    custody.stack.clock.advance(3 * 86_400)
    [version] = custody.stack.bucket.versions
    custody.stack.bucket.set_legal_hold(version, on=True)
    with pytest.raises(CustodyIncomplete, match="AccessDenied"):
        custody.handle({})

    custody.stack.tables.down = True
    with pytest.raises((CustodyIncomplete, TableUnavailable)):
        custody.handle({})
    assert [line.level for line in custody.telemetry.lines] == ["warning", "warning"]
