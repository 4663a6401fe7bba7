"""Imports and composes one function in this process, and prints the imported modules and the clients of boto3.

Run as ``python composition.py callback|notify|watchdog`` by the tests, in a process of its own.
"""

import gc
import importlib
import json
import os
import sys
from typing import Any


def main(name: str) -> None:
    """Import the handler, compose its function and print what each step made."""
    handler = importlib.import_module(f"call_recorder.functions.{name}")
    at_import = sorted(clients())
    own = [each for each in vars(handler).values() if getattr(each, "__module__", "") == handler.__name__]
    ready = sum(each.cache_info().currsize for each in own if hasattr(each, "cache_info"))
    function = handler.compose(os.environ)
    assert function
    found = {"modules": sorted(sys.modules), "atImport": at_import, "ready": ready, "composed": sorted(clients())}
    print(json.dumps(found))  # noqa: T201


def clients() -> list[str]:
    """Return the services for which boto3 has clients, if it was imported."""
    gc.unfreeze()
    base: Any = getattr(sys.modules.get("botocore.client"), "BaseClient", None)
    return [each.meta.service_model.service_name for each in gc.get_objects() if base and isinstance(each, base)]


if __name__ == "__main__":
    main(sys.argv[1])
