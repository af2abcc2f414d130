"""The arithmetic of the benchmark on real tables: paired differences, the choice of a line, the counts, and the kernel densities."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import table_likelihoods as bench


@pytest.fixture(autouse=True)
def cells(tmp_path, monkeypatch):
    """An empty folder of cells."""
    monkeypatch.setattr(bench, "CELLS", tmp_path)
    return tmp_path


def put(method, *splits, table="t", **facts):
    """Store the NLLs of the test rows of a method for the splits 0, 1, ..."""
    for split, nll in enumerate(splits):
        bench.store(bench.cell(table, split, method), np.array(nll), **facts)


def test_a_difference_is_paired_within_a_split_and_averaged_over_splits():
    put("default", [1.0, 2.0, 3.0], [0.0, 1.0])
    put("kde", [1.5, 2.0, 4.0], [0.0, 2.0])
    mean, error = bench.difference("t", (0, 1), "default", "kde")
    assert mean == pytest.approx((-0.5 - 0.5) / 2)
    first, second = np.var([-0.5, 0, -1], ddof=1) / 3, np.var([0, -1], ddof=1) / 2
    assert error == pytest.approx(math.sqrt(first + second) / 2)
    put("gaussian", [1.0, 2.0, 3.0], [])  # refused on one split
    assert bench.difference("t", (0, 1), "default", "gaussian") is None
    assert bench.mean_nll("t", (0, 1), "gaussian") is None
    assert bench.mean_nll("t", (0, 1), "default") == pytest.approx((2 + 0.5) / 2)


def test_the_line_is_chosen_on_validation_rows_and_never_a_reference_alone():
    put("default", [1.0], selected_validation=2.0)
    put("pcd", [9.0], selected_validation=1.0)  # better on the validation rows, worse on the test rows
    put("flow", [0.0], selected_validation=0.0)
    put("ssm", [0.0], selected_validation=None)
    assert bench.chosen_line("t", (0,)) == "pcd"
    assert bench.chosen_line("t", (0, 1)) is None  # a split is missing


def test_a_summary_compares_with_the_best_baseline_and_the_best_flow():
    put("default", [1.0, 1.2], [1.0, 1.2], log_z_error=0.02, seconds=3.0, n_columns=4, selected_validation=1.0)
    put("gaussian", [3.0, 3.0], [3.0, 3.0])
    put("mixture", [2.0, 2.1], [2.0, 2.1])
    put("flow", [1.5, 1.5], [1.5, 1.5])
    put("standardized flow", [1.4, 1.4], [1.4, 1.4])
    own = bench.summarize("t", (0, 1))
    assert (own["best_baseline"], own["flow"], own["chosen_line"]) == ("mixture", "standardized flow", "default")
    assert own["default_against_baseline"][0] == pytest.approx(-0.95)
    assert own["chosen_against_flow"][0] == pytest.approx(-0.3)
    assert own["log_z_width"] == pytest.approx(0.04)


def test_the_verdict_counts_two_standard_errors_and_a_floor():
    def row(default, flow, width):
        return {"default_against_baseline": default, "chosen_against_flow": flow, "log_z_width": width}

    rows = [
        row((-1.0, 0.4), (-0.1, 1.0), 0.1),  # better, ahead, narrow
        row((-1.0, 0.6), (0.1, 1.0), 0.11),  # neither better nor worse
        row((0.04, 0.01), None, None),  # below the floor of 0.05 nats
        row((0.06, 0.01), (-0.1, 1.0), 0.05),  # worse
        row((0.06, 0.04), (-0.1, 1.0), 0.05),  # within two standard errors
    ]
    text = bench.verdict(dict(enumerate(rows)))
    assert "better than the best baseline by two standard errors on 1 of 5 tables, and worse" in text
    assert "0.05 nats on 1." in text
    assert "ahead of the flow on 3 of 4 tables" in text
    assert "at most 0.1 nats wide on 3 of 5 tables" in text


def test_kernels_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows, x = rng.normal(size=(300, 3)), rng.normal(size=(600, 3))
    expected = KernelDensity(bandwidth=0.4).fit(rows).score_samples(x)
    assert bench.Kernels(rows, 0.4).score_samples(x) == pytest.approx(expected, abs=1e-4)
    assert bench.Kernels(rows).mean_scores(x, [0.2, 0.4])[1] == pytest.approx(expected.mean(), abs=1e-4)


def test_the_settings_of_baselines_are_chosen_on_the_validation_rows():
    """Two clusters far apart: one Gaussian does not suffice, and a kernel is narrower than a cluster."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(600, 2)) + 10 * rng.integers(2, size=(600, 1))
    fitted, chosen = bench.fits("mixture", both[:500], both[500:])["mixture"]
    assert 2 <= chosen["n_components"] <= 8
    truth = -math.log(2) - 0.5 * np.minimum((both**2).sum(1), ((both - 10) ** 2).sum(1)) - math.log(2 * math.pi)
    assert fitted.score_samples(both[500:]).mean() == pytest.approx(truth[500:].mean(), abs=0.05)
    _, chosen = bench.fits("kde", both[:500], both[500:])["kde"]
    assert 0.2 < chosen["width"] < 0.8
