"""A table of results shows what was asked for."""

import json

from command import LINE


def names(ended):
    """The names in the first column, below the heads of the table."""
    return [line.split()[0] for line in ended.out.splitlines()[1:] if line.strip()]


def test_numbers_that_were_not_asked_for_have_no_rows(ebm, tmp_path):
    ended = ebm("train", *LINE[:-3], "metric=[fisher]", "trainer.n_steps=2")
    assert ended.code == 0, ended
    shown = names(ended)
    assert "fisher" in shown
    assert not {"kl", "nll", "log_z", "no"} & {*shown}
    assert "no kl" not in ebm("show", "last").out
    ended = ebm("evaluate", "last", "metric=sliced_wasserstein")
    assert names(ended) == ["sliced_wasserstein", "sliced_wasserstein_floor"]
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["fisher"] is not None  # the other numbers are stored, but not shown again
