"""Allocations that fail end in an error that says what to reduce."""

import pytest
from command import LINE


@pytest.mark.parametrize("word", ["trainer.batch_size=1000000000000", "energy.hidden=[100000000,100000000]"])
def test_a_line_that_needs_too_much_memory(ebm, tmp_path, word):
    ended = ebm("train", *LINE, word)
    assert (ended.code, ended.out) == (1, ""), ended
    assert ended.err.startswith("error: out of memory: "), ended.err
    assert "could not be allocated" in ended.err
    assert "hint: reduce the number of points at a time (trainer.batch_size, " in ended.err
    assert "Traceback" not in ended.err
    assert not list((tmp_path / "outputs").glob("runs/*/checkpoints"))
