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


def config(*words, dirs=()):
    composed = compose(["energy=rbm", "dataset=chain_of_bits", *words], [OPTIONS, *dirs])
    assert not composed.problems
    return composed.config


def test_an_energy_has_values_for_an_objective():
    """They are those of conf/energy/rbm/pcd.yaml. Other objectives, and other energies, keep theirs."""
    found = config("objective=pcd")
    assert (found["objective"]["n_steps"], found["objective"]["restart"]) == (1, 0.0)
    assert found["optimizer"]["_target_"].endswith("SGD")
    assert found["optimizer"]["momentum"] == 0.0
    assert found["trainer"]["max_grad_norm"] is None
    cd = config("objective=cd")
    assert cd["objective"]["n_steps"] == 10
    assert cd["optimizer"]["_target_"].endswith("Adam")
    assert compose(["objective=pcd"]).config["objective"]["n_steps"] == 15


def test_the_line_and_a_preset_have_priority_over_these_values(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\n# a\n# b\ndefaults:\n  - override /optimizer: adamw\ntrainer:\n  ema_decay: 0.5\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    found = config("objective=pcd", "objective.n_steps=3", "optimizer.lr=0.25", "trainer.max_grad_norm=2.0")
    assert (found["objective"]["n_steps"], found["optimizer"]["lr"], found["trainer"]["max_grad_norm"]) == (3, 0.25, 2.0)
    adam = config("objective=pcd", "optimizer=adam")["optimizer"]
    assert (adam["_target_"].rpartition(".")[2], adam["lr"]) == ("Adam", 0.006)
    preset = config("objective=pcd", "experiment=mine", dirs=[tmp_path])
    assert (preset["trainer"]["ema_decay"], preset["trainer"]["evaluate_every"]) == (0.5, 2000)
    assert preset["optimizer"]["weight_decay"] == 0.01
    assert config("objective=pcd", "experiment=smoke")["trainer"]["n_steps"] == 200
