from functools import cache
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import settings

from call_recorder.adapters import boto_clients

# How long one example takes says something of the machine and nothing of the code.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

_load_once = cache(JSONFileLoader().load_file)


def _load_file(_self: JSONFileLoader, path: str) -> Any:
    return _load_once(path)


# Every test has a session of its own, which would read and parse the models of its services again.
JSONFileLoader.load_file = _load_file  # type: ignore[method-assign, assignment]


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests apart from whatever this shell is set to."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    boto_clients.get_session.cache_clear()
