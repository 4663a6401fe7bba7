"""ApplicationCache are cached, and the last good value of a parameter stays in use when a newer one cannot be used."""

import json

import pytest

from call_recorder.answering.application import Application, Recorder
from call_recorder.answering.application_cache import GONE_SECONDS, MAX_APPLICATIONS, RETRY_SECONDS, ApplicationCache
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.registered_applications import MAX_FAILURES, Page
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication
from call_recorder.sinch.signature import decode_secret
from tests import sinch
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS

TTL = 300.0
VALUES = {SECRETS: sinch.SECRET, CREDENTIALS: STORAGE_CREDENTIALS, PROFILE: json.dumps(RECORD_ALL)}


class Parameters:
    """ApplicationCache in front of a store of parameters, of which one application has some."""

    def __init__(self) -> None:
        self.values = dict(VALUES)
        self.others: dict[str, dict[str, str]] = {}
        self.down = False
        self.reads: list[str] = []
        self.stale: list[str] = []
        self.now = 1000.0
        self.applications = ApplicationCache(
            self, own_bucket=BUCKET, ttl_seconds=TTL, report_stale=self.stale.append, clock=lambda: self.now
        )

    def read(self, key: str) -> dict[str, str]:
        self.reads.append(key)
        if self.down:
            raise ParametersUnavailable("GetParameters: ConnectTimeoutError")
        return dict(self.values if key == sinch.APPLICATION else self.others.get(key, {}))

    def list_applications(self, after: str | None) -> Page:
        return Page([sinch.APPLICATION, *self.others], None)

    def get(self, key: str = sinch.APPLICATION) -> Application:
        return self.applications.get(key)

    def get_after(self, seconds: float) -> Application:
        self.now += seconds
        return self.get()

    def recorder(self) -> Recorder:
        recorder = self.get().recorder
        assert recorder is not None
        return recorder


@pytest.fixture
def parameters() -> Parameters:
    return Parameters()


def test_parameters_are_read_once_in_a_ttl(parameters: Parameters) -> None:
    first = parameters.get()
    parameters.values[PROFILE] = "{}"

    assert parameters.get_after(TTL - 1) is first
    assert len(parameters.reads) == 1

    parameters.now += 1
    assert [parameters.recorder().profile.rules for _ in range(3)] == [()] * 3
    assert len(parameters.reads) == 2
    assert not parameters.stale


def test_a_failed_refresh_serves_the_last_value_and_delays_few_callers(parameters: Parameters) -> None:
    first = parameters.get()
    parameters.down = True
    parameters.now += TTL

    assert [parameters.get() for _ in range(5)] == [first] * 5
    assert parameters.stale == ["GetParameters: ConnectTimeoutError"]

    parameters.down = False
    parameters.values[PROFILE] = "{}"
    parameters.now += RETRY_SECONDS
    assert parameters.recorder().profile.rules == ()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (PROFILE, '{"destination": "s3://bucket/fixed.mp3"}', "recording-profile: destination: "),
        (CREDENTIALS, "half", "storage-credentials: the rule everything records to s3: write KEY:SECRET:REGION"),
        (SECRETS, "not base64!", "application-secrets: "),
    ],
)
def test_a_change_that_cannot_work_leaves_the_last_good_value_in_use(
    parameters: Parameters, name: str, value: str, problem: str
) -> None:
    first = parameters.get()
    parameters.values[name] = value

    for seconds in (TTL, RETRY_SECONDS - 1):
        again = parameters.get_after(seconds)
        assert (again.secrets, again.recorder) == (first.secrets, first.recorder)
    assert parameters.stale[0].startswith(problem)
    assert len(parameters.stale) == 1


def test_a_broken_profile_does_not_hold_up_new_secrets_and_credentials(parameters: Parameters) -> None:
    before = parameters.recorder().profile
    new = {PROFILE: "{", SECRETS: sinch.PREVIOUS_SECRET, CREDENTIALS: "AKIDTHATISNEW:secret:eu-west-1"}
    parameters.values = new

    assert parameters.get_after(TTL).secrets == (decode_secret(sinch.PREVIOUS_SECRET),)
    assert parameters.recorder().credentials.get_secret_value() == "AKIDTHATISNEW:secret:eu-west-1"
    assert parameters.recorder().profile == before


def test_a_profile_that_never_worked_is_replaced_once_it_is_repaired(parameters: Parameters) -> None:
    parameters.values[PROFILE] = "{"
    assert parameters.get().recorder is None

    parameters.values[PROFILE] = "{}"

    assert parameters.get_after(TTL).recorder is not None
    assert not parameters.stale


def test_secrets_that_are_deleted_stay_in_use_until_they_are_back(parameters: Parameters) -> None:
    first = parameters.get()
    del parameters.values[SECRETS]

    assert parameters.get_after(TTL) is first
    assert [problem.partition(":")[0] for problem in parameters.stale] == ["application-secrets"]

    parameters.values[SECRETS] = sinch.PREVIOUS_SECRET
    assert parameters.get_after(RETRY_SECONDS).secrets == (decode_secret(sinch.PREVIOUS_SECRET),)
    parameters.get_after(TTL)
    assert len(parameters.stale) == 1


def test_secrets_that_are_deleted_again_have_the_whole_grace_again(parameters: Parameters) -> None:
    parameters.get()
    for _ in range(2):
        del parameters.values[SECRETS]
        parameters.get_after(TTL)
        parameters.get_after(GONE_SECONDS - 1)
        parameters.values[SECRETS] = sinch.SECRET
        parameters.get_after(RETRY_SECONDS)


def test_an_application_without_secrets_is_unknown_after_the_grace(parameters: Parameters) -> None:
    parameters.get()
    parameters.values = {}
    parameters.now += TTL
    parameters.reads.clear()
    for _ in range(int(GONE_SECONDS)):
        parameters.get()
        parameters.now += 1

    with pytest.raises(UnknownApplication):
        parameters.get()
    assert len(parameters.reads) == GONE_SECONDS / RETRY_SECONDS + 1
    assert len(parameters.stale) == GONE_SECONDS / RETRY_SECONDS


def test_the_grace_of_deleted_secrets_goes_on_while_ssm_is_down(parameters: Parameters) -> None:
    first = parameters.get()
    del parameters.values[SECRETS]
    parameters.get_after(TTL)
    parameters.down = True

    assert parameters.get_after(GONE_SECONDS) is first
    parameters.down = False
    with pytest.raises(UnknownApplication):
        parameters.get_after(RETRY_SECONDS)


def test_secrets_that_never_worked_are_not_read_for_each_callback(parameters: Parameters) -> None:
    parameters.others["broken"] = VALUES | {SECRETS: "not base64!"}

    for _ in range(100):
        with pytest.raises(ParametersUnavailable) as unavailable:
            parameters.get("broken")
        assert "not base64!" not in f"{unavailable.value!r}{unavailable.value.__cause__!r}"

    assert len(parameters.reads) <= 2 * MAX_FAILURES


def test_the_least_recently_used_of_many_applications_is_forgotten(parameters: Parameters) -> None:
    keys = [f"app-{number}" for number in range(MAX_APPLICATIONS)]
    parameters.others = dict.fromkeys([*keys, "one-more"], VALUES)

    for key in (*keys, "app-0", "one-more", "app-0", "app-1"):
        parameters.get(key)

    assert parameters.reads == [*keys, "one-more", "app-1"]
