"""The runs in the outputs folder: their order, groups and checkpoints, and the runs of other versions."""

import json
import shutil

import pytest
from lines import last_of_each_key

from ebm_cli import __main__
from ebm_cli.config import compose
from ebm_cli.errors import InputError
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs import catalog
from ebm_cli.runs.run import SCHEMA, Run, outputs

LINE = (
    "experiment=smoke",
    "trainer.n_steps=4",
    "trainer.checkpoint_every=2",
    "energy.width=8",
    "draws.n_samples=20",
    "draws.n_steps=4",
    "figure=[]",
)
MADE_BY = {"packages": {"ebm-cli": "0.0.9"}, "git": {"commit": "0123456789abcdef", "dirty": False}}


def made(name, created, **facts):
    """A run folder with the files that the catalog reads."""
    run = Run(outputs() / "runs" / name)
    run.path.mkdir(parents=True)
    needed = {"choices": {}, "device": "cpu", "reproduce": "ebm train", "differs": []}
    run.write("environment.json", {"created": created, "schema": SCHEMA} | needed | facts)
    (run.path / "config.yaml").write_text("seed: 0\n")
    return run


def sweep(name, group, paths):
    folder = outputs() / "sweeps" / name
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"id": name, "group": group, "runs": [{"path": path} for path in paths]}))
    return folder / "sweep.json"


def test_runs_are_sorted_by_their_time():
    """Damaged runs, whose time is unknown, come first. A folder without environment.json is not a run."""
    late, early, damaged = made("moons-ssm-s0-a", 2.0), made("moons-ssm-s0-b", 1.0), made("moons-ssm-s0-c", 3.0)
    (damaged.path / "environment.json").write_text("{")
    (outputs() / "runs" / "moons-ssm-s0-d").mkdir()
    assert catalog.every() == [damaged, early, late]
    assert catalog.find("last") == late


def test_a_group_has_its_own_runs_and_those_that_its_sweep_reused():
    first, second = made("moons-ssm-s0-a", 1.0), made("moons-ssm-s0-b", 2.0, group="mine")
    made("moons-ssm-s0-c", 3.0)
    sweep("12345678", "mine", [f"elsewhere/{first.path.name}", "", "gone/moons-ssm-s0-z"])
    assert catalog.groups() == {"mine": [first, second], "12345678": [first]}


@pytest.mark.parametrize("text", ["{", "", '{"id": "1"}'])
def test_a_damaged_sweep_file_is_ignored(text):
    run = made("moons-ssm-s0-a", 1.0)
    sweep("aaaa", "mine", [run.path.name])
    sweep("bbbb", "mine", []).write_text(text)
    assert catalog.groups() == {"aaaa": [run], "mine": [run]}


def test_a_run_and_one_of_its_steps_are_named():
    run = made("moons-ssm-s0-a", 1.0)
    with pytest.raises(InputError, match="has no checkpoint yet"):
        catalog.at_step("a")
    for step in ("00000010", "00000020", ".partial-00000030"):
        (run.checkpoints / step).mkdir(parents=True)
    assert catalog.at_step("a") == (run, 20)
    assert catalog.at_step("last@10") == (run, 10)
    for wanted in ("15", "x", "-10"):
        with pytest.raises(InputError, match=f"has no checkpoint of step {wanted}, only of 10, 20"):
            catalog.at_step(f"a@{wanted}")


def test_a_run_of_another_outputs_folder_is_not_continued(tmp_path, monkeypatch):
    """The new run would be in the current outputs folder, and would not find its parent."""
    run = made("moons-ssm-s0-a", 1.0)
    (run.checkpoints / "00000010").mkdir(parents=True)
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "others"))
    with pytest.raises(InputError, match="is not among the runs of") as error:
        catalog.at_step(str(run.path))
    assert error.value.problems[0].hint == f"set EBM_OUTPUTS={tmp_path / 'outputs'} to train in its outputs folder"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An outputs folder with two runs of one group."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBM_OUTPUTS", str(folder))
        for seed in (0, 1):
            assert __main__.main(last_of_each_key(["train", *LINE, f"seed={seed}", "metric=[quadrature]", "group=mine"])) == 0
    return folder


@pytest.fixture(params=["no schema", "an older one", "a newer one"])
def other(request, trained):
    """Copies of these runs, with another schema in the environment.json of the first. Returns the first."""
    shutil.copytree(trained, outputs())
    run = catalog.every()[0]
    facts = run.read("environment.json") | MADE_BY | {"schema": SCHEMA + (1 if request.param == "a newer one" else -1)}
    if request.param == "no schema":
        facts.pop("schema")
    run.write("environment.json", facts)
    return run


def test_a_run_of_another_version_is_listed(ebm, other):
    newer = catalog.every()[1]
    listed = {row["id"]: row for row in json.loads(ebm("runs", "--json")[1])}
    assert {name: row["state"] for name, row in listed.items()} == {other.id: "other version", newer.id: "finished"}
    assert listed[other.id]["group"] == "mine"
    code, out, err = ebm("runs", "--group", "mine")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith(other.id)]
    assert line.split()[1:3] == ["other", "version"]


def test_a_run_of_another_version_can_be_removed(ebm, other):
    code, out, err = ebm("rm", other.id, "--yes")
    assert (code, out, err) == (0, f"removed {other.path}\n", "")
    assert not other.path.exists()
    assert len(catalog.every()) == 1


VERBS = [
    *("show RUN", "show RUN --json", "plot RUN", "score RUN data=points.csv", "sample RUN", "sample RUN out=x.csv", "evaluate RUN"),
    *("compare RUN last", "compare last RUN", "compare mine", "train resume=RUN trainer.n_steps=8", "train resume=RUN@2 trainer.n_steps=8"),
    *("train -m resume=RUN trainer.n_steps=8,9", "sample energy=compose energy.runs=[last,RUN]", "show PATH", "train resume=RUN --cfg job"),
]


@pytest.mark.parametrize("line", VERBS)
def test_a_run_of_another_version_is_refused(ebm, other, tmp_path, line):
    """The message names the version and the commit that can read it."""
    (tmp_path / "here" / "points.csv").write_text("0,0\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = ebm(*line.replace("RUN", other.id).replace("PATH", str(other.path)).split())
    schema = other.read("environment.json").get("schema", 1)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: {other.path.name} was written by ebm-cli 0.0.9 (commit 0123456789): "
        f"its folder has schema {schema}, but this version reads schema {SCHEMA}",
        f"hint: install that version to use the run, train it again, or remove it with: ebm rm {other.id}",
    ]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_unknown_version_is_not_named():
    run = made("moons-ssm-s0-a", 1.0, schema=1, packages={"ebm-cli": None}, git={})
    with pytest.raises(InputError, match=r"^moons-ssm-s0-a was written by another version of ebm-cli: its folder has schema 1"):
        catalog.find("a")
    assert catalog.find_any("a") == run


def test_a_new_run_has_the_schema_of_this_version(trained):
    for path in trained.glob("runs/*/environment.json"):
        assert json.loads(path.read_text())["schema"] == SCHEMA


def test_a_command_never_finds_the_run_of_another_version(monkeypatch):
    """The schema is part of the identity, so a result of another version is neither shown nor reused."""
    composed = compose.compose(LINE)
    here, _, _ = Experiment.named(composed)
    monkeypatch.setattr("ebm_cli.runner.experiment.SCHEMA", SCHEMA + 1)
    assert Experiment.named(composed)[0].id != here.id
