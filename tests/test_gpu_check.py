"""The check of GPUs: what it reports on the CPU and on an emulated accelerator, and the mistakes that it must find."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
SMALL = ("trainer.batch_size=16",)
FITS = {"flow": ("reference.n_steps=2", "reference.hidden=[8]"), "mixture": ("reference.n_components=2", "reference.shrinkage=1.0")}


@pytest.fixture
def script(monkeypatch):
    """The script as a module."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    specification = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    specification.loader.exec_module(module)
    return module


def run(script, capsys, path, *words, n_steps=4):
    """The exit code, the rows and the output of the check of the CPU."""
    code = script.main(["--device", "cpu", "--steps", str(n_steps), "--json", str(path / "found.json"), *words], SMALL)
    return code, json.loads((path / "found.json").read_text())["rows"], capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_plain_checkout_without_a_gpu_is_skipped_in_one_line(tmp_path):
    """Neither an installed package nor a working directory is needed."""
    for name in ("ebm_cli", "conf", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, tmp_path / "copy" / "scripts" / "gpu_check.py"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"gpu_check: torch {torch.__version__} sees no GPU; nothing was checked\n"


def test_the_cpu_does_not_deviate_from_itself(script, capsys, tmp_path):
    words = ["annealed", "nce", "ais", "draws", "table", "rosenbrock", "bernoulli"]
    code, rows, out = run(script, capsys, tmp_path, "--only", *words, "--skip", "compiled", "ais")
    assert code == 0
    assert [(row["check"], row["component"]) for row in rows] == [
        *(("training", "nce mlp"), ("stack", "nce mlp"), ("resume", "nce mlp"), ("reference", "bernoulli")),
        *(("dataset", "table"), ("sampler", "annealed"), ("energy", "rosenbrock"), ("draws", "Rng")),
    ]
    assert {row["deviation"] for row in rows if row["component"] != "bernoulli"} == {0.0}
    assert rows[3]["result"].startswith("skipped: reference=bernoulli needs binary events")
    assert rows[0]["rate"] > 0
    assert rows[0]["cpu_rate"] > 0
    assert "8 checks: 7 passed, 1 skipped, 0 failed" in out


def test_every_objective_and_every_trainable_energy_is_checked(script):
    pairs = list(script.Checker(torch.device("cpu"), 1).pairs())
    assert {objective for objective, _ in pairs} == set(script.options("objective"))
    trainable = {name for name, node in script.options("energy").items() if script.compatibility.trainable(node)}
    assert {energy for _, energy in pairs} == trainable


def mistaken_loss(trainer):
    plain = trainer.objective.loss
    object.__setattr__(trainer.objective, "loss", lambda *arguments: (1.01 * plain(*arguments)[0], {}))


def mistaken_update(trainer):
    object.__setattr__(trainer.optimizer, "lr", 1.01 * trainer.optimizer.lr)


@pytest.mark.parametrize("mistake", [mistaken_loss, mistaken_update])
def test_a_mistake_in_training_on_the_device_is_found(script, capsys, tmp_path, monkeypatch, mistake):
    """The first trainer of a check is that of the CPU, the second that of the device."""
    plain, made = script.Checker.trainer, []

    def trainer(*arguments):
        made.append(plain(*arguments))
        if len(made) % 2 == 0:
            mistake(made[-1])
        return made[-1]

    monkeypatch.setattr(script.Checker, "trainer", trainer)
    code, (row,), out = run(script, capsys, tmp_path, "--only", "dsm", "--skip", "compiled", "stack", "resume")
    assert code == 1
    assert row["result"] == "FAILED"
    assert row["deviation"] == pytest.approx(0.01, rel=0.2)
    assert "1 failed" in out


def test_a_state_that_is_not_restored_is_found(script, capsys, tmp_path, monkeypatch):
    plain = script.checkpoint.load

    def load(path, trainer):
        plain(path, trainer)
        trainer.state.optimizer["m"].zero_()

    monkeypatch.setattr(script.checkpoint, "load", load)
    code, (row,), _ = run(script, capsys, tmp_path, "--only", "dsm", "--skip", "compiled", "stack", "training")
    assert (code, row["check"], row["result"]) == (1, "resume", "FAILED")


def test_an_error_is_a_failed_row(script, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(script.Checker, "draws", lambda self: torch.zeros(2) @ torch.zeros(3))
    code, (row,), _ = run(script, capsys, tmp_path, "--only", "draws")
    assert code == 1
    assert row["result"].startswith("FAILED: RuntimeError: ")


@pytest.mark.slow
def test_every_component_works_on_an_emulated_accelerator(tmp_path):
    """In a process of its own, because a device cannot be unregistered. The slowest components are left out."""
    program = f"""
import emulated_gpu, gpu_check
from pathlib import Path
with emulated_gpu.emulation() as device:
    checker = gpu_check.Checker(device, 1, {SMALL}, Path({str(tmp_path)!r}), {FITS})
    left_out = ["compiled", "stack", "resume", "sweep", "mle", "short_run", "annealed", "ais", "c2st"]
    rows = gpu_check.check(checker, [], left_out, lambda rows: None)
assert {{row.check for row in rows}} >= {{"training", "dataset", "sampler", "metric", "energy"}}, rows
assert not any(row.failed for row in rows)
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}:{SCRIPT.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
