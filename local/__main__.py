"""``python -m local``: the commands of `make run` and `make call`, ready for Ctrl-C before anything else is loaded."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_INTERRUPTED = 130


def _end(_number: int, _frame: FrameType | None) -> None:
    # Nothing is up yet that would need an orderly end, and an exception in the middle of an import may be taken for
    # one of the module.
    os.write(sys.stderr.fileno(), b"\nInterrupted.\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _end)
    from local.commands import main

    sys.exit(main())
