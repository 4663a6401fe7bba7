"""Runs one function's handler in this process and says what that took: modules imported, clients created.

Run as ``python composition.py callback|notify|watchdog`` by the tests, in a process of its own.
"""

import gc
import importlib
import json
import os
import sys
from typing import Any


def main(name: str) -> None:
    """Import the handler, compose its function and print both outcomes."""
    handler = importlib.import_module(f"call_recorder.functions.{name}")
    at_import = sorted(clients())
    function = handler.compose(os.environ)
    assert function
    print(json.dumps({"modules": sorted(sys.modules), "atImport": at_import, "composed": sorted(clients())}))  # noqa: T201


def clients() -> list[str]:
    """Return the names of the services that boto3 has clients for, if it was imported at all."""
    gc.unfreeze()
    base: Any = getattr(sys.modules.get("botocore.client"), "BaseClient", None)
    return [each.meta.service_model.service_name for each in gc.get_objects() if base and isinstance(each, base)]


if __name__ == "__main__":
    main(sys.argv[1])
