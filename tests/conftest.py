"""Shared fixtures: the command in this process and in its own process, and small experiments."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from lines import last_of_each_key

from ebm_cli import __main__
from ebm_cli.config import compose
from ebm_cli.runner.experiment import Experiment

torch.set_num_threads(1)
for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(number) == signal.SIG_IGN:  # in the background of a shell, or under nohup; the tests send these signals
        signal.signal(number, handler)
SMALL = ("energy=mlp", "energy.hidden=[16,16]", "trainer.batch_size=32", "metric=quadrature", "device=cpu")


def pytest_collection_modifyitems(items):
    """Start the slow tests first, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(autouse=True)
def _outputs(tmp_path, monkeypatch):
    """Every test has its own outputs folder, runs in an empty folder, and is isolated from the user's settings."""
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("EBM_ALLOW", "EBM_DEBUG", "NO_COLOR", *(name for name in os.environ if name.startswith("WANDB_"))):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WANDB_MODE": "offline", "NETRC": str(tmp_path / "netrc"), "WANDB_SILENT": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_SILENT")  # the variable was set first so that it is restored even if the test sets it
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def ebm(capsys):
    """`ebm(...)` runs the command in this process and returns (exit code, stdout, stderr)."""

    def call(*words):
        capsys.readouterr()
        code = __main__.main(last_of_each_key(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def ebm_process():
    """`ebm_process(...)` starts the command in its own process and returns the Popen."""

    def start(*words, **options):
        command = [sys.executable, "-m", "ebm_cli", *last_of_each_key(words)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": dict(os.environ)} | options
        return subprocess.Popen(command, **options)

    return start


@pytest.fixture
def trainer():
    """`trainer("objective=nce", "seeds=3")` is a small trainer before its first step."""

    def build(*words):
        return Experiment.of(compose.compose(last_of_each_key([*SMALL, *words]))).trainer()

    return build


@pytest.fixture
def double():
    """Run the test in double precision, for comparisons with closed forms."""
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)
