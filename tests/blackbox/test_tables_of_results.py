"""A table of results shows what was asked for."""

import json

import pytest
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


def test_an_exact_kl_stands_beside_bridge_sampling_without_an_error_and_without_a_reason(ebm):
    words = ("dataset=bars_and_stripes", "dataset.size=2", "trainer.n_steps=3", "figure=[]", "device=cpu", "draws.n_samples=100")
    code, out, err = ebm("train", *words, "draws.n_steps=10", "metric=[enumeration,bridge]", "metric.bridge.n_draws=1000")
    assert code == 0, err
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) in (2, 3)}
    assert float(rows["kl"]) == pytest.approx(float(rows["nll"]) - float(rows["entropy"]), abs=2e-3)
    assert "kl_error" not in out
