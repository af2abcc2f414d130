"""The defaults train well: exact KL by the bounds of scripts/methods.py, on a seed of our own and in the numbers that README shows."""

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
@pytest.mark.parametrize("objective", ["ssm", "nce", "pcd"])
def test_exact_kl(objective, methods, tmp_path, monkeypatch):
    """Seed 7: neither the search's nor README's. Seconds are left to the script: a test machine is shared."""
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path))
    metric = "metric=[quadrature,ais]" if objective == "nce" else "metric=[quadrature]"
    assert main(["train", f"objective={objective}", "dataset=moons", "seed=7", metric]) == 0
    run = Run(next(tmp_path.glob("runs/*")))
    found = methods.measured(run)
    if objective == "nce":  # what it has learned of log Z, what the grid says, and bounds that need no grid
        ais = {key.removeprefix("ais_log_z_"): value for key, value in run.read("summary.json").items() if key.startswith("ais_log_z")}
        assert ais["lower"] - 2 * ais["lower_error"] <= found["log_z"] <= ais["upper"] + 2 * ais["upper_error"]
        assert ais["upper"] - ais["lower"] < 0.2
    assert methods.missed("moons", [found | {"train_seconds": 0}]) == []
    assert found["kl"] > 0
    assert found["log_z_error"] < 1e-3


def test_what_readme_shows_keeps_the_bounds_and_leaves_nothing_out(methods):
    stored = json.loads(methods.RESULTS.read_text())
    rows = stored["rows"]
    assert stored["missed"] == [fault for dataset in methods.DATASETS for fault in methods.missed(dataset, rows[dataset])] == []
    for dataset in methods.DATASETS:
        there = sorted((row["objective"], row["seed"]) for row in rows[dataset])
        assert there == sorted((objective, seed) for objective in methods.OBJECTIVES for seed in methods.SEEDS)


@pytest.mark.parametrize(("value", "faults"), [(0.029, 0), (0.031, 1), (None, 1)])
def test_a_bound_is_held(value, faults, methods):
    assert len(methods.missed("moons", [{"objective": "ism", "kl": value, "train_seconds": 20}] * 2)) == faults
