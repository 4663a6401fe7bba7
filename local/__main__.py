"""Starts the commands of `make run` and `make call`; handles Ctrl-C before it imports anything else."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_INTERRUPTED = 130


def _exit(_number: int, _frame: FrameType | None) -> None:
    # Nothing is up yet that needs a clean stop. An exception raised during an import could look like an import error.
    os.write(sys.stderr.fileno(), b"\nInterrupted.\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    from local.commands import main

    sys.exit(main())
