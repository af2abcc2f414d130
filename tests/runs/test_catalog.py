"""The runs under the outputs folder: their order, their groups, their checkpoints, and those that another version has written."""

import json
import shutil

import pytest

from ebm_cli import __main__
from ebm_cli.config import compose
from ebm_cli.errors import InputError
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs import catalog
from ebm_cli.runs.run import SCHEMA, Run, outputs

LINE = ("experiment=smoke", "trainer.n_steps=4", "trainer.checkpoint_every=2", "energy.width=8", "draws.n_samples=20", "draws.n_steps=4")
MADE_BY = {"packages": {"ebm-cli": "0.0.9"}, "git": {"commit": "0123456789abcdef", "dirty": False}}


def made(name, created, **facts):
    """A run's folder with the files that a catalog reads."""
    one = Run(outputs() / "runs" / name)
    one.path.mkdir(parents=True)
    one.write("environment.json", {"created": created, "schema": SCHEMA} | facts)
    (one.path / "config.yaml").write_text("seed: 0\n")
    return one


def sweep(name, group, paths):
    folder = outputs() / "sweeps" / name
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"id": name, "group": group, "runs": [{"path": path} for path in paths]}))
    return folder / "sweep.json"


def test_runs_stand_in_the_order_of_their_making():
    """Damaged ones first: nothing is known of them. Folders without an environment.json are no runs."""
    late, early, hurt = made("moons-ssm-s0-a", 2.0), made("moons-ssm-s0-b", 1.0), made("moons-ssm-s0-c", 3.0)
    (hurt.path / "environment.json").write_text("{")
    (outputs() / "runs" / "moons-ssm-s0-d").mkdir()
    assert catalog.every() == [hurt, early, late]
    assert catalog.find("last") == late


def test_groups_hold_what_was_made_for_them_and_what_a_sweep_of_theirs_reused():
    first, second = made("moons-ssm-s0-a", 1.0), made("moons-ssm-s0-b", 2.0, group="mine")
    made("moons-ssm-s0-c", 3.0)
    sweep("12345678", "mine", [f"elsewhere/{first.path.name}", "", "gone/moons-ssm-s0-z"])
    assert catalog.groups() == {"mine": [first, second], "12345678": [first]}


@pytest.mark.parametrize("text", ["{", "", '{"id": "1"}'])
def test_a_damaged_sweep_hides_nothing(text):
    one = made("moons-ssm-s0-a", 1.0)
    sweep("aaaa", "mine", [one.path.name])
    sweep("bbbb", "mine", []).write_text(text)
    assert catalog.groups() == {"aaaa": [one], "mine": [one]}


def test_a_run_and_a_step():
    one = made("moons-ssm-s0-a", 1.0)
    with pytest.raises(InputError, match="has no checkpoint yet"):
        catalog.at_step("a")
    for step in ("00000010", "00000020", ".partial-00000030"):
        (one.checkpoints / step).mkdir(parents=True)
    assert catalog.at_step("a") == (one, 20)
    assert catalog.at_step("last@10") == (one, 10)
    for wanted in ("15", "x", "-10"):
        with pytest.raises(InputError, match=f"has no checkpoint of step {wanted}, only of 10, 20"):
            catalog.at_step(f"a@{wanted}")


def test_a_run_elsewhere_is_not_continued(tmp_path, monkeypatch):
    """The run that continues it would stand elsewhere, and not find it."""
    one = made("moons-ssm-s0-a", 1.0)
    (one.checkpoints / "00000010").mkdir(parents=True)
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "others"))
    with pytest.raises(InputError, match="is not among the runs of") as error:
        catalog.at_step(str(one.path))
    assert error.value.problems[0].hint == f"EBM_OUTPUTS={tmp_path / 'outputs'} trains beside it"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An outputs folder with two runs in it, of a group."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBM_OUTPUTS", str(folder))
        for seed in (0, 1):
            assert __main__.main(["train", *LINE, f"seed={seed}", "metric=[quadrature]", "group=mine"]) == 0
    return folder


@pytest.fixture(params=["no schema", "an older one", "a newer one"])
def other(request, trained):
    """Copies of these runs; the first says that another version has written it."""
    shutil.copytree(trained, outputs())
    one = catalog.every()[0]
    facts = one.read("environment.json") | MADE_BY | {"schema": SCHEMA + (1 if request.param == "a newer one" else -1)}
    if request.param == "no schema":
        facts.pop("schema")
    one.write("environment.json", facts)
    return one


def test_what_another_version_has_written_is_listed(ebm, other):
    newer = catalog.every()[1]
    listed = {row["id"]: row for row in json.loads(ebm("runs", "--json")[1])}
    assert {name: row["state"] for name, row in listed.items()} == {other.id: "other version", newer.id: "finished"}
    assert listed[other.id]["group"] == "mine"
    code, out, err = ebm("runs", "--group", "mine")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith(other.id)]
    assert line.split()[1:3] == ["other", "version"]


def test_what_another_version_has_written_can_be_removed(ebm, other):
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
def test_what_another_version_has_written_is_refused(ebm, other, tmp_path, line):
    """In one sentence, with the version and the commit that can read it."""
    (tmp_path / "here" / "points.csv").write_text("0,0\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = ebm(*line.replace("RUN", other.id).replace("PATH", str(other.path)).split())
    schema = other.read("environment.json").get("schema", 1)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: {other.path.name} was written by ebm-cli 0.0.9 (commit 0123456789), which reads it: "
        f"run folders had schema {schema} then, and have {SCHEMA} now",
        f"hint: install that version to use the run, train it anew, or remove it: ebm rm {other.id}",
    ]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_version_that_is_not_known_is_not_named():
    one = made("moons-ssm-s0-a", 1.0, schema=1, packages={"ebm-cli": None}, git={})
    with pytest.raises(InputError, match=r"^moons-ssm-s0-a was written by another version of ebm-cli, which reads it"):
        catalog.find("a")
    assert catalog.find_any("a") == one


def test_a_new_run_has_the_schema_of_this_version(trained):
    for path in trained.glob("runs/*/environment.json"):
        assert json.loads(path.read_text())["schema"] == SCHEMA


def test_a_line_never_names_the_run_of_another_version(monkeypatch):
    """The schema is part of the run's name: another version's result is neither shown nor reused."""
    composed = compose.compose(LINE)
    here, _, _ = Experiment.named(composed)
    monkeypatch.setattr("ebm_cli.runner.experiment.SCHEMA", SCHEMA + 1)
    assert Experiment.named(composed)[0].id != here.id
