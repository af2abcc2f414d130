"""The defaults train well: the exact KL is within the bounds of scripts/methods.py, on another seed and in the numbers of the README."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from ebm_cli.__main__ import main
from ebm_cli.runs.run import Run

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def methods():
    """The script as a module."""
    sys.path.insert(0, str(SCRIPTS))
    specification = importlib.util.spec_from_file_location("methods", SCRIPTS / "methods.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.path.remove(str(SCRIPTS))
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "n_steps"), [("ssm", 2000), ("nce", 1500), ("pcd", 1200)])
def test_exact_kl(objective, n_steps, methods, tmp_path, monkeypatch):
    """Seed 7 is used neither by the search nor by the README. Times are not tested, since test machines are shared.

    The numbers of steps are a third to a fifth of the default, with which the KL is smaller. The bounds are those of the default.
    """
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path))
    metric = "metric=[quadrature,ais]" if objective == "nce" else "metric=[quadrature]"
    assert main(["train", f"objective={objective}", "dataset=moons", "seed=7", f"trainer.n_steps={n_steps}", metric, "figure=[]"]) == 0
    run = Run(next(tmp_path.glob("runs/*")))
    found = methods.measured(run)
    if objective == "nce":  # compare the learned log Z with quadrature and with the bounds of AIS
        ais = {key.removeprefix("ais_log_z_"): value for key, value in run.read("summary.json").items() if key.startswith("ais_log_z")}
        assert ais["lower"] - 2 * ais["lower_error"] <= found["log_z"] <= ais["upper"] + 2 * ais["upper_error"]
        assert ais["upper"] - ais["lower"] < 0.2
    assert methods.missed("moons", [found | {"train_seconds": 0}]) == []
    assert found["kl"] > 0
    assert found["log_z_error"] < 1e-3


def test_the_numbers_of_the_readme_are_complete_and_within_the_bounds(methods):
    stored = json.loads(methods.RESULTS.read_text())
    rows = stored["rows"]
    assert stored["missed"] == [fault for dataset in methods.DATASETS for fault in methods.missed(dataset, rows[dataset])] == []
    for dataset in methods.DATASETS:
        there = sorted((row["objective"], row["seed"]) for row in rows[dataset])
        assert there == sorted((objective, seed) for objective in methods.OBJECTIVES for seed in methods.SEEDS)


@pytest.mark.parametrize(("value", "faults"), [(0.029, 0), (0.031, 1), (None, 1)])
def test_a_missed_bound_is_found(value, faults, methods):
    assert len(methods.missed("moons", [{"objective": "ism", "kl": value, "train_seconds": 20}] * 2)) == faults
