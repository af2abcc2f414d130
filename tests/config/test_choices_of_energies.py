"""`sampler: auto`: the sampler suits the energy and the objective, and a word on the line or a preset has priority."""

import pytest
from components import ALLOWED, OPTIONS

from ebm_cli.config.compose import compose


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("EBM_ALLOW", ALLOWED)


def chosen(*words):
    composed = compose(words, [OPTIONS])
    assert not composed.problems
    return composed.choices["sampler"], [*composed.config.get("regularizer", {})]


@pytest.mark.parametrize("objective", ["cd", "pcd", "mle", "short_run", "nce"])
@pytest.mark.parametrize("auto", [(), ("sampler=auto",)])
def test_an_rbm_is_sampled_by_block_gibbs_without_a_word(objective, auto):
    """Also where the objective chooses another sampler and penalties for real events."""
    words = ("energy=rbm", "dataset=chain_of_bits", f"objective={objective}", *auto)
    assert chosen(*words) == ("block_gibbs", [])
    config = compose(words, [OPTIONS]).config
    assert config["sampler"] == {"_target_": "ebm_cli.samplers.block_gibbs.BlockGibbs"}
    assert config["objective"].get("sampler", config["sampler"]) == config["sampler"]


def test_the_line_and_a_preset_have_priority(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\n# a\n# b\ndefaults:\n  - override /sampler: gibbs\n")
    assert chosen("energy=rbm", "objective=pcd", "sampler=gibbs") == ("gibbs", [])
    assert chosen("energy=rbm", "objective=pcd", "regularizer=[weight_decay]") == ("block_gibbs", ["weight_decay"])
    assert compose(["energy=rbm", "objective=pcd", "experiment=mine"], [OPTIONS, tmp_path]).choices["sampler"] == "gibbs"


@pytest.mark.parametrize("auto", [(), ("sampler=auto",)])
def test_other_choices_stay_as_they_are(auto):
    assert chosen("objective=pcd", *auto) == ("mala", ["energy_l2"])
    assert chosen("objective=cd", *auto) == ("langevin", ["energy_l2"])
    assert chosen("objective=dsm_multi", "energy=noise_score_mlp", *auto) == ("annealed", [])
    assert chosen("energy=score_mlp", *auto) == ("langevin", [])
