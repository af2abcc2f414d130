"""A disk that is full, as a limit on the size of files: the file and the cause are named, and nothing is lost."""

import os
import subprocess
import sys

import pytest
from command import LINE
from lines import last_of_each_key


def limited(*words, most=1024):
    """The exit code and the errors of `ebm WORDS`, in a process whose files cannot exceed `most` bytes."""
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); from ebm_cli.__main__ import run; run()"
    ended = subprocess.run([sys.executable, "-c", code, *last_of_each_key(words)], capture_output=True, text=True, env=dict(os.environ))
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("words", [("evaluate", "last", "metric=[quadrature,sliced_wasserstein]"), ("evaluate", "last", "n_samples=500")])
def test_measuring_a_run(run, words):
    before = (run / "summary.json").read_bytes()
    code, err = limited(*words)
    assert code == 1
    assert f"error: {run}/" in err
    assert "cannot be written: File too large\nhint: free disk space, or set EBM_OUTPUTS to another folder" in err
    assert (run / "summary.json").read_bytes() == before


def test_training(tmp_path):
    code, err = limited("train", *LINE)
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert code == 1
    assert f"error: {run}/" in err
    assert "cannot be written: File too large" in err


def test_a_sweep(tmp_path):
    """The failed job names the file and the cause."""
    code, err = limited("train", "-m", *LINE, "energy.hidden=[32,32]", "seed=5,6", most=16384)
    assert code == 1
    assert "2 of 2 jobs failed" in err
    assert "/checkpoints/00000000 cannot be written: File too large" in " ".join(err.split())
