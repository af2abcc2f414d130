"""Numbers of a run are joined only with the parameters that they were measured on."""

import csv
import json
import shutil

import pytest
import yaml
from command import LINE, refused

from ebm_cli.config import roles
from ebm_cli.runs.run import SCHEMA


def damage(run):
    path = run / "checkpoints" / "00000004" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def scores(ended):
    assert ended.code == 0, ended
    return list(csv.DictReader(ended.out.splitlines()))


@pytest.fixture
def points(tmp_path):
    (tmp_path / "points.csv").write_text("x0,x1\n0,0\n1,0.5\n")
    return f"data={tmp_path / 'points.csv'}"


def test_log_z_of_another_checkpoint_is_not_used(ebm, run, points):
    """After a new measurement, log p is that of the older checkpoint."""
    whole = scores(ebm("score", run, points))
    damage(run)
    ended = ebm("score", run, points)
    assert "log_prob" not in scores(ended)[0]
    assert scores(ended)[0]["energy"] != whole[0]["energy"]
    assert "checkpoint 00000004 is damaged" in ended.err
    assert "checkpoint 00000002 is used" in ended.err
    assert "were measured on other parameters" in ended.err
    again = ebm("evaluate", run)
    assert again.code == 0, again
    assert again.err.count("checkpoint 00000004 is damaged") == 1
    log_z = json.loads((run / "summary.json").read_text())["log_z"]
    row = scores(ebm("score", run, points))[0]
    assert float(row["log_prob"]) == pytest.approx(-float(row["energy"]) - log_z, abs=1e-9)


@pytest.mark.parametrize(
    "words", [("sample", "RUN", "n_samples=8", "n_chains=8", "n_steps=2"), ("plot", "RUN", "figure=[density,training]")]
)
def test_an_older_checkpoint_is_named_by_every_command_that_uses_it(ebm, run, words):
    damage(run)
    ended = ebm(*(run if word == "RUN" else word for word in words))
    assert ended.code == 0, ended
    assert "checkpoint 00000002 is used" in ended.err


def test_a_mixture_does_not_use_log_z_of_another_checkpoint(ebm, run):
    damage(run)
    mixture = ("energy=compose", f"energy.runs=[{run.name.rpartition('-')[2]}]", "energy.how=mixture")
    ended = ebm("sample", *mixture, "n_samples=8")
    assert (ended.code, ended.out) == (2, "")
    assert "error: energy.how=mixture needs log Z" in ended.err


def test_an_exchanged_checkpoint_is_not_joined_with_the_log_z_of_the_run(ebm, run, points):
    """The other run has the same shapes."""
    assert ebm("train", *LINE, "seed=1").code == 0
    other = next(path for path in run.parent.iterdir() if path != run)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    ended = ebm("score", run, points)
    assert "log_prob" not in scores(ended)[0]
    assert "were measured on other parameters" in ended.err


def test_every_model_of_a_stack_has_its_own_log_z(ebm, tmp_path, points):
    assert ebm("train", *LINE, "seeds=2").code == 0
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    log_z = json.loads((run / "summary.json").read_text())["per_seed"]["log_z"]
    for model in (0, 1):
        row = scores(ebm("score", run, points, f"model={model}"))[0]
        assert float(row["log_prob"]) == pytest.approx(-float(row["energy"]) - log_z[model], abs=1e-9)
    facts = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(facts | {"parameters": facts["parameters"][::-1]}))
    assert "log_prob" not in scores(ebm("score", run, points, "model=1"))[0]


@pytest.mark.parametrize("hidden", [[4, 8], [8, 8, 8], [8]])
def test_a_config_whose_sizes_differ_from_the_checkpoint_is_refused(ebm, run, points, hidden):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["energy"]["hidden"] = hidden
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    data, facts = (json.loads((run / name).read_text()) for name in ("dataset.json", "environment.json"))
    (run / "environment.json").write_text(json.dumps(facts | {"id": roles.identity(config, data["sha256"], schema=SCHEMA)}))
    for words in (("score", run, points), ("sample", run, "n_samples=8"), ("evaluate", run), ("plot", run, "figure=density")):
        refused(ebm(*words), "its checkpoint is not one of its config", "network.")


def test_a_pickle_with_a_matching_sum_is_a_damaged_checkpoint(ebm, run, points):
    from hashlib import sha256

    path = run / "checkpoints" / "00000004"
    (path / "state.safetensors").write_bytes(b"no tensors")
    (path / "manifest.json").write_text(json.dumps({"step": 4, "sha256": {"state.safetensors": sha256(b"no tensors").hexdigest()}}))
    ended = ebm("score", run, points)
    assert ended.code == 0, ended
    assert "state.safetensors is not in the safetensors format" in ended.err
