"""Routing: where a call goes, whether or not it is recorded."""

from __future__ import annotations

from call_recorder.answering.answer import CallAnswer, DegradedAnswer, Outcome
from call_recorder.answering.consent import MenuTicket
from call_recorder.answering.known_call import KnownCall
from call_recorder.answering.patterns import matches
from call_recorder.answering.profile import RecordingProfile
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.sinch import svaml
from call_recorder.sinch.callbacks import AceCallback, IceCallback, MenuResult, PieCallback, To
from call_recorder.sinch.svaml import Connect, ConnectConf, ConnectMxp, Continue, Hangup, Svaml, UpstreamSvaml

_UNDOCUMENTED_HANGUP = UpstreamSvaml('{"action":{"name":"hangup"},"observed":true}')


def find_action(to: To | None, profile: RecordingProfile) -> Connect | Hangup | None:
    """Return the action for a call: by the profile's route for a dialled number (``did``), else by ``to`` itself.

    ``None``: neither says where the call goes.
    """
    if to and to.type == "did" and to.endpoint:
        return next((each.action for each in profile.routes if matches(each.to, to.endpoint)), None)
    return _connect(to)


def needs_known_call(pie: PieCallback) -> bool:
    """Tell whether a menu ended without the ticket that each of its keys returns."""
    return MenuTicket.of(pie.menu_result or MenuResult()) is None


def find_destination_after_menu(pie: PieCallback, known: KnownCall | None) -> To | None:
    """Return where the call was going before its menu, by the ticket or else by what is known of the call."""
    ticket = MenuTicket.of(pie.menu_result or MenuResult())
    if ticket:
        return To(type=ticket.to_type, endpoint=ticket.endpoint)
    start = known.start if known else None
    if start is None or start.possibly_clipped & {"to", "toType"}:
        return None
    return To(type=start.to_type, endpoint=start.to)


def connect_after_menu(action: Connect | Hangup | None, call_id: str | None) -> Connect | Hangup:
    """Return the action in the answer to a PIE.

    Sinch does not connect a PIE to an app user, so the call goes to a bridge conference, which the app user joins.
    """
    if isinstance(action, ConnectMxp):
        return ConnectConf(conference_id=bridge_conference_id(call_id or ""))
    return action or Hangup()


def continue_call() -> CallAnswer:
    """Return the answer that lets a call continue as it is."""
    return CallAnswer(Svaml(action=Continue()), Outcome.CONTINUED)


def hang_up(action: Hangup | None, *, observed: bool = False) -> CallAnswer:
    """Return the answer to a call whose route hangs up, or which has no route (``None``).

    ``observed``: the answer has a field that no document names. The call ends whether Sinch accepts it or not.
    """
    if action and observed:
        return CallAnswer(_UNDOCUMENTED_HANGUP, Outcome.HUNG_UP)
    if action:
        return CallAnswer(Svaml(action=action), Outcome.HUNG_UP)
    return CallAnswer(Svaml(action=Hangup()), Outcome.NO_ROUTE, metrics=("CallsWithoutRoute",))


def hang_up_lost_call(pie: PieCallback) -> CallAnswer:
    """Return the answer to a call whose destination is unknown after its menu. It is not lost if the caller hung up."""
    if pie.menu_result is not None and pie.menu_result.type == "hangup":
        return CallAnswer(Svaml(action=Hangup()), Outcome.HUNG_UP)
    return CallAnswer(Svaml(action=Hangup()), Outcome.LOST_AFTER_MENU, metrics=("CallsLostAfterMenu",))


def answer_degraded(
    callback: IceCallback | AceCallback | PieCallback, known: KnownCall | None, degraded: DegradedAnswer
) -> CallAnswer:
    """Answer a callback without its application's profile: connect the call without recording, or hang up."""
    if isinstance(callback, AceCallback):
        return continue_call()
    if isinstance(callback, IceCallback):
        action = _connect(callback.to) or Hangup()
    else:
        to = find_destination_after_menu(callback, known)
        if to is None:
            return hang_up_lost_call(callback)
        action = connect_after_menu(_connect(to), callback.call_id)
    return CallAnswer(
        Svaml(action=action if degraded == "connect" else Hangup()), Outcome.DEGRADED, metrics=("DegradedAnswers",)
    )


def _connect(to: To | None) -> Connect | None:
    return None if to is None or to.endpoint is None else svaml.connect_to(to.type, to.endpoint)
