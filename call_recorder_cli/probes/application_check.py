"""Checks an application before its first call: its parameters, its destinations, the callback URL, and the answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from call_recorder.answering.parameter_names import PROFILE, SECRETS
from call_recorder.answering.profile import ProfileRefused
from call_recorder_cli.applications.parameters import ApplicationParameters
from call_recorder_cli.errors import NotFound
from call_recorder_cli.output import Report
from call_recorder_cli.probes.answers import RECORDING, find_answer
from call_recorder_cli.probes.callbacks import CallbackUrl, Judgement
from call_recorder_cli.probes.destinations import DestinationProbe, Endpoints, list_targets

if TYPE_CHECKING:
    from call_recorder.answering.application import Application, Recorder
    from call_recorder.answering.profile import Rule
    from call_recorder_cli.stack import Stack

Part = Literal["parameters", "destination", "callback", "forged callback", "answer"]


class CheckResult(Report):
    """The result of one part of a check. ``code`` names the problem; without a problem it is ``None``."""

    application_key: str
    part: Part
    code: str | None = None
    rules: tuple[str, ...] = ()
    destination: str | None = None
    sentence: str


class ApplicationCheck:
    """Checks the applications of a stack.

    Args:
        stack: the stack.
        rule: the name of the only rule to check, if one is chosen.
        endpoints: the URLs of the stores, if they are emulators.
    """

    def __init__(self, stack: Stack, rule: str | None, endpoints: Endpoints) -> None:
        self._stack = stack
        self._rule = rule
        self._bucket = stack.output("RecordingsBucketName")
        self._probe = DestinationProbe(
            endpoints,
            own_bucket=self._bucket,
            operator=lambda: stack.session.client("s3"),
            clock=lambda: datetime.now(UTC),
        )
        self._url = CallbackUrl(
            url=stack.callback_url,
            path=stack.outputs["CallbackPath"],
            window=timedelta(seconds=int(stack.parameters.get("SignatureWindowSeconds", 300))),
            ttl_seconds=int(stack.parameters.get("ParametersTtlSeconds", 300)),
        )
        self._forged = False

    def run(self, application_key: str) -> Iterator[CheckResult]:
        """Yield the results for an application, one after the other.

        Raises:
            NotFound: the application has no rule of the chosen name.
            ClientError: SSM refused the parameters.
            BotoCoreError: SSM could not be asked.
        """
        stored = ApplicationParameters(self._stack).read(application_key)
        if SECRETS not in stored.values:
            yield _refuse(application_key, f"{SECRETS}: missing; run call-recorder onboard")
            return
        try:
            application = stored.parse()
        except ProfileRefused as refusal:
            yield _refuse(application_key, str(refusal))
            return
        recorder = application.recorder
        if recorder is None:
            yield _refuse(application_key, application.problem or PROFILE)
        else:
            yield from self._check_recorder(application_key, recorder)
        yield from self._check_callbacks(application)

    def _check_recorder(self, key: str, recorder: Recorder) -> Iterator[CheckResult]:
        if self._rule is not None and recorder.profile.rule(self._rule) is None:
            raise NotFound(f"The profile of the application {key} has no rule {self._rule}.")
        yield CheckResult(application_key=key, part="parameters", sentence="The parameters can be used.")
        for target in list_targets(recorder, self._rule):
            tried = self._probe.try_out(target, key, recorder.credentials.get_secret_value())
            yield CheckResult(
                application_key=key,
                part="destination",
                code=tried.fault,
                rules=target.rules,
                destination=f"{target.destination.scheme}://{target.destination.container}/{target.destination.path}",
                sentence=tried.sentence,
            )
        for rule in recorder.profile.rules:
            if rule.record and self._rule in (None, rule.name):
                yield self._check_answer(key, recorder, rule)

    def _check_answer(self, key: str, recorder: Recorder, rule: Rule) -> CheckResult:
        answer = find_answer(recorder, rule, application_key=key, at=datetime.now(UTC))
        if answer is None or (answer.rule, answer.outcome in RECORDING) != (rule.name, True):
            outcome = f"; one for it is {answer.outcome} by {answer.rule or 'no rule'}" if answer else ""
            code = "rule-records-nothing"
            sentence = (
                f"No call was found that this rule records{outcome}: try your own calls with call-recorder explain."
            )
        else:
            code, sentence = None, f"A call for this rule is answered: {answer.outcome}."
        return CheckResult(application_key=key, part="answer", code=code, rules=(rule.name,), sentence=sentence)

    def _check_callbacks(self, application: Application) -> Iterator[CheckResult]:
        found = self._url.judge(application.key, application.secrets)
        sentence = "A signed callback is accepted at the callback URL."
        yield _judge(application.key, "callback", found, sentence)
        # Each counts as a failed signature, and more than ten raise an alarm. One shows it for all applications.
        if found is None and not self._forged:
            self._forged = True
            found = self._url.judge_forged(application.key)
            yield _judge(application.key, "forged callback", found, "A callback with a wrong signature is refused.")


def _refuse(application_key: str, reason: str) -> CheckResult:
    name = reason.partition(":")[0]
    return CheckResult(application_key=application_key, part="parameters", code=name, sentence=f"{reason}.")


def _judge(application_key: str, part: Part, found: Judgement | None, accepted: str) -> CheckResult:
    if found:
        return CheckResult(application_key=application_key, part=part, code=found.code, sentence=found.sentence)
    return CheckResult(application_key=application_key, part=part, sentence=accepted)
