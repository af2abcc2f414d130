"""A run from its line to its numbers, as a user sees it."""

import json

import pytest
from command import LINE, refused, tree


def test_a_run_that_is_typed_again_shows_its_result_and_trains_nothing(ebm, run):
    before = tree(run)
    ended = ebm("train", *LINE)
    assert ended.code == 0, ended
    assert "its stored result is shown" in ended.err
    assert f"{json.loads((run / 'summary.json').read_text())['kl']:.4g}" in ended.out
    assert tree(run) == before


@pytest.mark.parametrize("words", ["objective=dsn", "energy.hiden=[8]", "trainer.n_steps=many"])
def test_a_line_with_a_mistake_writes_nothing(ebm, tmp_path, words):
    refused(ebm("train", *LINE, words), words.partition("=")[0])
    assert not (tmp_path / "outputs").exists()
