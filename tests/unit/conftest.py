from functools import cache
from typing import Any

import pytest
from botocore import loaders, session
from botocore.loaders import JSONFileLoader
from hypothesis import settings

from call_recorder.adapters import boto_clients

# How long one example takes says something of the machine and nothing of the code.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

_make_loader = cache(loaders.create_loader)
_load_once = cache(JSONFileLoader().load_file)


def _load_file(_self: JSONFileLoader, path: str) -> Any:
    return _load_once(path)


def _share_loader(search_path_string: str | None = None) -> loaders.Loader:
    loader = _make_loader(search_path_string)
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # Each session of boto3 adds the same one.
    return loader


# Every test has a session of its own, which would look for, read and parse the models of its services again.
JSONFileLoader.load_file = _load_file  # type: ignore[method-assign, assignment]
session.create_loader = _share_loader


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests apart from whatever this shell is set to."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    boto_clients.get_session.cache_clear()
