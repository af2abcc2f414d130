"""`ebm train`: the run folder, its numbers, run ids, repeated commands, divergence, failures and sweeps."""

import itertools
import json
import math
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import yaml
from lines import last_of_each_key
from scipy.stats import t as student

from ebm_cli import __main__
from ebm_cli.config import compatibility, compose, option_files, schema
from ebm_cli.objectives.ssm import SlicedScoreMatching
from ebm_cli.runner import train
from ebm_cli.runner.experiment import Experiment, check
from ebm_cli.runs import provenance
from ebm_cli.runs.catalog import find
from ebm_cli.runs.run import Run
from ebm_cli.training.trainer import Stopwatch, Trainer

TINY = (  # takes less than a second; with noise=0.3 a coarse grid suffices for the quadrature
    "experiment=smoke",
    "figure=[]",
    "trainer.n_steps=20",
    "trainer.checkpoint_every=5",
    "energy=mlp",
    "energy.hidden=[8]",
    "dataset.noise=0.3",
    "draws.n_samples=100",
    "draws.n_steps=20",
    "device=cpu",
)
NO_METRIC = (*TINY, "metric=[]")
NUMBERS = ["kl", "nll", "entropy", "log_z", "log_z_error", "edge_mass", "test_loss"]
COUNTS = ["n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations"]
STORED = "this run is finished: its stored result is shown; force=true trains it again"
COST = ["n_steps", "train_seconds", "steps_per_second", *COUNTS]


def read(path):
    """Read strict JSON, without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def files(folder):
    """The modification time of every file, to check that nothing was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def status(run):
    return read(run.path / "status.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained("objective=nce")` returns the folder of a run. It is trained once, and tests only read it."""
    outputs, runs = tmp_path_factory.mktemp("outputs"), {}

    def train(*words):
        if words not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EBM_OUTPUTS", str(outputs))
                assert __main__.main(last_of_each_key(["train", *words])) == 0
                runs[words] = find("last").path
        return runs[words]

    return train


def test_the_run_folder(trained):
    path = trained("experiment=smoke", "device=cpu")
    folders = ("checkpoints", "figures", "snapshots")
    names = "config.yaml dataset.json environment.json metrics.jsonl samples.npz status.json summary.json train.log"
    assert sorted(entry.name for entry in path.iterdir()) == sorted((".lock", *folders, *names.split()))
    assert re.fullmatch(r"moons-ssm-s0-[0-9a-f]{10}", path.name)
    assert [folder.name for folder in sorted((path / "checkpoints").iterdir())] == ["00000150", "00000200"]
    for folder in (path / "checkpoints").iterdir():
        assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "state.safetensors"]
    assert [file.name for file in sorted((path / "snapshots").iterdir())] == [f"{step:08d}.safetensors" for step in (50, 100, 150, 200)]
    assert {figure.name for figure in (path / "figures").iterdir()} >= {"density.png", "energy.png", "training.png"}
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in (path / "figures").iterdir())
    assert read(path / "status.json")["state"] == "finished"
    assert check(compose.compose(["experiment=smoke", "device=cpu"])) == yaml.safe_load((path / "config.yaml").read_text())
    facts = read(path / "environment.json")
    assert {"created", "git", "packages", "device", "threads", "command", "source", "platform"} <= set(facts)
    assert facts["reproduce"] == "ebm train experiment=smoke device=cpu"
    assert facts["differs"] == ["experiment=smoke", "device=cpu"]
    assert facts["id"] == path.name.rpartition("-")[2]
    assert facts["packages"]["torch"] == torch.__version__


def test_rows_and_samples(trained):
    path = trained("experiment=smoke", "device=cpu")
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(10, 201, 10))
    assert [row["step"] for row in rows if "kl" in row] == [100, 200]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(a["seconds"] <= b["seconds"] for a, b in itertools.pairwise(rows))
    with np.load(path / "samples.npz") as samples:
        assert samples["x"].shape == (1000, 2)
        assert len(samples["columns"]) == 2
        assert np.abs(samples["x"].mean(0)).max() < 0.3  # the mean of the moons is 0
        assert 0.3 < samples["x"].std(0).min() < samples["x"].std(0).max() < 1.5


def test_the_clock_stops_after_the_device_has_finished(ebm, monkeypatch):
    """On a GPU, steps are only queued until a value is read. Steps 3, 6 and 9 write a checkpoint, but no row."""
    calls, dead, pause = [], Trainer.dead, Stopwatch.pause
    monkeypatch.setattr(Trainer, "dead", lambda self: calls.append("read") or dead(self))
    monkeypatch.setattr(Stopwatch, "pause", lambda self: calls.append("stop") or pause(self))
    intervals = ["trainer.n_steps=10", "trainer.checkpoint_every=3", "trainer.log_every=5", "trainer.evaluate_every=10"]
    code, _, err = ebm("train", *NO_METRIC, *intervals)
    assert code == 0, err
    assert calls[:-1] == ["read", "stop"] * 5


def test_the_summary(trained):
    path = trained("experiment=smoke", "device=cpu")
    summary = read(path / "summary.json")
    assert summary["reasons"] == {}
    assert set(summary) >= {"id", "seed", *NUMBERS, *COST}
    assert all(isinstance(summary[key], (int, float)) for key in [*NUMBERS, *COST])
    assert summary["id"] == path.name.rpartition("-")[2]
    assert summary["entropy"] == pytest.approx(1.0076, abs=1e-3)  # the entropy of moons with noise 0.1
    assert summary["nll"] == pytest.approx(summary["kl"] + summary["entropy"], abs=1e-9)
    assert 0 < summary["kl"] < 1
    assert summary["log_z_error"] < 0.01
    assert 0 <= summary["edge_mass"] < 0.01
    assert summary["n_steps"] == 200
    assert summary["steps_per_second"] == pytest.approx(200 / summary["train_seconds"])


def test_the_output_ends_with_the_table_the_command_and_the_folder(ebm):
    code, out, err = ebm("train", *NO_METRIC, "name=a b")
    assert code == 0
    assert "\x1b" not in out + err
    *table, reproduce, saved = out.splitlines()
    assert reproduce == shlex.join(["ebm", "train", *NO_METRIC, "name=a b"])
    assert saved == f"Results saved to {find('last').path}"
    assert any(line.split()[:1] == ["test_loss"] for line in table)


def test_missing_numbers_are_null_with_a_reason(trained):
    pcd = read(trained(*TINY, "objective=pcd", "objective.n_steps=2", "objective.n_chains=256") / "summary.json")
    assert pcd["test_loss"] is None
    assert "does not measure the fit" in pcd["reasons"]["test_loss"]
    assert set(pcd["reasons"]) == {"test_loss"}
    score = read(trained(*TINY, "energy=score_mlp") / "summary.json")
    for key in set(NUMBERS) - {"test_loss"}:
        assert score[key] is None
        assert score["reasons"][key] == "the network outputs the score itself: there is no energy"
    assert isinstance(score["test_loss"], float)


@pytest.mark.parametrize(
    ("words", "energies", "scores", "hvps"),
    [
        (["objective=ssm"], 0, 1, 1),
        (["objective=ssm", "objective.n_projections=3"], 0, 1, 3),
        (["objective=ssm", "energy=score_mlp"], 0, 1, 1),
        (["objective=ssm", "regularizer=energy_l2"], 1, 1, 1),
        (["objective=nce"], 1 + 4, 0, 0),
        (["objective=nce", "objective.n_noise=7", "seeds=2"], 1 + 7, 0, 0),  # for each model
        (["objective=pcd", "objective.n_steps=5"], 2, 5 + 1, 0),  # mala begins with a score
        (["objective=pcd", "objective.n_steps=5", "sampler=langevin"], 2, 5, 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_costs_of_training(trained, words, energies, scores, hvps):
    summary = read(trained(*NO_METRIC, "trainer.n_steps=3", "trainer.batch_size=50", *words) / "summary.json")
    assert [summary[key] for key in COUNTS] == [3 * 50 * energies, 3 * 50 * scores, 3 * 50 * hvps]


def test_a_stack(trained):
    path = trained(*TINY, "seed=4", "seeds=3")
    summary, single = read(path / "summary.json"), read(trained(*TINY, "seed=5") / "summary.json")
    assert re.fullmatch(r"moons-ssm-s4x3-[0-9a-f]{10}", path.name)
    assert (summary["seed"], summary["seeds"]) == (4, 3)
    for key in NUMBERS:
        values = np.array(summary["per_seed"][key])
        half = student.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
        if key == "log_z_error":  # given for each seed only
            assert (summary[key], summary["ci95"].get(key)) == (None, None)
        else:
            assert summary[key] == pytest.approx(values.mean())
            assert summary["ci95"][key] == pytest.approx([values.mean() - half, values.mean() + half])
        assert summary["per_seed"][key][1] == pytest.approx(single[key], rel=1e-3, abs=1e-4)  # model 1 equals the single run with its seed
    assert len(set(summary["per_seed"]["kl"])) == 3
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert all(len(row["loss"]) == 3 for row in rows)
    assert np.load(path / "samples.npz")["x"].shape == (3, 100, 2)


def test_a_repeated_command_shows_the_stored_result(ebm, tmp_path, monkeypatch):
    _, first, _ = ebm("train", *NO_METRIC)
    before = files(tmp_path)
    monkeypatch.setattr(Experiment, "trainer", None)  # no trainer is built
    again = ebm("train", *NO_METRIC)
    assert again == (0, first, f"{STORED}\n")
    assert ebm("train", *NO_METRIC, "trainer.log_every=7", "metric=[]")[1:] == again[1:]
    assert files(tmp_path) == before


def test_a_new_metric_is_added_to_a_stored_run(ebm, trained):
    ebm("train", *NO_METRIC)
    run = find("last")
    checkpoints, rows = files(run.checkpoints), (run.path / "metrics.jsonl").read_bytes()
    assert run.read("summary.json")["kl"] is None
    assert "not selected" in run.read("summary.json")["reasons"]["kl"]
    code, out, err = ebm("train", *TINY, "metric=quadrature")
    assert code == 0
    assert err.startswith(STORED)
    summary, expected = run.read("summary.json"), read(trained(*TINY) / "summary.json")
    assert {key: summary[key] for key in NUMBERS} == {key: expected[key] for key in NUMBERS}
    assert re.search(r"^kl ", out, re.MULTILINE)
    assert {key: summary[key] for key in COST} == {key: read(run.path / "summary.json")[key] for key in COST}
    assert (files(run.checkpoints), (run.path / "metrics.jsonl").read_bytes()) == (checkpoints, rows)


def test_an_added_metric_keeps_the_metrics_added_before(ebm):
    ebm("train", *NO_METRIC)
    ebm("train", *TINY, "metric=quadrature")
    kl = find("last").read("summary.json")["kl"]
    ebm("train", *TINY, "metric=sliced_wasserstein")
    summary = find("last").read("summary.json")
    assert summary["kl"] == kl
    assert "sliced_wasserstein" in summary


def test_force_trains_again_and_keeps_the_old_folder(ebm, tmp_path, monkeypatch):
    monkeypatch.setattr("ebm_cli.runs.run.time.strftime", lambda _: "20250101-120000")  # all folders are replaced within one second
    ebm("train", *NO_METRIC)
    run = find("last")
    (run.path / "mark").touch()
    for n in (1, 2):
        code, _, err = ebm("train", *NO_METRIC, "force=true")
        assert code == 0
        assert STORED not in err
        assert not (run.path / "mark").exists()
        assert status(run)["state"] == "finished"
        replaced = sorted((tmp_path / "outputs" / "replaced").iterdir())
        assert len(replaced) == n
        assert all(folder.name.startswith(run.path.name) and read(folder / "summary.json")["id"] == run.id for folder in replaced)
    assert sum((folder / "mark").exists() for folder in replaced) == 1
    assert [folder.name for folder in (tmp_path / "outputs" / "runs").iterdir()] == [run.path.name]
    assert "force" not in run.read("environment.json")["reproduce"]


def test_a_stored_run_of_other_code_has_a_warning(ebm, monkeypatch):
    ebm("train", *NO_METRIC)
    monkeypatch.setattr(provenance, "sources", lambda packages: dict.fromkeys(packages, "another"))
    code, _, err = ebm("train", *NO_METRIC)
    assert code == 0
    assert err.splitlines()[0] == "warning: the code of ebm_cli has changed since this run began"


def identity(*words):
    return Experiment.of(compose.compose([*TINY, *words])).run.id


@pytest.mark.parametrize(
    "word",
    [
        "device=auto", "name=x", "group=x", "tags=[a,b]", "force=true", "metric=[]", "sampler=langevin", "sampler.step_size=0.5",
        "trainer.log_every=3", "trainer.evaluate_every=3", "trainer.checkpoint_every=3", "draws.n_samples=7", "draws.n_steps=7",
        "optimizer.eps=1e-8", "energy.tilt=1",
    ],
)  # fmt: skip
def test_a_key_that_training_does_not_read_does_not_change_the_id(word):
    """Another way to write the same value does not change the id either."""
    assert identity(word) == identity()


@pytest.mark.parametrize(
    "word",
    [
        "seed=1", "seeds=1", "seeds=3", "optimizer.lr=0.002", "optimizer=adamw", "objective=nce", "objective=pcd", "energy.hidden=[9]",
        "energy=score_mlp", "dataset.noise=0.2", "trainer.n_steps=21", "trainer.batch_size=64", "trainer.ema_decay=0.9",
        "trainer.max_grad_norm=null", "regularizer=energy_l2",
    ],
)  # fmt: skip
def test_a_key_that_training_reads_changes_the_id(word):
    assert identity(word) != identity()


def test_the_sampler_of_an_objective_is_part_of_the_id():
    assert identity("objective=pcd", "sampler.step_size=0.5") != identity("objective=pcd")
    assert identity("objective=pcd", "sampler=langevin") != identity("objective=pcd")


def test_the_id_of_a_run_on_a_table_depends_on_its_content(tmp_path):
    def of(path):
        return Experiment.of(compose.compose(["dataset=table", f"dataset.path={path}"])).run.id

    rows = "a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(30))
    for name in ("one.csv", "two.csv", "other.csv"):
        (tmp_path / name).write_text(rows + ("1,1\n" if name == "other.csv" else ""))
    assert of(tmp_path / "one.csv") == of(tmp_path / "two.csv") == of("../one.csv")
    assert of(tmp_path / "one.csv") != of(tmp_path / "other.csv")


def test_outputs_can_be_moved(ebm, tmp_path, monkeypatch):
    ebm("train", *TINY)
    run = find("last")
    holding = [path for path in run.path.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert holding == []
    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "elsewhere"))
    code, out, _ = ebm("sample", run.id[:6], "n_samples=30", "n_steps=4")
    assert code == 0
    assert f"Samples saved to {tmp_path / 'elsewhere'}" in out
    assert np.load(tmp_path / "elsewhere" / "runs" / run.path.name / "samples.npz")["x"].shape == (30, 2)
    assert ebm("evaluate", str(find("last").path))[0] == 0
    assert ebm("train", *TINY)[2].startswith(STORED)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("words", [("objective=nce",), ("objective=pcd", "objective.n_chains=256", "objective.n_steps=2", "seeds=2")])
def test_a_run_that_is_measured_before_its_end_has_the_costs_of_its_checkpoint(ebm, monkeypatch, words):
    """A run of 20 steps fails at step 13 and is measured at its checkpoint of step 10: half of the evaluations, and the time until then."""
    line, step = (*NO_METRIC, "trainer.log_every=2", *words), Trainer.step
    with monkeypatch.context() as broken:
        broken.setattr(Trainer, "step", lambda self: step(self) if self.state.step < 13 else 1 / 0)
        assert ebm("train", *line)[0] == 1
    run = find("last")
    assert (status(run)["state"], run.rows()[-1]["step"]) == ("failed", 12)
    assert ebm("evaluate", "last")[0] == 0
    half = run.read("summary.json")
    assert half["train_seconds"] == next(row["seconds"] for row in run.rows() if row["step"] == 10)
    assert half["steps_per_second"] == pytest.approx(10 / half["train_seconds"])
    assert ebm("train", *line, "optimizer.lr=0.02")[0] == 0
    code, out, err = ebm("compare", run.id, "last", "--metric", "n_steps")
    assert (code, err) == (0, "")
    assert "failed, measured at step 10 of 20" in out
    assert ebm("train", *line)[0] == 0
    whole = run.read("summary.json")
    assert (half["n_steps"], whole["n_steps"]) == (10, 20)
    assert any(whole[key] for key in COUNTS)
    assert all(whole[key] == 2 * half[key] for key in COUNTS)
    assert ebm("evaluate", run.id)[0] == 0
    assert {key: run.read("summary.json")[key] for key in COST} == {key: whole[key] for key in COST}


def test_runs_that_are_measured_differently_are_separate_rows_of_a_comparison(ebm):
    """Two seeds form one row. If one is measured with another sampler, there are two rows. The repeated command measures again."""
    for seed in (0, 1):
        assert ebm("train", *NO_METRIC, "group=mine", f"seed={seed}")[0] == 0
    assert ebm("train", *NO_METRIC, "group=mine", "optimizer.lr=0.02")[0] == 0
    rows = json.loads(ebm("compare", "mine", "--metric", "test_loss", "--json")[1])["rows"]
    assert sorted(row["n"] for row in rows) == [1, 2]
    run = find("moons-ssm-s1")
    assert ebm("evaluate", run.id, "sampler=langevin", "metric=[sliced_wasserstein]")[0] == 0
    assert run.read("summary.json")["measured_with"]["metric"].keys() == {"sliced_wasserstein"}
    rows = json.loads(ebm("compare", "mine", "--metric", "test_loss", "--json")[1])["rows"]
    assert sorted(row["differs"]["sampler"] for row in rows) == ["langevin", "mala", "mala"]
    assert ebm("evaluate", run.id, "metric=[mmd]", "metric.mmd.n_points=50")[0] == 0
    assert ebm("evaluate", run.id, "sampler=langevin")[0] == 0
    measured = run.read("summary.json")["measured_with"]["metric"]
    assert (measured.keys(), measured["mmd"]["n_points"]) == ({"sliced_wasserstein", "mmd"}, 50)
    err = ebm("train", *NO_METRIC, "group=mine", "seed=1")[2]
    assert "measuring again" in err
    assert run.read("summary.json")["measured_with"]["metric"].keys() == {"sliced_wasserstein", "mmd"}
    assert "measuring again" not in ebm("train", *NO_METRIC, "group=mine", "seed=1")[2]
    assert sorted(row["n"] for row in json.loads(ebm("compare", "mine", "--metric", "test_loss", "--json")[1])["rows"]) == [1, 2]


def test_chains_that_hardly_move_are_in_the_summary(ebm):
    code, _, err = ebm("train", *NO_METRIC, "sampler=mh", "sampler.step_size=1e6")
    (line,) = find("last").read("summary.json")["warnings"]
    assert code == 0
    assert line.startswith("the chains hardly move")
    assert f"warning: {line}" in err


def test_results_are_written_to_outputs_by_default(ebm, tmp_path, monkeypatch):
    monkeypatch.delenv("EBM_OUTPUTS")
    assert ebm("train", *NO_METRIC)[0] == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]
    assert [path.name for path in (tmp_path / "here" / "outputs").iterdir()] == ["runs"]


@pytest.fixture
def held():
    """`held(run)` starts a process that locks a run, as training does, until its stdin is closed."""
    program = """
import sys; from pathlib import Path; from ebm_cli.runs.run import Run
run = Run(Path(sys.argv[1]))
with run.lock(wait=False):
    run.set_status("running")
    print("held", flush=True)
    sys.stdin.read()
"""
    started = []

    def hold(run):
        command = [sys.executable, "-c", program, str(run.path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.wait()


def test_a_run_that_another_process_trains_is_refused(ebm, held):
    run = Experiment.of(compose.compose([*NO_METRIC])).run
    process = held(run)
    code, out, err = ebm("train", *NO_METRIC)
    assert (code, out) == (2, "")
    assert f"process {process.pid} on {socket.gethostname()}" in err
    assert run.state() == "running"
    process.kill()
    process.wait()
    assert run.state() == "interrupted"
    assert ebm("train", *NO_METRIC)[0] == 0


def test_a_sweep_waits_for_a_run_that_another_process_trains(ebm, held, monkeypatch):
    process, count = held(Experiment.of(compose.compose([*NO_METRIC])).run), train.trial_step

    def release_soon(trainer):  # the last call before the run is locked
        threading.Timer(0.5, process.stdin.close).start()
        return count(trainer)

    monkeypatch.setattr(train, "trial_step", release_soon)
    code, _, err = ebm("train", "-m", *NO_METRIC, "hydra/launcher=basic")
    assert code == 0, err
    assert status(find("last"))["state"] == "finished"


def test_a_diverged_run(ebm, tmp_path):
    line = ["train", *NO_METRIC, "trainer.checkpoint_every=20", "optimizer.lr=1e30"]
    code, out, err = ebm(*line)
    run = Run(next((tmp_path / "outputs" / "runs").iterdir()))
    assert (code, out) == (1, "")
    step, kept = map(int, re.search(r"not finite from step (\d+) on; the checkpoint of step (\d+) is kept", err).groups())
    assert 1 <= step <= 10
    assert "hint: try a smaller optimizer.lr" in err
    assert status(run)["state"] == "diverged"
    assert f"step {step}" in status(run)["reason"]
    assert (run.checkpoints / f"{kept:08d}" / "state.safetensors").exists()
    assert kept < step
    assert run.rows()[-1]["step"] == 10  # training ended at the first row
    assert run.rows()[-1]["loss"] is None
    before = files(tmp_path)
    code, out, again = ebm(*line)
    assert (code, out) == (1, "")
    assert status(run)["reason"] in again
    assert "stored" in again
    assert files(tmp_path) == before
    code, out, err = ebm("evaluate", run.id)  # the run has only the checkpoint of an untrained network
    assert (code, out) == (2, "")
    assert f"{run.path.name} cannot be measured: it diverged: loss or gradient was not finite" in err
    assert not run.read("summary.json")
    np.savetxt("rows.csv", np.zeros((2, 2)), delimiter=",")
    code, _, err = ebm("score", run.id, "data=rows.csv")
    assert code == 0
    assert f"warning: {run.path.name}: diverged: loss or gradient was not finite" in err


def test_a_stack_in_which_one_model_diverges(ebm, trained, monkeypatch):
    """The other models continue, with the same numbers as without it."""
    expected = read(trained(*TINY, "seeds=3") / "summary.json")
    loss, poison = SlicedScoreMatching.loss, torch.tensor([[0.0], [math.nan], [0.0]])

    def bad_in_the_middle(self, model, params, x, aux):
        value, info = loss(self, model, params, x, aux)
        return (value + poison if model.stacked else value), info

    monkeypatch.setattr(SlicedScoreMatching, "loss", bad_in_the_middle)
    code, out, err = ebm("train", *TINY, "seeds=3")
    run = find("last")
    summary = run.read("summary.json")
    assert code == 1
    assert "1 of 3 models diverged: seed 1 at step 1" in err
    assert status(run)["state"] == "diverged"
    assert re.search(r"^kl +-", out, re.MULTILINE)
    for key in NUMBERS:
        assert summary[key] is None
        assert key not in summary["ci95"]
        assert summary["reasons"][key] == [None, "seed 1 diverged at step 1", None]
        first, _, last = expected["per_seed"][key]
        assert summary["per_seed"][key] == [first, None, last]
    code, _, again = ebm("train", *TINY, "seeds=3")
    assert code == 1
    assert again == f"{STORED.replace('finished', 'diverged')}\n{err[err.index('error: ') :]}"


def test_a_failed_run_continues_from_its_last_checkpoint(ebm, trained, monkeypatch):
    step = Trainer.step

    def fail_at_13(self):
        if self.state.step == 12:
            raise OSError("No space left on device")
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at_13)
        code, out, err = ebm("train", *TINY)
    run = find("last")
    assert (code, out) == (1, "")
    assert "error: OSError: No space left on device" in err
    assert "the same command continues from step 10" in err
    assert status(run)["state"] == "failed"
    assert "No space left" in status(run)["reason"]
    assert "fail_at_13" in (run.path / "train.log").read_text()
    code, _, err = ebm("train", *TINY)
    assert code == 0
    assert "continuing from step 10" in err
    last = "checkpoints/00000020/state.safetensors"
    assert (run.path / last).read_bytes() == (trained(*TINY) / last).read_bytes()


@pytest.mark.parametrize("launcher", ["hydra/launcher=basic", "hydra/launcher=gpu"])
def test_jobs_of_a_sweep_record_the_command_of_the_sweep_and_their_own(ebm, monkeypatch, launcher):
    """The command that reproduces one job alone contains nothing of the sweep, and sys.argv is restored."""
    typed = ["ebm", "train", "-m", *NO_METRIC, "seed=0,1"]
    monkeypatch.setattr(sys, "argv", list(typed))
    assert ebm(*typed[1:], launcher)[0] == 0
    facts = [json.loads(path.read_text()) for path in find("last").path.parent.glob("*/environment.json")]
    assert {fact["reproduce"].rpartition(" ")[2] for fact in facts} == {"seed=0", "seed=1"}
    assert all(fact["command"] == typed for fact in facts)
    assert sys.argv == typed


@pytest.mark.parametrize(
    "words", [["optimizer=sgd"], ["optimizer=adamw"], ["trainer.compile=false"], ["trainer.ema_decay=0"]], ids=" ".join
)
def test_smoke_with_other_options(ebm, words):
    code, _, err = ebm("train", *TINY, "trainer.n_steps=60", "trainer.evaluate_every=10", *words)
    assert code == 0, err
    rows = find("last").rows()
    assert rows[-1]["kl"] < rows[0]["kl"]


def trained_alone(option):
    """Whether an energy can be used with the default objective: it is trainable and takes no noise level."""
    node = yaml.safe_load(option.path.read_text())
    return compatibility.trainable(node) and "noise_level" not in compatibility.provides(node)


OPTIONS = [
    (group, name)
    for group, options in option_files.groups().items()
    for name in options
    if group != "energy" or trained_alone(options[name])
]


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=map("=".join, OPTIONS))
def test_every_file_of_conf_composes_and_is_typed(tmp_path, group, name):
    words = [f"{group}={name}"]
    first = compose.compose(words)
    if first.choices["dataset"].endswith("table"):
        (tmp_path / "x.csv").write_text("a,b\n" + "0,1\n1,0\n" * 10)
        words.append(f"dataset.path={tmp_path / 'x.csv'}")
    words += [f"{key}={compose.look(first.config, key)}" for key in first.searched]  # the keys that a preset searches need values

    def typing():
        composed = compose.compose(words)
        # an option that needs another energy than the default is checked without the rest of the config
        return schema.check(composed.config) if compatibility.problems(composed) else check(composed)

    typed = typing()
    stored = yaml.safe_load(option_files.groups()[group][name].path.read_text())
    if group in ("metric", "regularizer", "figure"):
        given = {key: value for key, value in stored[name].items() if not str(value).startswith("${")}
        assert {**typed[group][name], **given} == typed[group][name]
    elif group != "experiment":
        assert typed[group]["_target_"] == stored["_target_"]
    assert typing() == typed
