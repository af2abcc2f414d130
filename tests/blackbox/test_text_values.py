"""Words that look like numbers where text is meant, and variables of the environment that are mistyped."""

import json
import shutil

import pytest
import yaml
from command import LINE, refused


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("name=2024", "name", "2024"),
        ("name=007", "name", "007"),
        ("name=true", "name", "true"),
        ("group=1e5", "group", "1e5"),
        ("group=170e085322", "group", "170e085322"),
        ("tags=[2024,1e5,a]", "tags", ["2024", "1e5", "a"]),
        ("name=null", "name", None),
        ("trainer.n_steps=3", "trainer", 3),
    ],
)
def test_text_is_what_was_typed(ebm, tmp_path, word, key, value):
    ended = ebm("train", *LINE, "metric=[]", word)
    assert ended.code == 0, ended
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    found = yaml.safe_load((run / "config.yaml").read_text())[key]
    assert (found["n_steps"] if key == "trainer" else found) == value
    if key == "group":
        listed = json.loads(ebm("runs", "--json", f"--group={value}").out)
        assert [member["group"] for member in listed] == [value]


def test_the_group_of_a_sweep_is_what_was_typed(ebm):
    assert ebm("train", "-m", *LINE, "metric=[]", "seed=1,2", "group=1e5").code == 0
    assert len(json.loads(ebm("runs", "--json", "--group", "1e5").out)) == 2


def test_texts_in_a_sweep_are_what_was_typed(ebm, tmp_path):
    """Hydra writes 1e5 as 100000.0 in the lines of the jobs."""
    ended = ebm("train", "-m", *LINE, "metric=[]", "seed=1,2", "name=1e5", "tags=[1e5,007,a]")
    assert ended.code == 0, ended
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (tmp_path / "outputs" / "runs").iterdir()]
    assert [(config["name"], config["tags"]) for config in configs] == [("1e5", ["1e5", "007", "a"])] * 2


@pytest.mark.parametrize("identity", ["170e085322", "1234567890"])
def test_a_run_with_an_id_that_looks_like_a_number_is_composed(ebm, run, identity):
    shutil.copytree(run, run.with_name(f"moons-dsm-s0-{identity}"))
    words = ("energy=compose", "n_samples=20", "n_chains=10", "n_steps=4", "figure=[]")
    refused(ebm("sample", *words, "energy.runs=[1702085322]"), "there is no run '1702085322'")
    ended = ebm("sample", *words, f"energy.runs=[{identity}]")
    assert "must be text" not in ended.err
    assert ended.code in (0, 2)


@pytest.mark.parametrize("text", [" ebm_mine , other,", "ebm_mine,other", "ebm_mine"])
def test_blanks_around_the_allowed_packages(ebm, text):
    assert ebm("train", *LINE, "metric=[]", EBM_ALLOW=text).code == 0
    refused(ebm("train", "dataset._target_=ebm_mine.data.Mine", EBM_ALLOW=text), "ebm_mine.data.Mine cannot be imported")


@pytest.mark.parametrize("text", ["ebm_mine other", "./mine", "ebm-mine"])
def test_names_that_are_no_packages_are_refused(ebm, text):
    refused(ebm("train", *LINE, EBM_ALLOW=text), f"EBM_ALLOW: {text!r} is not the name of a package")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_BASE_URL", "nonsense"),
        ("WANDB_BASE_URL", "ftp://example.org"),
        ("WANDB_BASE_URL", "http://localhost:port"),
        ("WANDB_INIT_TIMEOUT", "soon"),
        ("WANDB_CONSOLE", "no"),
        ("WANDB__SERVICE_WAIT", "long"),
    ],
)
def test_a_variable_that_wandb_cannot_read_is_named(ebm, tmp_path, name, value):
    refused(ebm("train", *LINE, "logger=wandb", **{name: value}), f"logger=wandb: {name}: ", f"unset {name}")
    assert not (tmp_path / "outputs").exists()
