import pytest

from tests.template.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    """What is deployed when no parameter is given."""
    return Stack()
