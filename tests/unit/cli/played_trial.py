"""A trial in this process: the simulator plays Sinch, and CallbackFunction logs what it sees."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

from call_recorder.functions.telemetry import Telemetry
from call_recorder_cli.trial.calls import CALLS, MENU, Batch, Line, make_profile
from call_recorder_cli.trial.observations import Evidence, Window, read_lines, sort_by_call
from local.simulator import (
    LIKELIEST,
    UNDISTURBED,
    Application,
    Disturbance,
    IncomingCall,
    Readings,
    Response,
    Simulator,
    StoredFile,
    app_to_app,
    app_to_conference,
    list_variants,
    phone_to_number,
)
from local.simulator.menu import FirstMenu
from local.storage import UploadRefused
from tests import sinch
from tests.fakes import BUCKET, STORAGE_CREDENTIALS, Applications, Clock, Front, application

NUMBER: Final = "+12025550100"
CALLEE: Final = "+46700000009"
LINE: Final = Line((NUMBER,), CALLEE)
SECONDS_BETWEEN = 60.0


@dataclass(frozen=True)
class Platform:
    """How the simulator plays Sinch in a trial."""

    readings: Readings = LIKELIEST
    first_menu: FirstMenu = "mainMenu"
    lenient: bool = False
    disturbance: Disturbance = UNDISTURBED
    variant: str = "as documented"
    skew: float = 0.0


class _Sinch:
    """Carries callbacks to the function, and stores files in the stack's bucket only."""

    def __init__(self, front: Front, skew: float) -> None:
        self._front = front
        self._skew = timedelta(seconds=skew)

    def clock(self) -> object:
        return self._front.clock.now + self._skew

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        answer = self._front(sinch.delivered(body, {name.lower(): value for name, value in headers.items()}))
        return Response(answer["statusCode"], answer["body"].encode())

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        if not url.startswith(f"s3://{BUCKET}/") or credentials.get_secret_value() != STORAGE_CREDENTIALS:
            raise UploadRefused("the store answered AccessDenied")
        return StoredFile(url, len(body))


def dial(name: str, number: str = NUMBER, variant: str = "as documented") -> IncomingCall:
    """Return the call that an operator makes for a call of a trial."""
    make = {"in-app": lambda: app_to_app("alice"), "conference": lambda: app_to_conference("trial")}
    call = make.get(name, lambda: phone_to_number(number))()
    return replace(list_variants(call)[variant], keys=("1",) if name == MENU.name else ())


def play(platform: Platform, *names: str, own: str = "{}") -> tuple[Evidence, str]:
    """Play calls of a trial, by default all of them. Return the evidence, and the whole log."""
    clock, log, windows = Clock(), io.StringIO(), []
    for name in names or tuple(CALLS):
        profile = make_profile(Batch(((CALLS[name], NUMBER if CALLS[name].by_phone else ""),)), LINE, own)
        front = Front(Applications(application(profile)), telemetry=Telemetry(), clock=clock)  # type: ignore[arg-type]
        carrier = _Sinch(front, platform.skew)
        simulator = Simulator(
            "https://api.example.com/callbacks",
            Application(sinch.APPLICATION, SecretStr(sinch.SECRET)),
            transport=carrier,
            store=carrier,
            clock=carrier.clock,  # type: ignore[arg-type]
            wait=clock.advance,
            lenient=platform.lenient,
            first_menu=platform.first_menu,
            readings=platform.readings,
        )
        start = clock.now
        with redirect_stdout(log):
            simulator.play(dial(name, variant=platform.variant), platform.disturbance)
        windows.append(Window(name, start, clock.now))
        clock.advance(SECONDS_BETWEEN)
    return sort_by_call(read_lines(log.getvalue().splitlines(), sinch.APPLICATION), windows), log.getvalue()
