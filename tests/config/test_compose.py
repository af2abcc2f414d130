"""Composition of configs: which choice takes precedence, which overrides differ from the defaults, and the jobs of a sweep."""

from pathlib import Path

import pytest
import yaml

from ebm_cli.config import compose, option_files
from ebm_cli.errors import InputError


def test_a_chosen_sampler_replaces_the_default_of_the_objective():
    assert "MALA" in compose.compose(["objective=pcd"]).config["objective"]["sampler"]["_target_"]
    composed = compose.compose(["objective=pcd", "sampler=langevin", "sampler.step_size=0.25"])
    node = {"_target_": "ebm_cli.samplers.langevin.Langevin", "step_size": 0.25, "max_score_norm": None}
    assert composed.config["objective"]["sampler"] == node
    assert compose.compose(["sampler=langevin", "objective=pcd"]).choices["sampler"] == "langevin"


def test_a_chosen_regularizer_replaces_the_default_of_the_objective():
    assert list(compose.compose(["objective=pcd"]).config["regularizer"]) == ["energy_l2"]
    assert "regularizer" not in compose.compose(["objective=pcd", "regularizer=[]"]).config
    assert "regularizer" not in compose.compose(["objective=ssm"]).config


def test_several_metrics_can_be_chosen():
    assert list(compose.compose(["metric=[sliced_wasserstein,quadrature]"]).config["metric"]) == ["sliced_wasserstein", "quadrature"]
    assert list(compose.compose(["metric=quadrature"]).config["metric"]) == ["quadrature"]


def test_an_experiment_overrides_defaults_but_not_the_command_line():
    composed = compose.compose(["trainer.n_steps=7", "experiment=smoke"])
    assert composed.config["trainer"]["n_steps"] == 7
    assert composed.config["trainer"]["batch_size"] == 128


def test_differs_contains_only_overrides_that_change_a_default():
    words = ["objective=ssm", "dataset=moons", "energy=score_mlp", "seed=0", "optimizer.lr=0.5", "dataset.noise=0.1"]
    assert compose.compose(words).differs == ["energy=score_mlp", "optimizer.lr=0.5"]


def test_every_swept_value_occurs_in_a_job():
    lines = list(compose.one_at_a_time(["objective=ssm,nce", "seed=range(3)", "trainer.n_steps=5"]))
    assert [" ".join(line) for line in lines] == [
        "objective=ssm seed=0 trainer.n_steps=5",
        "objective=nce seed=0 trainer.n_steps=5",
        "objective=ssm seed=1 trainer.n_steps=5",
        "objective=ssm seed=2 trainer.n_steps=5",
    ]


def test_only_the_first_values_of_a_long_range_are_checked():
    assert len(list(compose.one_at_a_time(["seed=range(100000)"]))) == compose.MAX_CHECKED


def test_options_in_a_folder_of_the_user():
    Path("mine/dataset").mkdir(parents=True)
    Path("mine/dataset/wide.yaml").write_text(
        "# Wide moons\n# mine\n_target_: ebm_cli.datasets.moons.Moons\nnoise: 0.3\nscale: 2.0\nn_train: null\n"
    )
    assert option_files.groups([Path("mine")])["dataset"]["wide"].description == "Wide moons"
    assert compose.compose(["dataset=wide"], [Path("mine")]).config["dataset"]["noise"] == 0.3
    assert compose.compose(["dataset=wide"]).problems[0].message == "dataset: there is no option 'wide'"


def test_overrides_of_a_stored_config():
    stored = {"n_samples": 10, "sampler": {"_target_": "x.Y", "step_size": 0.1}}
    assert compose.amend(stored, ["sampler.step_size=0.5"], ("sampler",))["sampler"]["step_size"] == 0.5
    assert "mala" in compose.amend(stored, ["sampler=mala", "n_samples=20"], ("sampler",))["sampler"]["_target_"]
    assert stored["n_samples"] == 10
    with pytest.raises(InputError) as error:
        compose.amend(stored, ["n_sample=3", "sampler=mal", "sampler.size=2"], ("sampler",))
    assert [problem.hint for problem in error.value.problems] == [
        "did you mean sampler=mala?",
        "did you mean n_samples?",
        "did you mean sampler.step_size?",
    ]


def test_the_hint_for_an_interpolated_key_names_the_key_that_sets_it():
    (problem,) = compose.compose(["objective=pcd", "objective.sampler.step_size=0.3"]).problems
    assert problem.hint == "it is set by sampler.step_size"


def test_cfg_job_prints_the_config():
    composed = compose.compose(["seed=4"])
    assert yaml.safe_load(compose.to_yaml(composed)) == composed.config
    with pytest.raises(InputError, match="no parameter 'lrr'"):
        compose.to_yaml(compose.compose(["seed=4", "optimizer.lrr=1"]))
