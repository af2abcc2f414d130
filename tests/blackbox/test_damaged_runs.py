"""Damaged runs and neighbors: each is listed with its reason, says what helps, and does not affect the others."""

import ctypes
import json
import os
import shutil
import subprocess
import sys

import pytest
from command import LINE, Ended, refused, tree

DRAWS = ("n_samples=8", "n_chains=8", "n_steps=2")
ID = "0123456789"


def rewrite(name, **facts):
    def change(run):
        path = run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return change


def content(name, text):
    return lambda run: (run / name).write_bytes(text)


def without(name):
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


DAMAGES = {
    "environment: missing": (without("environment.json"), "environment.json is missing"),
    "environment: cut": (content("environment.json", b'{"id": "fff'), "environment.json is damaged"),
    "environment: a list": (content("environment.json", b"[]"), "it is not a JSON object"),
    "environment: binary": (content("environment.json", b"\xff\xfe\x00"), "environment.json is damaged"),
    "environment: deep": (content("environment.json", b"[" * 100_000), "environment.json is damaged"),
    "environment: no choices": (content("environment.json", b'{"schema": SCHEMA, "created": 1}'), "environment.json has no choices"),
    "time: text": (rewrite("environment.json", created="now"), "created has a wrong type"),
    "time: infinite": (rewrite("environment.json", created=float("inf")), "created has a wrong type"),
    "time: huge": (rewrite("environment.json", created=10**400), "created has a wrong type"),
    "differs: a number": (rewrite("environment.json", differs=3), "differs has a wrong type"),
    "group: a list": (rewrite("environment.json", group=["a"]), "group has a wrong type"),
    "state: unknown": (rewrite("status.json", state="lost"), "state has a wrong type"),
    "state: a list": (content("status.json", b"[1]"), "status.json is damaged"),
    "summary: cut": (content("summary.json", b'{"kl": '), "summary.json is damaged"),
    "headline: a number": (rewrite("summary.json", headline=5), "headline has a wrong type"),
    "seeds: text": (rewrite("summary.json", per_seed={"kl": ["a"]}), "per_seed has a wrong type"),
    "log Z: text": (rewrite("summary.json", log_z="x"), "log_z has a wrong type"),
    "kind: unknown": (rewrite("dataset.json", kind="bits"), "kind has a wrong type"),
    "shape: huge text": (rewrite("dataset.json", shape="2"), "shape has a wrong type"),
    "config: missing": (without("config.yaml"), "config.yaml is missing"),
    "config: a folder": (lambda run: (run / "config.yaml").unlink() or (run / "config.yaml").mkdir(), "config.yaml is not a regular file"),
}


@pytest.fixture
def damaged(run):
    """`damaged(NAME)` is a second run with this damage, beside an intact one."""

    def make(name):
        other = shutil.copytree(run, run.with_name(f"moons-dsm-s7-{ID}"))
        DAMAGES[name][0](other)
        if b"SCHEMA" in (text := (other / "environment.json").read_bytes() if (other / "environment.json").is_file() else b""):
            schema = json.loads((run / "environment.json").read_text())["schema"]
            (other / "environment.json").write_bytes(text.replace(b"SCHEMA", str(schema).encode()))
        return other

    return make


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_listed_with_its_reason_beside_the_others(ebm, run, damaged, name):
    damaged(name)
    ended = ebm("runs", "--json")
    assert (ended.code, ended.err) == (0, ""), ended
    rows = {row["id"]: row for row in json.loads(ended.out)}
    assert rows[run.name.rpartition("-")[2]]["state"] == "finished"
    assert rows[ID]["state"] == "damaged"
    assert DAMAGES[name][1] in rows[ID]["reason"]
    refused(ebm("show", ID), DAMAGES[name][1], "hint: ")


def test_other_commands_beside_a_damaged_run(ebm, run, damaged):
    damaged("summary: cut")
    table = ebm("runs")
    assert (table.code, table.err) == (0, "")
    assert "summary.json is damaged" in table.out
    assert ebm("show", "last").out.endswith(f"{run}\n")
    assert run.name in ebm("completion", "--line", "ebm show ").out
    assert "kl" in ebm("completion", "--line", "ebm compare last --metric ").out


def test_a_group_with_a_damaged_run_is_compared_without_it(ebm, run, damaged):
    assert ebm("train", *LINE, "optimizer.lr=0.1", "group=mine").code == 0
    assert ebm("train", *LINE, "optimizer.lr=0.2", "group=mine").code == 0
    other = next(path for path in run.parent.iterdir() if path != run)
    broken = shutil.copytree(other, other.with_name(f"moons-dsm-s7-{ID}"))
    (broken / "summary.json").write_text("{")
    ended = ebm("compare", "mine", "--json")
    assert ended.code == 0, ended
    assert len(json.loads(ended.out)["rows"]) == 2
    assert f"warning: moons-dsm-s7-{ID} is damaged and is left out" in ended.err


@pytest.mark.parametrize(
    "text", ['{"id": "1"}', "[]", '{"group": 3, "id": "a", "runs": []}', '{"group": "a", "id": "b", "runs": [5]}', "{"]
)
def test_a_damaged_sweep_file_is_named_and_left_out(ebm, run, tmp_path, text):
    (tmp_path / "outputs" / "sweeps" / "abcd").mkdir(parents=True)
    (tmp_path / "outputs" / "sweeps" / "abcd" / "sweep.json").write_text(text)
    ended = ebm("runs", "--group", "none")
    refused(ended._replace(err=ended.err.partition("\n")[2]), "there is no group 'none'")
    assert "sweep.json is damaged and is not used" in ended.err


def test_a_finished_run_without_its_summary_is_measured_again(ebm, run):
    before = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    ended = ebm("train", *LINE)
    assert ended.code == 0, ended
    assert "its summary.json is missing: measuring again" in ended.err
    assert json.loads((run / "summary.json").read_text())["kl"] == before["kl"]


@pytest.mark.parametrize(
    "verb", [("sample", *DRAWS), ("evaluate",), ("score", "data=x.csv"), ("plot", "figure=density")], ids=lambda words: words[0]
)
def test_a_finished_run_whose_checkpoints_are_lost_says_what_helps(ebm, run, verb):
    for state in run.glob("checkpoints/*/state.safetensors"):
        state.write_bytes(state.read_bytes()[:-1])
    refused(ebm(verb[0], run, *verb[1:]), "all checkpoints of", "are damaged: checkpoint 00000004", "force=true")
    shutil.rmtree(run / "checkpoints")
    refused(ebm(verb[0], run, *verb[1:]), "has no checkpoints any more", "force=true")
    if verb[0] == "sample":
        assert ebm("train", *LINE, "force=true").code == 0
        assert ebm("sample", run, *DRAWS).code == 0


def test_a_run_without_its_dataset_file(ebm, run):
    (run / "dataset.json").unlink()
    refused(ebm("sample", run, *DRAWS), "dataset.json")


def test_force_trains_from_the_start_even_if_the_status_is_lost(ebm, run):
    (run / "status.json").unlink()
    ended = ebm("train", *LINE, "force=true")
    assert ended.code == 0, ended
    assert "continuing" not in ended.err
    assert len(list((run.parents[1] / "replaced").iterdir())) == 1


@pytest.fixture
def theirs(run):
    """A run that its reader may not change, as on a shared disk."""
    modes = {path: path.stat().st_mode for path in (run, run.parent, *run.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    yield run
    for path, mode in modes.items():
        path.chmod(mode)


def reader(*words):
    """Run `ebm WORDS` by a process that has no right to ignore the modes of files; root has it otherwise."""

    def give_up_rights():
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP

    command = [sys.executable, "-m", "ebm_cli", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=give_up_rights)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_a_readable_run_can_be_scored_and_listed(theirs, tmp_path):
    (tmp_path / "points.csv").write_text("0,0\n")
    ended = reader("score", theirs, f"data={tmp_path / 'points.csv'}")
    assert (ended.code, len(ended.out.splitlines())) == (0, 2), ended
    assert reader("runs").code == 0
    assert reader("sample", theirs, *DRAWS, f"out={tmp_path / 'x.csv'}").code == 0


def test_what_would_write_into_a_run_of_somebody_else_is_refused_with_a_hint(theirs, tmp_path):
    before = tree(theirs)
    for verb in ("evaluate", "plot", "sample"):
        refused(reader(verb, theirs), "is not writable", f"ebm {verb} ./{theirs.name}")
    refused(reader("rm", theirs, "--yes"), "is not writable")
    refused(reader("train", *LINE, "seed=1"), "cannot be created: Permission denied")
    assert tree(theirs) == before


def test_a_run_that_cannot_be_read_is_listed_as_damaged(theirs):
    (theirs / "environment.json").chmod(0o000)
    ended = reader("runs", "--json")
    assert (ended.code, ended.err) == (0, "")
    (row,) = json.loads(ended.out)
    assert (row["state"], "Permission denied" in row["reason"]) == ("damaged", True)
    theirs.chmod(0o000)
    (row,) = json.loads(reader("runs", "--json").out)
    assert row["state"] == "damaged"


def test_the_lock_of_a_running_run_need_not_be_readable(run):
    status = json.loads((run / "status.json").read_text()) | {"state": "running"}
    (run / "status.json").write_text(json.dumps(status))
    (run / ".lock").touch()
    (run / ".lock").chmod(0o000)
    ended = reader("runs", "--json")
    assert (ended.code, ended.err, json.loads(ended.out)[0]["state"]) == (0, "", "running")


def test_the_files_of_a_run_have_the_mode_of_the_umask(run):
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in run.rglob("*") if path.is_file() and path.name != ".lock"} == {0o666 & ~mask}


@pytest.mark.parametrize("more", [(), ("force=true",)])
def test_a_file_with_the_name_of_a_run_folder_is_refused_and_kept(ebm, run, more):
    shutil.rmtree(run)
    run.write_text("mine")
    refused(ebm("train", *LINE, *more), "is not a folder", "move it")
    assert run.read_text() == "mine"


def test_samples_of_a_damaged_checkpoint_are_not_shown_beside_the_one_before_it(ebm, run):
    """The newest checkpoint drew samples.npz. If it is damaged, the pictures show the one before, until it has samples of its own."""
    warning = "samples.npz was drawn from another checkpoint and is not shown"
    assert warning not in ebm("plot", run, "figure=[density,training]").err
    (run / "checkpoints" / "00000004" / "state.safetensors").write_bytes(b"")
    ended = ebm("plot", run, "figure=[density,training]")
    assert ended.code == 0, ended
    assert warning in ended.err
    assert "there are no finite samples" in ended.err
    assert ebm("sample", run, *DRAWS).code == 0
    assert warning not in ebm("plot", run, "figure=density").err
