"""The emulator starts where it is told to, or says why it does not in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.emulator import LocalError, find_free_port, is_up, run_emulator

if TYPE_CHECKING:
    from pathlib import Path

    from local.stack import LocalStack


def test_a_port_in_use_is_refused_in_a_sentence_that_names_another(stack: LocalStack, tmp_path: Path) -> None:
    port = int(stack.aws_endpoint.rpartition(":")[2])
    sentence = rf"^Port {port} is in use: .* AWS_PORT, for example `make run AWS_PORT=\d+`\.$"

    with pytest.raises(LocalError, match=sentence), run_emulator(port, tmp_path):
        pass


def test_an_emulator_ends_with_its_block_and_leaves_nothing_but_its_log(tmp_path: Path) -> None:
    with run_emulator(find_free_port(), tmp_path) as endpoint:
        assert is_up(endpoint)

    assert not is_up(endpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["emulator.log"]
