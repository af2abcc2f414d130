"""The Ray engine with a real Ray: on a local cluster with simulated GPUs, and on a cluster started by the sweep."""

import os
import re
import signal
import socket
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from uuid import uuid4

import pytest
import rogue
from rogue import Command, diary
from same import LINE, LONG, PATHS, all_runs, assert_same, resumed_at, saved_at, sweep_json, the_run, until

os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid4().hex * 2,
}  # authenticates these processes to each other; Ray reads it at import
engine = pytest.importorskip("ebm_cli.sweeps.ray", reason="needs `pip install 'ebm-cli[ray]'`")
RAY, HERE, ON_CORES = "hydra/launcher=ray", "hydra.launcher.ray.init.address=local", "hydra.launcher.ray.remote.num_gpus=0"


@pytest.fixture(autouse=True)
def _let_go(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS["PYTHONPATH"])
    yield
    engine.ray.shutdown()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """(the words that select the cluster, its diary). It has four simulated GPUs, and another working directory and outputs folder."""
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EBM_")}
    environment |= PATHS | {
        "ROGUE_DIARY": str(folder / "diary"),
        "ROGUE_PAUSE": "0.3",
        "EBM_OUTPUTS": "/nowhere",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    start = ["--head", "--block", f"--port={port}", "--num-gpus=4", "--num-cpus=4", "--include-dashboard=false"]
    with open(folder / "output", "w") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", *start],
            env=environment,
            cwd="/",
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    until(lambda: "Ray runtime started" in (folder / "output").read_text() or process.poll() is not None)
    assert process.poll() is None, (folder / "output").read_text()
    yield (RAY, f"hydra.launcher.ray.init.address=127.0.0.1:{port}"), folder / "diary"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def test_parallel_jobs_never_share_a_gpu(cluster, tmp_path):
    """All paths are relative to the working directory of the command. Repeating the command reuses the finished runs."""
    words, log = cluster
    outputs, line = Path("results"), (*LINE, "seed=0,1,2,3,4", *words)
    done = rogue.train(outputs, *line)
    assert done.code == 0, done.err
    assert re.search("finished +5 ", done.out)
    jobs = {}
    for entry in diary(log):
        jobs.setdefault(entry["seed"], []).append(entry)
    times = {seed: (entries[0]["time"], entries[-1]["time"], entries[0]["gpu"]) for seed, entries in jobs.items()}
    assert all(gpu in "0123" and len(gpu) == 1 for _, _, gpu in times.values())
    assert all({entry["omp"] for entry in entries} == {"1"} and {entry["threads"] for entry in entries} == {1} for entries in jobs.values())
    overlapping = [(a, b) for a, b in combinations(times.values(), 2) if a[0] < b[1] and b[0] < a[1]]
    assert len(overlapping) >= 3
    assert all(a[2] != b[2] for a, b in overlapping)
    assert len({entry["pid"] for entry in diary(log)}) == 5
    for seed in range(5):
        assert "Results saved to results/runs/moons-rogue-s" in (the_run(outputs, seed).path / "output.log").read_text()
    n_lines = len(diary(log))
    again = rogue.train(outputs, *line)
    assert (again.code, again.out) == (0, done.out)
    assert len(diary(log)) == n_lines


def test_a_failing_job_does_not_affect_the_others_and_is_not_retried(cluster, tmp_path):
    """The jobs raise, exit or are killed; the sweep ends with a table of the failures."""
    words, _ = cluster
    outputs = tmp_path / "outputs"
    done = rogue.train(outputs, *LINE, "objective.how=raise,exit,kill,os_exit,well", *words)
    assert done.code == 1
    assert [run["state"] for run in sweep_json(outputs)["runs"]] == ["failed"] * 4 + ["finished"]
    rows = {line.split()[0]: line for line in done.err.splitlines() if line.startswith("objective.how=")}
    assert "ValueError: a mistake of the user" in rows["objective.how=raise"]
    assert "a component called sys.exit(3)" in rows["objective.how=exit"]
    assert "killed, perhaps out of memory" in rows["objective.how=kill"]
    for run in all_runs(outputs):
        how = run.config()["objective"]["how"]
        assert ((run.path / "train.log").read_text().count("new run"), resumed_at(run)) == (1, [])
        assert how == "well" or (run.path / "output.log").read_text().count(f"about to do: {how}\n") == 1


def test_jobs_on_cores_see_no_gpu(tmp_path):
    """Ray is started for the sweep and ends with it."""
    outputs, log = tmp_path / "outputs", tmp_path / "diary"
    done = rogue.train(outputs, *LINE, "seed=0,1", RAY, HERE, ON_CORES, "hydra.launcher.ray.init.num_cpus=2", ROGUE_DIARY=log)
    assert done.code == 0, done.err
    assert {(entry["gpu"], entry["threads"]) for entry in diary(log)} == {("", 1)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cancelled_jobs_save_their_state(tmp_path, number):
    outputs, words = tmp_path / "outputs", (*LONG, "seed=0", RAY, HERE, ON_CORES)
    command = Command(outputs, *words, ROGUE_PAUSE=0.2)
    command.wait_for_step(10, 1)
    command.kill(number)
    done = command.end()
    assert done.code == 128 + number, done.err
    assert "the same command continues the others" in done.err
    (saved,) = saved_at(the_run(outputs))
    assert 10 <= saved < 60
    assert the_run(outputs).read("status.json")["state"] == "interrupted"
    if number == signal.SIGTERM:
        return
    assert rogue.train(outputs, *words[:-3], "hydra/launcher=gpu").code == 0
    assert resumed_at(the_run(outputs)) == [saved]
    whole = tmp_path / "whole" / "outputs"
    assert rogue.train(whole, *words[:-3]).code == 0
    assert_same(the_run(outputs), the_run(whole))


def test_a_job_that_needs_a_gpu_is_refused_without_gpus(tmp_path):
    done = rogue.train(tmp_path / "outputs", *LINE, "seed=0,1", RAY, HERE)
    assert done.code == 2
    assert "each job requests 1 GPU, but Ray has 0\nhint: hydra.launcher.ray.remote.num_gpus=0 runs the jobs on CPU cores" in done.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.launcher.ray.remote.num_gpus=-1", "hydra.launcher.ray.remote.num_gpus: must be greater than or equal to 0"),
        ("hydra.launcher.ray.init.adress=x", "hint: did you mean hydra.launcher.ray.init.address?"),
        (
            "hydra.launcher.ray.init.address=127.0.0.1:1",
            "error: hydra.launcher.ray.init.address: 127.0.0.1:1 does not answer: Connection refused",
        ),
    ],
)
def test_invalid_settings_are_refused(tmp_path, word, message):
    done = rogue.train(tmp_path / "outputs", *LINE, "seed=0,1", RAY, word)
    assert done.code == 2
    assert message in done.err


def test_a_token_that_ray_cannot_read_is_refused(tmp_path):
    """In a process of its own, because Ray reads the token once."""
    words = ["train", "-m", "seed=0,1", "objective=dsm", "device=cpu", RAY, HERE, ON_CORES]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_AUTH_TOKEN"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none"), "EBM_OUTPUTS": str(tmp_path / "outputs")}
    done = subprocess.run([sys.executable, "-m", "ebm_cli", *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "error: hydra.launcher.ray.init: Ray has no valid token: " in done.stderr
    assert "hint: set RAY_AUTH_TOKEN_PATH to a file" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()
