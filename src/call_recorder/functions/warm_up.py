"""Warm-up: CallbackFunction answers an invented ICE in its init phase, without AWS."""

from __future__ import annotations

from datetime import UTC, datetime

from call_recorder.answering.application import Application
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.policy import Policy
from call_recorder.facts import messages
from call_recorder.sinch.callbacks import IceCallback, parse

_ICE = b'{"event": "ice", "callid": "rehearsal", "cli": "rehearsal", "to": {"type": "number", "endpoint": "rehearsal"}}'
_PARAMETERS = {
    SECRETS: "cmVoZWFyc2Fs",
    CREDENTIALS: "rehearsal:rehearsal:eu-west-1",
    PROFILE: '{"rules": [{"name": "rehearsal", "record": true}]}',
}


def warm_up() -> None:
    """Answer an invented ICE, so that everything that is built at its first use exists before a caller waits."""
    ice = parse(_ICE)
    recorder = Application.from_parameters("rehearsal", _PARAMETERS, own_bucket="rehearsal").recorder
    if isinstance(ice, IceCallback) and recorder:
        answer = Policy("rehearsal", recorder, datetime.now(UTC)).answer_ice(ice)
        answer.svaml.to_json()
        if answer.fact:
            messages.write_message(answer.fact)
