"""Runs one function's handler in this process and says what that took: modules imported, clients created.

Run as ``python composition.py callback|notify|watchdog`` by the tests, in a process of its own.
"""

import importlib
import json
import sys
from typing import Any

import botocore.session

created: list[str] = []
_create_client = botocore.session.Session.create_client


def _noted(self: Any, service_name: str, *args: Any, **kwargs: Any) -> Any:
    created.append(service_name)
    return _create_client(self, service_name, *args, **kwargs)


def main(name: str) -> None:
    """Import the handler, compose its function and print both outcomes."""
    botocore.session.Session.create_client = _noted  # type: ignore[method-assign]
    handler = importlib.import_module(f"call_recorder.handlers.{name}")
    at_import = list(created)
    import os

    handler.compose(os.environ)
    print(json.dumps({"modules": sorted(sys.modules), "atImport": at_import, "composed": sorted(created)}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
