"""The floor does the same whole job as our functions; `make bench` holds that of every contender before it measures.

Each function runs in a process of its own against the benchmarks' AWS, which checks every signature.
"""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import aws, contenders
from benchmarks.calls import PARAMETERS
from benchmarks.contenders import FLOOR, OURS, Contender
from benchmarks.measuring import Measuring
from benchmarks.processes import Broken
from benchmarks.results import Results

_TWINS = contenders.ROOT / "benchmarks" / "twins"
_OURS = Contender(
    OURS,
    contenders.ROOT / "src",
    "call_recorder.functions.callback.handler",
    "call_recorder.functions.notify.handler",
    variables={"PYTHONPATH": f"{contenders.ROOT / 'src'}:{sysconfig.get_path('purelib')}"},
)
_FLOOR = Contender(FLOOR, _TWINS, "floor.callback", "floor.notify")


@pytest.fixture
def endpoint() -> Iterator[aws.Endpoint]:
    with aws.serving(parameters=PARAMETERS) as serving:
        yield serving


def _measuring(endpoint: aws.Endpoint, *compared: Contender) -> Measuring:
    return Measuring(compared, endpoint, Results({}), lambda _: None)


def test_the_floor_gives_the_answers_facts_and_events_that_our_functions_give(endpoint: aws.Endpoint) -> None:
    _measuring(endpoint, _OURS, _FLOOR).check()


def test_a_contender_that_does_another_job_is_found_out(endpoint: aws.Endpoint, tmp_path: Path) -> None:
    floor = (_TWINS / "floor.py").read_text("utf-8")
    (tmp_path / "floor.py").write_text(floor.replace('"record": True', '"record": False'), "utf-8")
    careless = Contender("careless", tmp_path, "floor.callback", "floor.notify")
    with pytest.raises(Broken, match="the answers of careless differ"):
        _measuring(endpoint, _OURS, careless).check()


def test_a_request_that_is_signed_with_another_secret_is_refused(endpoint: aws.Endpoint) -> None:
    other = Contender(OURS, _TWINS, "floor.callback", "floor.notify", variables={"AWS_SECRET_ACCESS_KEY": "another"})
    with pytest.raises(Broken, match="the signature does not match"):
        _measuring(endpoint, other).check()
