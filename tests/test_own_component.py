"""A user's objective in their own folder: a module, an option file, and a package that EBM_ALLOW names."""

import json
import shutil
import sys
from pathlib import Path

import pytest

OBJECTIVE = '''
"""Denoising score matching: 1/2 |sigma s(x + sigma z) + z|^2. Vincent 2011."""

from dataclasses import dataclass

from ebm_cli.core.contracts import Objective
from ebm_cli.types import Positive


@dataclass(frozen=True)
class Denoising(Objective):
    sigma: Positive

    def prepare(self, model, params, carry, x, rng):
        return {"z": rng.normal_like("z", x)}, carry, {}

    def loss(self, model, params, x, aux):
        residual = self.sigma * model.score(params, x + self.sigma * aux["z"], create_graph=True) + aux["z"]
        return 0.5 * model.inner(residual, residual), {}
'''
CONFIG = """# Denoising score matching at one noise level
# Vincent 2011
_target_: theirs.denoising.Denoising
sigma: 0.2
"""


@pytest.fixture
def theirs(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working directory is added to it
    Path("theirs").mkdir()
    Path("theirs/denoising.py").write_text(OBJECTIVE)
    Path("options/objective").mkdir(parents=True)
    Path("options/objective/denoising.yaml").write_text(CONFIG)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "theirs"]:
        del sys.modules[name]


def test_it_is_trained_by_its_name(theirs, ebm, monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_ALLOW", "theirs")
    code, out, err = ebm(
        "train", "--config-dir", "options", "objective=denoising", "experiment=smoke", "energy=score_mlp", "objective.sigma=0.3"
    )
    assert code == 0, err
    (summary,) = tmp_path.glob("outputs/runs/moons-denoising-*/summary.json")
    assert 0 < json.loads(summary.read_text())["test_loss"] < 1.0  # d/2 = 1 for a network that outputs zero
    assert "EBM_ALLOW=theirs ebm train --config-dir=options objective=denoising" in out
    assert "denoising" in ebm("train", "--config-dir", "options", "--help")[1]
    code, out, _ = ebm("list", "objective", "--config-dir", "options")
    (line,) = [line for line in out.splitlines() if line.split()[1] == "denoising"]
    assert " ".join(line.split()) == "objective denoising Denoising score matching at one noise level Vincent 2011"


def test_a_package_that_is_not_allowed_is_refused(theirs, ebm, tmp_path):
    code, _, err = ebm("train", "--config-dir", "options", "objective=denoising")
    assert code == 2
    assert "theirs.denoising.Denoising lies outside" in err
    assert "EBM_ALLOW=" in err
    assert "theirs" not in sys.modules  # not even imported, since an import runs code
    assert not (tmp_path / "outputs").exists()


def test_values_are_checked_against_the_signature(theirs, ebm, monkeypatch):
    monkeypatch.setenv("EBM_ALLOW", "theirs")
    code, _, err = ebm("train", "--config-dir", "options", "objective=denoising", "objective.sigma=-1")
    assert code == 2
    assert "objective.sigma: must be greater than 0, not -1" in err


def test_a_mistake_is_reported_with_its_place(theirs, ebm, monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_ALLOW", "theirs")
    Path("theirs/denoising.py").write_text(OBJECTIVE.replace('aux["z"]', 'aux["noise"]'))
    code, out, err = ebm("train", "--config-dir", "options", "objective=denoising", "experiment=smoke")
    line = next(i for i, text in enumerate(OBJECTIVE.splitlines(), 1) if 'aux["z"]' in text)
    assert (code, out) == (1, "")
    assert f"error: KeyError: 'noise' (theirs/denoising.py:{line})" in err
    assert not (tmp_path / "outputs").exists()


def test_changed_code_has_a_warning(theirs, ebm, monkeypatch):
    """The identity of a run is its config, so its stored result is shown; the package that has changed is named."""
    monkeypatch.setenv("EBM_ALLOW", "theirs")
    line = ["train", "--config-dir", "options", "objective=denoising", "experiment=smoke", "metric=[]", "figure=[]"]
    code, _, err = ebm(*line)
    assert code == 0, err
    assert "warning" not in ebm(*line)[2]
    Path("theirs/helper.py").write_text("A = 1")
    code, _, err = ebm(*line)
    assert code == 0
    assert err.splitlines()[:2] == [
        "warning: the code of theirs has changed since this run began",
        "this run is finished: its stored result is shown; force=true trains it again",
    ]


def test_a_run_that_continues_with_changed_code_has_a_warning_then_and_later(theirs, ebm, monkeypatch, tmp_path):
    """An interrupted run continues from step 150 of 200. The code with which it began stays recorded."""
    monkeypatch.setenv("EBM_ALLOW", "theirs")
    line = ["train", "--config-dir", "options", "objective=denoising", "experiment=smoke", "metric=[]"]
    code, _, err = ebm(*line)
    assert code == 0, err
    (folder,) = tmp_path.glob("outputs/runs/*")
    shutil.rmtree(folder / "checkpoints" / "00000200")
    (folder / "status.json").write_text('{"state": "interrupted", "reason": "by hand"}')
    Path("theirs/denoising.py").write_text(OBJECTIVE + "# edited")
    code, _, err = ebm(*line)
    assert code == 0
    assert "warning: the code of theirs has changed since this run began; force=true trains it from the start" in err
    assert "continuing from step 150" in err
    assert "warning: the code of theirs has changed since this run began" in ebm(*line)[2]
