"""The benchmark on known densities: its budget, its cells and its table. Expected values are by hand."""

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    import known_densities

    yield known_densities
    sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize(("fit", "step", "n"), [(2.0, 0.005, 11_000), (0.0, 0.009, 6600), (59.9, 0.05, 10), (10.0, 0.0066, 7500)])
def test_the_steps_within_the_budget_are_rounded_down(script, fit, step, n):
    """58 s of 5 ms are 11,600 steps; 60 s of 9 ms 6,666; what is left for nothing 10; 50 s of 6.6 ms 7,575."""
    assert script.n_steps(60.0, fit, step) == n


def test_the_cells_are_those_that_the_page_promises(script):
    found = script.cells()
    assert len(found) == len(set(found)) == 3 * 2 + 3 * 4 + 7 * 3 * 4 + 4
    assert {d for _, d, _ in found} == {10, 30, 64, 784}
    assert "objective=pcd" in script.line(("copula", 30, "pcd"))


def test_gaussian_pairs_are_measured_right_to_two_percent_and_the_truth_is_zero(script):
    """In 10 dimensions; 2.5 half-widths have a false-alarm rate of 1e-6."""
    for name, nats in script.PAIRS.items():
        row = script.measure(("gaussian", 10, name))
        assert row["kl"] == pytest.approx(nats, rel=0.02)
        assert abs(row["kl"] - nats) <= 2.5 * row["kl_error"]
    row = script.measure(("many_well", 10, "truth"))
    assert abs(row["kl"]) <= row["kl_error"] < 1e-3


def test_finished_cells_are_kept_and_others_are_appended_in_order(script, tmp_path, monkeypatch, capsys):
    """Two real cells; the second call measures the second, and the third call measures nothing."""
    monkeypatch.setattr(script, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(script, "cells", lambda: [("copula", 10, "truth"), ("ica", 10, "truth")])
    for n, names in ((1, ["copula"]), (1, ["copula", "ica"]), (None, ["copula", "ica"])):
        script.run(n)
        assert [row["dataset"] for row in json.loads((tmp_path / "results.json").read_text())] == names
    assert capsys.readouterr().out.count("truth") == 2


def test_the_table_by_hand(script):
    made = {"dim": 10, "commit": "abc"}
    rows = [
        {"dataset": "ica", "method": "nce", "kl": 0.5, "kl_error": 0.01, **made},
        {"dataset": "copula", "method": "nce", "kl": None, "reason": "it is too heavy", **made},
        {"dataset": "copula", "method": "pcd", "kl": 0.25, "kl_error": 0.02, **made},
    ]
    text = script.report(rows)
    assert "| data | nce | pcd |" in text
    assert "| `ica`, 10 | 0.5000 ± 0.0100 | - |" in text
    assert "| `copula`, 10 | refused | 0.2500 ± 0.0200 |" in text
    assert "- `copula`, 10, nce: it is too heavy" in text
