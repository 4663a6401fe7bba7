"""Runs one function in a process of its own, as AWS Lambda's runtime does, and times it from inside.

::

    python -S runner.py MODULE.FUNCTION REPORT

Every line on the standard input names a file with one event per line. The first file causes the cold start: the
import of the function and its first invocation. For each file one line of JSON goes to the file descriptor REPORT.
Before the clock starts, only modules that Lambda's runtime has imported by then are imported here.
"""

import decimal  # noqa: F401 - the runtime imports it, see above
import importlib
import json
import logging  # noqa: F401
import os
import sys
import traceback  # noqa: F401
from time import perf_counter, process_time


class Context:
    """Lambda's context of an invocation."""

    function_name = "measured"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:measured"
    aws_request_id = "8f507cfc-example-4697-b07a-ac58fc914c95"
    log_group_name = "/aws/lambda/measured"
    log_stream_name = "2026/11/23/[$LATEST]0"

    def get_remaining_time_in_millis(self) -> int:
        """Return enough time for any invocation."""
        return 3000


def succeeded(answer: dict[str, object]) -> bool:
    """Tell whether either function's answer is a success."""
    return answer.get("statusCode") == 200 or answer.get("batchItemFailures") == []


def peak_bytes() -> int:
    """Return the peak memory of this process. Unlike ``VmHWM``, ``ru_maxrss`` includes the parent's memory."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is not imported here
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main() -> None:
    """Import the function and run it for every event."""
    name, _, function = sys.argv[1].rpartition(".")
    report = os.fdopen(int(sys.argv[2]), "w")
    handler = None
    for path in sys.stdin:
        took, used, failed, answer, imported = [], [], 0, None, None
        with open(path.rstrip("\n")) as events:  # noqa: PTH123
            for line in events:
                event = json.loads(line)
                processor = process_time()
                started = perf_counter()
                if handler is None:
                    handler = getattr(importlib.import_module(name), function)
                    imported = 1000 * (perf_counter() - started)
                answer = handler(event, Context())
                took.append(1000 * (perf_counter() - started))
                used.append(1000 * (process_time() - processor))
                failed += not succeeded(answer)
        results = {"took": took, "used": used, "imported": imported, "failed": failed, "answer": answer}
        report.write(json.dumps(results | {"peak": peak_bytes()}) + "\n")
        report.flush()


if __name__ == "__main__":
    main()
