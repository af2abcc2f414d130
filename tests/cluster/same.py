"""Helpers of the tests of remote engines: lines, and the comparison of the results of two runs."""

import json
import re
import sys
import time
from pathlib import Path

from rogue import PATIENCE, TINY

from ebm_cli.runs.run import Run
from ebm_cli.training import checkpoint

LINE = (
    *TINY,
    "device=cpu",
    "trainer.log_every=1",
    "trainer.checkpoint_every=1000",
)  # checkpoints in between are those requested by a signal
LONG = (*LINE, "trainer.n_steps=60")
PATHS = {"PYTHONPATH": ":".join(sys.path)}  # for components that are not installed


def the_run(outputs, seed=0):
    (path,) = (outputs / "runs").glob(f"*-s{seed}-*")
    return Run(path)


def result(run):
    """The last checkpoint, rows and numbers without seconds, samples."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.rows()]
    summary = {key: value for key, value in run.read("summary.json").items() if "second" not in key}
    state = checkpoint.newest(run.checkpoints, print) / "state.safetensors"
    return state.parent.name, state.read_bytes(), rows, summary, (run.path / "samples.npz").read_bytes()


def assert_same(run, other):
    assert run.read("status.json")["state"] == "finished"
    for ours, theirs in zip(result(run), result(other), strict=True):
        assert ours == theirs


def resumed_at(run):
    """The steps from which the run was continued, according to train.log."""
    return [int(step) for step in re.findall(r"continuing from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE)]


def saved_at(run):
    """The steps at which a signal made the run save its state."""
    return [int(step) for step in re.findall(r"(?:saved a checkpoint|signal \d+) at step (\d+)", (run.path / "train.log").read_text())]


def sweep_json(outputs):
    """The sweep.json of the only sweep in an outputs folder."""
    (path,) = outputs.glob("sweeps/*/sweep.json")
    return json.loads(path.read_text())


def all_runs(outputs):
    """Every run of an outputs folder."""
    return [Run(path.parent) for path in outputs.glob("runs/*/config.yaml")]


def until(condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def steps_of(path):
    """The last logged step of the only run in an outputs folder."""
    found = list(Path(path).glob("runs/*/metrics.jsonl"))
    rows = Run(found[0].parent).rows() if found else []
    return rows[-1]["step"] if rows else 0
