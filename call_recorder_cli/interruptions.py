"""Signals that end the process, for commands that must tidy up first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Interrupt the block, as Ctrl-C does, when the terminal or the session ends, so that it can tidy up."""
    with _handling(_ENDINGS, _interrupt):
        yield


@contextmanager
def uninterruptible() -> Iterator[None]:
    """Ignore interruptions during the block, which takes a second."""
    with _handling((signal.SIGINT, *_ENDINGS), signal.SIG_IGN):
        yield


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread gets signals, and only it may choose their handlers.
        return
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, handled in before.items():
            signal.signal(each, handled)
