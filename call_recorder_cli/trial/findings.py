"""What a trial settles: for each question, what the documents say, what Sinch did, and what to set.

A finding is a pure function of the evidence. Where the documents are silent or contradict each other, whatever was seen
settles the question. ``docs/consent.md`` lists the questions with their sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from call_recorder_cli.output import Report
from call_recorder_cli.trial import calls
from call_recorder_cli.trial.observations import CallRecord, Evidence, MenuShape, Observation

Verdict = Literal["as documented", "differs", "settled", "not seen"]


class Finding(Report):
    """The answer to one question.

    ``settled``: the documents leave it open, and the trial shows how it is. ``setting`` says what to set or to change:
    a parameter of the stack, a field of the profile, or a page to read.
    """

    name: str
    question: str
    documented: str
    observed: str | None = None
    verdict: Verdict = "not seen"
    setting: str | None = None


Settle = Callable[[Evidence], Finding]
FINDINGS: list[Settle] = []
"""Every question, in the order of the report."""


def find(evidence: Evidence) -> tuple[Finding, ...]:
    """Return the findings of a trial, also those about which nothing was seen."""
    return tuple(settle(evidence) for settle in FINDINGS)


def question(
    name: str, question: str, documented: str, *, silent: bool = False
) -> Callable[[Callable[[Evidence], tuple[str, bool, str | None] | None]], Settle]:
    """Return a decorator that makes a finding of a function.

    The function returns what was observed, whether it is as documented, and what to set; or ``None``, if nothing was
    seen. ``silent``: the documents are silent or contradict each other.
    """

    def decorate(observe: Callable[[Evidence], tuple[str, bool, str | None] | None]) -> Settle:
        def settle(evidence: Evidence) -> Finding:
            finding = Finding(name=name, question=question, documented=documented)
            seen = observe(evidence)
            if seen is None:
                return finding
            observed, expected, setting = seen
            verdict: Verdict = "as documented" if expected else "differs"
            return finding.model_copy(
                update={
                    "observed": observed,
                    "verdict": "settled" if silent else verdict,
                    "setting": None if expected else setting,
                }
            )

        FINDINGS.append(settle)
        return settle

    return decorate


Seen = tuple[str, bool, str | None] | None


# Menus


@question(
    "first-menu",
    "Which menu plays first, if mainMenu names another one than main?",
    "the one with the id main (SDKs, pages of 2021), or the one that mainMenu names (API reference)",
    silent=True,
)
def _find_first_menu(evidence: Evidence) -> Seen:
    menu = _first_menu(evidence)
    if menu is None:
        return None
    names = {"main": "the menu with the id main", "first": "the menu that mainMenu names"}
    return (
        names.get(menu.id, "another menu"),
        menu.id == "first",
        "In menus of your own backend, begin with the id main.",
    )


@question("menu-value", "Does the value of return(...) come back whole?", "it comes back; no length is named")
def _find_menu_value(evidence: Evidence) -> Seen:
    menu = _first_menu(evidence)
    if menu is None or menu.value == "absent":
        return None
    mend = "Use consent.kind announcement or header: no caller can agree by a menu (docs/consent.md)."
    return menu.value, menu.value == "whole", mend


@question(
    "phone-after-menu",
    "May connectPstn answer a PIE?",
    "yes (table of actions); a model of the Node SDK leaves it out",
    silent=True,
)
def _find_phone_after_menu(evidence: Evidence) -> Seen:
    record = evidence.call("menu")
    if not any(each.action == "connectPstn" for each in record.of("pie")) or not record.has("dice"):
        return None
    refused = record.has("callingerror")
    return "refused" if refused else "yes", not refused, "Connect by connectSip in routes[].action after a menu."


@question("connected-after-menu", "Is the caller connected after the menu?", "yes", silent=True)
def _find_connected_after_menu(evidence: Evidence) -> Seen:
    return _read_answer(evidence.call("menu"), "Use consent.kind announcement instead of a menu.")


# Recording


@question(
    "records-in-app",
    "Does the flag record work on connectMxp?",
    "yes (voice recording for in-app calling); other pages say that in-app calls are not recorded",
    silent=True,
)
def _find_in_app_recording(evidence: Evidence) -> Seen:
    record = evidence.call("in-app")
    if not any(each.records for each in record.of("ice")) or not record.has("dice"):
        return None
    works = record.has(calls.FINISHED) or record.has(calls.AVAILABLE)
    mend = 'Leave app users out of your rules (when.toType), or record them in a conference ("connectConf").'
    return "yes" if works else "no notification came", works, mend


@question("records-on-answer", "Does startRecording in answer to an ACE record the call?", "yes")
def _find_answer_recording(evidence: Evidence) -> Seen:
    record = evidence.call("phone")
    if not any("startRecording" in each.instructions for each in record.of("ace")) or not record.has("dice"):
        return None
    works = record.has(calls.FINISHED) or record.has(calls.AVAILABLE)
    return "yes" if works else "no notification came", works, 'Set "start": "connect" in the rule.'


@question("without-ringing", "Is a recording from the answer on without the ringing?", "not documented", silent=True)
def _find_ringing(evidence: Evidence) -> Seen:
    return _read_answer(evidence.call("phone"), 'Cut the beginning off, or ask Sinch; "start": "answer" does not help.')


@question("announcement-heard", "Does the caller hear say before the connect?", "not documented", silent=True)
def _find_announcement(evidence: Evidence) -> Seen:
    mend = "Use consent.kind menu: the proof would say announced, and the caller heard nothing (docs/consent.md)."
    return _read_answer(evidence.call("announcement"), mend)


@question("refused-upload", "What tells of a failed upload?", "nothing: recording_finished is the only notification")
def _find_refused_upload(evidence: Evidence) -> Seen:
    record = evidence.call("refused-upload")
    if not any(each.records for each in record.of("ice")) or not record.has("dice"):
        return None
    kinds = _join(each.kind for each in record.notifications) or "no notification"
    mend = "Tell the authors of the recorder: it could report the loss at once, not after GraceSeconds."
    if record.has(calls.AVAILABLE):
        mend = (
            "Do not rely on recording_available: it came although nothing was stored. Store in the stack's own bucket."
        )
    return kinds, kinds == calls.FINISHED, mend


@question("stored-file", "Is every recording stored, and not empty?", "yes")
def _find_stored_file(evidence: Evidence) -> Seen:
    files = {name: each.file for name, each in evidence.calls.items() if each.file and name != "refused-upload"}
    if not files:
        return None
    wrong = {name: "empty" if each.size == 0 else str(each.status) for name, each in files.items()}
    wrong = {name: state for name, state in wrong.items() if state != "available"}
    if not wrong:
        return "yes", True, None
    texts = (f"{name}: {state}" for name, state in wrong.items())
    return _join(texts), False, "Run `call-recorder check`: it writes to the destination as Sinch does."


# Answers and actions


@question("accepted-answers", "Does Sinch accept the answers of the recorder?", "yes, as it spells them")
def _find_accepted_answers(evidence: Evidence) -> Seen:
    made = [each for each in evidence.calls.values() if each.callbacks and each.name != "hang-up"]
    if not made:
        return None
    refused = [each for each in made if each.has("callingerror")]
    if refused:
        texts = (f"{each.name}: refused ({_code(each)}) after {_last_action(each)}" for each in refused)
        return _join(texts), False, "See these answers with `call-recorder explain`, and ask Sinch about them."
    names = {name for record in made for each in record.callbacks for name in (each.action, *each.instructions) if name}
    return f"yes: {_join(sorted(names))}", True, None


@question(
    "undocumented-fields",
    "Does Sinch accept an answer with a field that no document names?",
    "not documented",
    silent=True,
)
def _find_undocumented_fields(evidence: Evidence) -> Seen:
    record = evidence.call("hang-up")
    if not record.of("ice") or not record.has("dice"):
        return None
    refused = record.has("callingerror")
    mend = "Your own backend (upstream) must answer with documented fields only: the recorder passes its fields on."
    return f"refused ({_code(record)})" if refused else "accepted", not refused, mend


# Which callbacks come


@question("ace-for-app-users", "Does an ACE come for app users and conferences?", "no")
def _find_ace_for_all(evidence: Evidence) -> Seen:
    records = [evidence.call(name) for name in ("in-app", "conference")]
    ended = [each for each in records if each.has("ice", "dice")]
    if not ended:
        return None
    with_ace = [each.name for each in ended if each.has("ace")]
    mend = 'Tell the authors of the recorder: "start": "answer" could be allowed for these calls.'
    return f"yes: {_join(with_ace)}" if with_ace else "no", not with_ace, mend


@question("ace-call-id", "Does an ACE have the call id of its ICE?", "yes, in all samples")
def _find_ace_call_id(evidence: Evidence) -> Seen:
    record = evidence.call("phone")
    if not record.has("ice", "dice"):
        return None
    if record.has("ace"):
        return "yes", True, None
    came = any(each.kind == "ace" for each in evidence.strays)
    return "another id" if came else "no ACE came", False, 'Leave "start": "answer" out of your rules.'


@question(
    "missing-callbacks", "Does every callback come that is documented?", "DiCE and the notifications of each recording"
)
def _find_missing_callbacks(evidence: Evidence) -> Seen:
    made = [each for each in evidence.calls.values() if each.of("ice")]
    if not made:
        return None
    missing = [f"{each.name}: {kind}" for each in made for kind in _expected(each) if not each.has(kind)]
    mend = (
        "Store in the stack's own bucket, the second witness of a file, and keep GraceSeconds and LongestCallSeconds."
    )
    return f"missing: {_join(missing)}" if missing else "yes", not missing, mend


@question("order", "In which order do callbacks come after the call?", "not documented", silent=True)
def _find_order(evidence: Evidence) -> Seen:
    orders = Counter(_order(each) for each in evidence.calls.values() if len(_order(each)) > 1)
    if not orders:
        return None
    texts = [f"{_join(order)} ({times} of {orders.total()} calls)" for order, times in orders.most_common()]
    return "; ".join(texts), True, None


@question("delay", "How long after the call do its notifications come?", "transcripts within minutes", silent=True)
def _find_delay(evidence: Evidence) -> Seen:
    delays = [
        ((late.received_at - end.received_at).total_seconds(), late.kind)
        for record in evidence.calls.values()
        for end in record.of("dice")[:1]
        for late in record.of(calls.FINISHED, calls.AVAILABLE, calls.TRANSCRIBED)
    ]
    if not delays:
        return None
    seconds, kind = max(delays)
    mend = f"Set GraceSeconds to {max(60, round(seconds * 10))} or more."
    return f"at most {max(0.0, seconds):.1f} s after the DiCE ({kind})", seconds < 180, mend


@question("repeats", "Does Sinch send a callback again?", "no second attempt is documented")
def _find_repeats(evidence: Evidence) -> Seen:
    if not evidence.callbacks:
        return None
    times = Counter(each.hash for each in evidence.callbacks)
    repeated = {each.kind: times[each.hash] for each in evidence.callbacks if times[each.hash] > 1}
    texts = (f"{kind} {count} times" for kind, count in repeated.items())
    mend = "Nothing: repeats change nothing here. Subscribers compare eventId (docs/events.md)."
    return f"yes: {_join(texts)}" if repeated else "no", not repeated, mend


# Ids


@question("call-id-field", "How is the field with the call id spelled?", "callid")
def _find_call_id_field(evidence: Evidence) -> Seen:
    names = {name for each in evidence.callbacks for name in each.fields & {"callid", "callId"}}
    return (_join(sorted(names)), names == {"callid"}, "Nothing: both are read.") if names else None


@question("call-id-form", "Which form has a call id?", "a UUID; samples also show a suffix or a host", silent=True)
def _find_call_id_form(evidence: Evidence) -> Seen:
    forms = {each.forms["callId"] for each in evidence.callbacks if "callId" in each.forms}
    mend = "Nothing: object keys escape it. Consumers must not read a call id as a UUID."
    return (_join(sorted(forms)), forms == {"uuid"}, mend) if forms else None


@question("conference-beside-call", "Do callbacks of a call to a phone name a conference too?", "in some samples")
def _find_conference_beside(evidence: Evidence) -> Seen:
    records = [each for each in evidence.calls.values() if each.name != "conference" and each.callbacks]
    if not records:
        return None
    events = sorted({each.event for record in records for each in record.callbacks if each.conference})
    return f"yes: {_join(events)}" if events else "no", True, None


@question("conference-notifications", "What names a conference's recording?", "conferenceId, possibly without callid")
def _find_conference_notifications(evidence: Evidence) -> Seen:
    names = {(each.call is not None, each.conference is not None) for each in evidence.call("conference").notifications}
    if not names:
        return None
    words = {(True, True): "both", (False, True): "conferenceId", (True, False): "callid", (False, False): "neither"}
    mend = "Tell the authors of the recorder: the file of a conference is found by its place in the bucket only."
    return _join(words[each] for each in sorted(names)), all(conference for _, conference in names), mend


@question("custom", "Does custom come back in the later callbacks of a call?", "yes")
def _find_custom(evidence: Evidence) -> Seen:
    with_custom = [each for each in evidence.calls.values() if any("custom" in ice.fields for ice in each.of("ice"))]
    later = [each for record in with_custom for each in record.callbacks if each.event != "ice"]
    if not later:
        return None
    by_event = {each.event for each in later}
    back = {each.event for each in later if "custom" in each.fields}
    lost = _join(sorted(by_event - back - {"notify"}))
    mend = "Conditions on custom work in the ICE only, which is where rules use it."
    return f"in {_join(sorted(back)) or 'none'}", not lost, mend


@question("notification-fields", "Do notifications name the application and the time?", "no")
def _find_notification_fields(evidence: Evidence) -> Seen:
    notifications = [each for each in evidence.callbacks if each.event == "notify"]
    if not notifications:
        return None
    extra = {name for each in notifications for name in each.fields & {"applicationKey", "timestamp", "custom"}}
    return _join(sorted(extra)) or "no", not extra, "Nothing: the signature names both."


# Forms


@question(
    "destination",
    "Which URL does recording_available have?",
    "the one that was asked for (SDKs), or one at www.sinch.com (API reference)",
    silent=True,
)
def _find_destination(evidence: Evidence) -> Seen:
    # The notification of a conference does not name the call, of which its file has the name.
    made = [record for record in evidence.calls.values() if record.name != calls.CONFERENCE.name]
    announced = [each for record in made for each in record.of(calls.AVAILABLE)]
    if not announced:
        return None
    forms = {_describe_destination(each) for each in announced}
    expected = all(each.destination and each.destination.host == "container" for each in announced)
    mend = "Subscribers take the place of a file from storage, bucket and key, or from the item (docs/events.md)."
    return "; ".join(sorted(forms)), expected, mend


@question("transcript-name", "How is a transcript's file named?", "-transcript.json in place of the file's extension")
def _find_transcript_name(evidence: Evidence) -> Seen:
    named = [each.destination for record in evidence.calls.values() for each in record.of(calls.TRANSCRIBED)]
    endings = {each.ending for each in named if each}
    mend = "Tell the authors of the recorder: the bucket's report of the transcript is not attributed to its call."
    return (_join(sorted(endings)), endings == {"-transcript.json"}, mend) if endings else None


@question("caller-form", "How is the caller written?", "a number, possibly without +, or private; none in in-app calls")
def _find_caller_form(evidence: Evidence) -> Seen:
    forms = {
        f"{each.name}: {ice.forms.get('cli', 'a username' if 'user' in ice.fields else 'absent')}"
        for each in evidence.calls.values()
        for ice in each.of("ice")
    }
    expected = {"number with +", "number without +", "private", "a username"}
    mend = "Write conditions on `from` for this form, such as *<+46*> for a name and a number (docs/profile.md)."
    return (_join(sorted(forms)), all(each.partition(": ")[2] in expected for each in forms), mend) if forms else None


_LOWER = ("event", "domain", "to.type", "menuResult.type", "menuResult.inputMethod", "type")


@question(
    "spelling",
    "Are words spelled as documented?",
    "event, domain, to.type, menuResult.type and type in lower case, originationType, result and reason in capitals",
)
def _find_spelling(evidence: Evidence) -> Seen:
    words = {(path, word) for each in evidence.callbacks for path, word in each.spelled.items()}
    if not words:
        return None
    odd = sorted(f"{path} {word}" for path, word in words if word != (word.lower() if path in _LOWER else word.upper()))
    return _join(odd) or "yes", not odd, "Nothing: words are compared without regard to case."


_COMMON = {"event", "callid", "callId", "timestamp", "version", "applicationKey"}
_OPTIONAL = {"conferenceId", "custom"}
_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "ice": (
        _COMMON | {"callResourceUrl", "userRate", "to", "domain", "originationType"},
        _OPTIONAL | {"cli", "rdnis", "callHeaders", "user", "duration"},
    ),
    "ace": (_COMMON, _OPTIONAL | {"amd"}),
    "pie": (_COMMON | {"menuResult"}, _OPTIONAL),
    "dice": (
        _COMMON | {"reason", "result", "debit", "userRate", "to", "from"},
        _OPTIONAL | {"duration", "callHeaders"},
    ),
    "notify": (
        {"event", "type", "version"},
        _COMMON | _OPTIONAL | {"destination", "amd", "errorCode", "errorMsg", "user"},
    ),
}
"""The fields of each event: those that every sample has, and the others that are documented or were seen."""


@question("fields", "Do callbacks have the documented fields, and no others?", "yes")
def _find_fields(evidence: Evidence) -> Seen:
    if not evidence.callbacks:
        return None
    odd = sorted({each for callback in evidence.callbacks for each in _list_odd_fields(callback)})
    mend = "Rules must not depend on an absent field. Tell the authors of the recorder of new ones."
    return _join(odd) or "yes", not odd, mend


# Transport


@question("clock", "How far is x-timestamp from the recorder's clock?", "not documented", silent=True)
def _find_clock(evidence: Evidence) -> Seen:
    offsets = [each.offset_ms / 1000 for each in evidence.callbacks]
    if not offsets:
        return None
    largest = max(map(abs, offsets))
    mend = f"Set SignatureWindowSeconds to {min(900, max(300, round(largest * 3)))}, or mend the clock of the sender."
    return f"{min(offsets):.1f} to {max(offsets):.1f} s", largest < 60, mend


@question("timestamp-form", "Which form has x-timestamp?", "a UTC time with Z, with or without a fraction", silent=True)
def _find_timestamp_form(evidence: Evidence) -> Seen:
    forms = sorted({each.forms["x-timestamp"] for each in evidence.callbacks if "x-timestamp" in each.forms})
    return (_join(forms), all(each.endswith("Z") for each in forms), "Nothing: UTC is assumed.") if forms else None


@question("content-type", "Which content type do callbacks have?", "application/json, with or without a charset")
def _find_content_type(evidence: Evidence) -> Seen:
    types = sorted({each.content_type for each in evidence.callbacks})
    expected = all(each.partition(";")[0] == "application/json" for each in types)
    return (_join(types), expected, "Nothing: the signature covers it, whatever it is.") if types else None


@question("user-agent", "Which program sends callbacks?", "not documented", silent=True)
def _find_user_agent(evidence: Evidence) -> Seen:
    names = sorted({each.user_agent or "none" for each in evidence.callbacks})
    return (_join(names), True, None) if names else None


@question("problems", "Did the recorder refuse a callback, or answer in spite of a problem?", "no")
def _find_problems(evidence: Evidence) -> Seen:
    if not evidence.problems:
        return ("no", True, None) if evidence.callbacks else None
    counts = Counter(f"{each.event} {each.outcome}: {each.problem}" for each in evidence.problems)
    texts = (f"{text} ({count}x)" for text, count in counts.most_common())
    return (
        "; ".join(texts),
        False,
        "See CallbackPath and the application's parameters in docs/runbook.md, or run doctor.",
    )


def _first_menu(evidence: Evidence) -> MenuShape | None:
    return next((each.menu for each in evidence.call("menu").of("pie") if each.menu), None)


def _read_answer(record: CallRecord, mend: str) -> Seen:
    return None if record.answer is None else ("yes" if record.answer else "no", record.answer, mend)


def _expected(record: CallRecord) -> Sequence[str]:
    call = calls.CALLS[record.name]
    asked = any(each.records for each in record.callbacks)
    return ("dice", *(call.expects if asked else ()))


def _order(record: CallRecord) -> tuple[str, ...]:
    kinds = (each.kind for each in record.callbacks if each.kind == "dice" or each.event == "notify")
    return tuple(dict.fromkeys(kinds))


def _code(record: CallRecord) -> str:
    return next((each.error_code for each in record.of("callingerror") if each.error_code), "no code")


def _last_action(record: CallRecord) -> str:
    actions = [each.action for each in record.callbacks if each.action]
    return actions[-1] if actions else "no answer"


def _describe_destination(notification: Observation) -> str:
    shape = notification.destination
    if shape is None:
        return "none"
    place = (
        f"{shape.scheme}, {'the container of the store' if shape.host == 'container' else f'a host of {shape.host}'}"
    )
    return f"{place}, {'names the call' if shape.names_id else 'does not name the call'}"


def _list_odd_fields(callback: Observation) -> Iterable[str]:
    if callback.event not in _FIELDS:
        yield f"{callback.event}: an unknown event"
        return
    always, sometimes = _FIELDS[callback.event]
    names = {name for name in callback.fields if "." not in name}
    spare = {"callid", "callId"} if names & {"callid", "callId"} else {"callId"}
    yield from (f"{callback.event} without {name}" for name in always - names - spare)
    yield from (f"{callback.event} with {name}" for name in names - always - sometimes)


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
