"""Plays calls: sends the callbacks, follows the answers, stores the recordings and sends the notifications."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from local import audio
from local.simulator import menu
from local.simulator.calls import Application, Body, End, IncomingCall, encode_body, format_time
from local.simulator.delivery import UNDISTURBED, Disturbance
from local.simulator.readings import LIKELIEST, Readings
from local.simulator.svaml import (
    Action,
    ConnectConf,
    ConnectMxp,
    ConnectPstn,
    ConnectSip,
    Continue,
    Hangup,
    IllegalSvaml,
    Recordable,
    RecordingOptions,
    RunMenu,
    StartRecording,
    Svaml,
    read,
)
from local.storage import Storage, StorageEndpoints, StoredFile, UploadRefused, replace_key
from local.transport import HttpTransport, NoResponse, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

ILLEGAL_SVAML = 40001
"""The ``errorCode`` of the ``callingerror`` notification about an illegal answer."""

_MAX_ANSWERS = 20
_FAILED = End("FAILED", "CALLBACKERROR")
_TALKED = End("ANSWERED", "CALLERHANGUP")


class Store(Protocol):
    """Stores files; ``local.storage.Storage`` stores them over the network."""

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        """Store a file.

        Raises:
            UploadRefused: the store did not accept it.
        """
        ...


@dataclass(frozen=True)
class Step:
    """One action of the platform.

    Attributes:
        name: ``ice``, ``ace``, ``pie``, ``dice``, ``upload``, ``upload transcript`` or a notification's type.
        outcome: the result, in words.
        held: whether the result is the expected one.
        status: the status code of a callback's answer; ``None`` for an upload or without an answer.
    """

    name: str
    outcome: str
    held: bool
    status: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome}"


@dataclass(frozen=True)
class Answer:
    """The SVAML answer to a callback, with masked storage credentials, and the seconds until it arrived."""

    event: str
    svaml: dict[str, Any]
    seconds: float


@dataclass
class PlayedCall:
    """Everything that happened in a call, in order. It contains no secret."""

    call: IncomingCall
    steps: list[Step] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    uploads: list[StoredFile] = field(default_factory=list)

    @property
    def svaml(self) -> dict[str, Any]:
        """Return the masked answer to the ICE; empty if there was no legal answer."""
        return next((answer.svaml for answer in self.answers if answer.event == "ice"), {})

    @property
    def responses(self) -> list[tuple[str, int | None]]:
        """Return every callback that was sent, as its step's name and the status code of its answer."""
        return [(step.name, step.status) for step in self.steps if not step.name.startswith("upload")]

    @property
    def failures(self) -> list[str]:
        """Return the steps that did not hold, in words."""
        return [str(step) for step in self.steps if not step.held]

    @property
    def held(self) -> bool:
        """Return whether every step held."""
        return not self.failures


class Simulator:
    """The Sinch platform for one application with one callback URL.

    Args:
        callback_url: the URL that gets the callbacks.
        application: the application whose calls are played.
        public_path: the path to sign, if it is not the path of ``callback_url``.
        endpoints: the URLs of the stores, if they are emulators.
        transport: sends the callbacks.
        store: stores the recordings.
        clock: returns the current time, which is signed.
        wait: sleeps for so many seconds before a delayed notification.
        lenient: whether answers may have fields that the documents do not name. The recorder's own answers never have
            any; those of a backend behind it may.
        first_menu: the menu that is played first, if there are several.
        readings: how the platform behaves where the documents leave it open.
    """

    def __init__(
        self,
        callback_url: str,
        application: Application,
        *,
        public_path: str | None = None,
        endpoints: StorageEndpoints | None = None,
        transport: Transport | None = None,
        store: Store | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], None] = time.sleep,
        lenient: bool = False,
        first_menu: menu.FirstMenu = "mainMenu",
        readings: Readings = LIKELIEST,
    ) -> None:
        self.application = application
        self.clock = clock
        self.wait = wait
        self.lenient = lenient
        self.first_menu: menu.FirstMenu = first_menu
        self.readings = readings
        self.store: Store = store or Storage(endpoints, clock=clock)
        self._url = callback_url
        self._path = public_path or urlsplit(callback_url).path or "/"
        self._transport = transport or HttpTransport()

    def post(self, body: Body) -> Response:
        """Sign a callback and send it.

        Raises:
            NoResponse: no answer arrived.
        """
        content, readings = encode_body(body), self.readings
        headers = self.application.sign_headers(
            content,
            path=self._path,
            content_type=readings.content_type,
            at=self.clock(),
            time_form=readings.time_form,
        )
        if readings.user_agent:
            headers["User-Agent"] = readings.user_agent
        return self._transport.send("POST", self._url, headers, content)

    def play(self, call: IncomingCall, disturbance: Disturbance = UNDISTURBED) -> PlayedCall:
        """Play one call from ICE to DiCE.

        Failures of the other side raise no exception: see ``failures`` of the returned call.
        """
        return _Playing(self, call, disturbance).play()


class _CallFailed(Exception):
    """The call ends, because a callback got no answer or an illegal one."""


class _NotAnswered(_CallFailed):
    """A callback got no answer, or an answer with another status than 200."""


@dataclass(frozen=True)
class _Recording:
    options: RecordingOptions
    conference_id: str | None = None


@dataclass(frozen=True)
class _Pending:
    name: str
    body: Body


class _Playing:
    """The state of one call while it is played."""

    def __init__(self, platform: Simulator, call: IncomingCall, disturbance: Disturbance) -> None:
        self._platform = platform
        self._call = call
        self._disturbance = disturbance
        self._keys: Iterator[str] = iter(call.keys)
        self._frames = audio.count_frames(call.call_id)
        self._recordings: list[_Recording] = []
        self._pending: list[_Pending] = []
        self._callbacks_suppressed = False
        self._played = PlayedCall(call)

    def play(self) -> PlayedCall:
        call, key, now = self._call, self._platform.application.key, self._platform.clock
        try:
            end = self._follow("ice", self._ask("ice", call.ice(key, now())))
        except _CallFailed:
            end = _FAILED
        for recording in self._recordings:
            self._finish(recording)
        if not self._callbacks_suppressed:
            seconds = audio.count_seconds(self._frames)
            self._pending.append(_Pending("dice", call.dice(key, now(), end, seconds)))
        self._deliver()
        return self._played

    def _step(self, name: str, outcome: str, *, held: bool = True, status: int | None = None) -> None:
        self._played.steps.append(Step(name, outcome, held, status))

    def _ask(self, event: str, body: Body) -> Svaml:
        if len(self._played.answers) >= _MAX_ANSWERS:
            self._step(event, "too many answers: they form a loop", held=False)
            raise _CallFailed
        asked = time.monotonic()
        try:
            response = self._platform.post(body)
        except NoResponse as error:
            self._step(event, str(error), held=False)
            raise _NotAnswered from None
        if response.status != 200:
            self._step(event, f"answered {response.status}", held=False, status=response.status)
            raise _NotAnswered
        try:
            svaml = read(event, response.body, lenient=self._platform.lenient)
            if (
                event == "pie"
                and isinstance(svaml.action, ConnectPstn)
                and not self._platform.readings.phone_after_menu
            ):
                raise IllegalSvaml("connectPstn is not allowed as an answer to PIE")
        except IllegalSvaml as error:
            self._step(event, f"illegal SVAML: {error}", held=False, status=200)
            self._pending.append(_Pending("callingerror", self._calling_error()))
            raise _CallFailed from None
        self._played.answers.append(Answer(event, svaml.masked, time.monotonic() - asked))
        self._step(event, f"answered {svaml.action.name}", status=200)
        return svaml

    def _calling_error(self) -> Body:
        return self._call.calling_error(ILLEGAL_SVAML, "Illegal SVAML")

    def _follow(self, event: str, svaml: Svaml) -> End:
        for instruction in svaml.instructions:
            if not isinstance(instruction, StartRecording):
                continue
            if isinstance(svaml.action, ConnectMxp):
                self._step(event, "startRecording beside connectMxp is ignored: nothing is recorded", held=False)
            else:
                self._recordings.append(_Recording(instruction.options))
        return self._act(event, svaml.action)

    def _act(self, event: str, action: Action) -> End:
        match action:
            case Hangup():
                return End("N/A" if event == "ice" else "ANSWERED", "MANAGERHANGUP")
            case RunMenu():
                return self._run_menu(event, action)
            case ConnectPstn() | ConnectSip():
                return self._connect(event, action)
            case ConnectMxp() if not self._call.answered:
                return End("NOANSWER", "TIMEOUT")
            case ConnectMxp() | ConnectConf() | Continue():
                # In-app users get no ACE, even if it is requested. A conference has no callee, so it gets none either.
                self._record(event, action)
                if event == "ice" and self._platform.readings.ace_for_all:
                    return self._report_answer()
                return _TALKED
            case _:
                return _TALKED

    def _record(self, event: str, action: Recordable) -> None:
        if not action.record:
            return
        if action.recording_options is None:
            self._step(event, "record without recordingOptions: nothing is recorded", held=False)
            return
        if isinstance(action, ConnectMxp) and not self._platform.readings.records_in_app:
            return
        conference_id = action.conference_id if isinstance(action, ConnectConf) else None
        self._recordings.append(_Recording(action.recording_options, conference_id))

    def _connect(self, event: str, action: ConnectPstn | ConnectSip) -> End:
        self._callbacks_suppressed = action.suppress_callbacks
        if not self._call.answered:
            return End("NOANSWER", "TIMEOUT")
        self._record(event, action)
        return _TALKED if self._callbacks_suppressed else self._report_answer()

    def _report_answer(self) -> End:
        body = self._call.ace(self._platform.application.key, self._platform.clock())
        if not self._platform.readings.ace_call_id:
            body[self._call.call_id_field] = f"{self._call.call_id}_1"
        try:
            svaml = self._ask("ace", body)
        except _NotAnswered:
            return _TALKED  # According to the documents, an ACE without an answer connects the call.
        return self._follow("ace", svaml)

    def _run_menu(self, event: str, action: RunMenu) -> End:
        if self._call.in_app:
            self._step(event, "runMenu for an in-app caller: there is no PIE", held=False)
            return _TALKED
        result = menu.play_menus(action, self._keys, self._platform.first_menu, self._platform.readings)
        now = self._platform.clock()
        svaml = self._ask("pie", self._call.pie(self._platform.application.key, now, result))
        return _TALKED if result["type"] == "hangup" else self._follow("pie", svaml)

    def _finish(self, recording: _Recording) -> None:
        """Store a recording and prepare the notifications about it.

        All files are stored before the first notification is sent, so the notifications can have any order. The
        documents promise only that a file is there when it is announced as available.
        """
        options = recording.options
        self._notify("recording_finished", recording)
        url = self._file_url(options)
        content = b"" if self._disturbance.empty_file else audio.make_silence(options.format, self._frames)
        if not self._upload("upload", url, options, content, audio.find_content_type(options.format)):
            # The documents describe no notification of a failed upload.
            if self._platform.readings.failed_upload:
                self._notify(self._platform.readings.failed_upload, recording)
            return
        self._notify("recording_available", recording, **self._announce(url))
        if options.transcription_options and options.transcription_options.enabled:
            replaced = self._platform.readings.transcript_name == "replaces"
            transcript = f"{url.removesuffix('.' + options.format) if replaced else url}-transcript.json"
            if self._upload("upload transcript", transcript, options, _make_transcript(), "application/json"):
                self._notify("transcription_available", recording, **self._announce(transcript))

    def _announce(self, url: str) -> dict[str, str]:
        match self._platform.readings.destination:
            case "as asked":
                return {"destination": url}
            case "https":
                return {"destination": f"https://www.sinch.com/calling/v1/recording/{url.rpartition('/')[2]}"}
            case "absent":
                return {}

    def _notify(self, kind: str, recording: _Recording, **fields: str) -> None:
        if recording.options.notification_events:
            common = {
                "applicationKey": self._platform.application.key,
                "timestamp": format_time(self._platform.clock()),
                "custom": self._call.custom or "custom",
            }
            fields |= {name: common[name] for name in self._platform.readings.notification_fields}
            body = self._call.notify(kind, conference_id=recording.conference_id, **fields)
            self._pending.append(_Pending(kind, body))

    def _file_url(self, options: RecordingOptions) -> str:
        """Return the file's URL. If the answer names only a folder, the platform chooses the file's name."""
        url = options.destination_url
        path = url.partition("://")[2]
        folders = 2 if url.startswith("azure:") else 1
        if path.count("/") >= folders and not path.endswith("/"):
            return url
        stamp = self._platform.clock().strftime("%Y%m%d%H%M%S")
        name = f"{stamp}_{self._platform.application.key}_{self._call.call_id}.{options.format}"
        return f"{url.rstrip('/')}/{name}"

    def _upload(self, name: str, url: str, options: RecordingOptions, content: bytes, content_type: str) -> bool:
        credentials = options.credentials
        if self._disturbance.wrong_storage_key:
            credentials = SecretStr(replace_key(credentials.get_secret_value()))
        try:
            stored = self._platform.store.put(url, credentials, content, content_type)
        except UploadRefused as error:
            self._step(name, f"{url}: {error}", held=False)
            return False
        self._played.uploads.append(stored)
        self._step(name, f"{stored.size} bytes to {url}")
        return True

    def _deliver(self) -> None:
        waited = 0.0
        for pending in sorted(self._pending, key=lambda each: self._disturbance.sort_key(each.name)):
            delivery = self._disturbance.find_delivery(pending.name)
            if delivery.delay > waited:
                self._platform.wait(delivery.delay - waited)
                waited = delivery.delay
            if delivery.in_parallel and delivery.times > 1:
                with ThreadPoolExecutor(delivery.times) as pool:
                    results = list(pool.map(lambda _, body=pending.body: self._send(body), range(delivery.times)))
            else:
                results = [self._send(pending.body) for _ in range(delivery.times)]
            for status, outcome in results:
                self._step(pending.name, outcome, held=status == 200, status=status)

    def _send(self, body: Mapping[str, Any]) -> tuple[int | None, str]:
        try:
            status = self._platform.post(dict(body)).status
        except NoResponse as error:
            return None, str(error)
        return status, f"answered {status}"


def _make_transcript() -> bytes:
    lines = [
        {"timestamp": 0.4, "speakerLabel": "Speaker 1", "text": "Good morning."},
        {"timestamp": 0.9, "speakerLabel": "Speaker 2", "text": "Good morning to you."},
    ]
    text = " ".join(str(line["text"]) for line in lines)
    return json.dumps({"text": text, "lines": lines}).encode()
