"""Warm-up: CallbackFunction answers an invented ICE in its init phase, without AWS."""

from __future__ import annotations

from datetime import UTC, datetime

from call_recorder.answering.application import Application
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.policy import Policy
from call_recorder.facts import messages
from call_recorder.sinch.callbacks import IceCallback, parse

_ICE = b'{"event": "ice", "callid": "warm-up", "cli": "warm-up", "to": {"type": "number", "endpoint": "warm-up"}}'
_PARAMETERS = {
    SECRETS: "cmVoZWFyc2Fs",
    CREDENTIALS: "warm-up:warm-up:eu-west-1",
    PROFILE: '{"rules": [{"name": "warm-up", "record": true}]}',
}


def warm_up() -> None:
    """Answer an invented ICE, so that everything that is built at its first use exists before a caller waits."""
    ice = parse(_ICE)
    recorder = Application.from_parameters("warm-up", _PARAMETERS, own_bucket="warm-up").recorder
    if isinstance(ice, IceCallback) and recorder:
        answer = Policy("warm-up", recorder, datetime.now(UTC)).answer_ice(ice)
        answer.svaml.to_json()
        if answer.fact:
            messages.write_message(answer.fact)
