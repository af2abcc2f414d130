"""AUROC and average precision: those of scikit-learn, and their closed form on Gaussians."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from contexts import context_of, reason
from sklearn.metrics import average_precision_score, roc_auc_score
from tables import table
from torch import nn

from ebm_cli.metrics import auroc
from ebm_cli.metrics.auroc import Auroc


class Quadratic(nn.Module):
    """sign |u|^2 / 2, low near the mean of the data."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(sign))

    def forward(self, x):
        return 0.5 * self.scale * x.square().sum(-1)


class OnlyFirst(Quadratic):
    """u_0^2 / 2."""

    def forward(self, x):
        return 0.5 * self.scale * x[:, 0].square()


class Score(Quadratic):
    outputs_score = True

    def forward(self, x):
        return -x


@pytest.mark.parametrize("n_values", [2, 5, 1000])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_both_numbers_are_those_of_scikit_learn_with_ties(n_values, share):
    rng = np.random.default_rng(n_values)
    positive = rng.random(500) < share
    score = np.round(n_values * (rng.random(500) + 0.3 * positive)) / n_values
    assert auroc.auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert auroc.average_precision(score, positive) == pytest.approx(average_precision_score(positive, score), abs=1e-12)


def test_a_constant_score_knows_nothing():
    positive = np.arange(50) < 20
    assert auroc.auroc(np.ones(50), positive) == 0.5
    assert auroc.average_precision(np.ones(50), positive) == 0.4
    score = np.where(positive, np.inf, 1.0)  # an infinite energy is the highest
    assert auroc.auroc(score, positive) == auroc.average_precision(score, positive) == 1


def labelled(n=4000, **values):
    """A quarter of the rows, of class 2, are three times as wide."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["1", "0", "2", "0"], n)
    rows = rng.standard_normal((n, 2)) * np.where(kind == "2", 3.0, 1.0)[:, None]
    Path("labelled.csv").write_text("a,kind,b\n" + "".join(f"{a!r},{k},{b!r}\n" for (a, b), k in zip(rows.tolist(), kind, strict=True)))
    return table("labelled.csv", **({"label": "kind", "anomaly": [2]} | values))


@pytest.mark.parametrize("values", [{}, {"test": 0.0}, {"train_on": "normal"}, {"test": 0, "train_on": "normal"}])
def test_anomalies_have_high_energies_and_great_scores(values):
    """|x|^2 / 2 is exponential with mean 1 for normal rows and 9 for anomalies: P(a > b) = 9 / 10.

    Either is the AUROC of about 800 or 4,000 rows with a standard deviation of at most 0.012 or 0.006 (Hanley & McNeil 1982).
    """
    data = labelled(**values)
    found = Auroc()(context_of(Quadratic(), data))
    assert found["auroc"] == pytest.approx(0.9, abs=0.04 if values.get("test", 1) else 0.02)
    assert found["auroc_score_norm"] == pytest.approx(found["auroc"], abs=1e-6)  # |u| is a monotone function of the energy
    assert found["average_precision_score_norm"] == pytest.approx(found["average_precision"], abs=1e-6)
    assert found["average_precision"] > 0.7
    upside_down = Auroc()(context_of(Quadratic(-1.0), data))
    assert upside_down["auroc"] == pytest.approx(1 - found["auroc"], abs=1e-6)
    assert upside_down["auroc_score_norm"] == pytest.approx(found["auroc_score_norm"], abs=1e-6)
    is_anomaly = data.is_anomaly("test" if values.get("test", 1) else "all")
    assert len(is_anomaly) == (800 if values.get("test", 1) else 4000)


def test_the_reasons_why_there_is_no_number():
    context = context_of(Score(), labelled(n=400))
    found = Auroc()(context)
    assert found["auroc"] == found["average_precision"] == "the network outputs the score itself: there is no energy"
    assert math.isfinite(found["auroc_score_norm"])
    assert "no labels of anomalies" in reason(Auroc(), context_of(Quadratic(), labelled(n=400, anomaly=None)))
    rare = labelled(n=400, label=None, columns=["a", "b"], anomaly=None)
    assert "no labels of anomalies" in reason(Auroc(), context_of(Quadratic(), rare))
    every = labelled(n=400, anomaly=["0", "1", "2"])
    assert Auroc()(context_of(Quadratic(), every)) == "all of the 80 events are anomalies: both kinds are needed"
    hurt = Auroc()(context_of(Quadratic(math.nan), labelled(n=400)))
    assert hurt["auroc"] == "the energy is not a number at some events"


def test_rows_on_a_grid_are_scored_without_noise():
    """Noise would spoil the order of 0, 1 and 2, of which the greatest are the anomalies, and divide equal rows."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.choice([-2, -1, 0, 1, 2], 400), np.tile([0, 1], 200)])
    Path("grid.csv").write_text("a,b,kind\n" + "".join(f"{a},{b},{int(abs(a) == 2)}\n" for a, b in rows))
    for values in ({}, {"test": 0.0}):
        data = table("grid.csv", label="kind", anomaly=[1], equal_rows="apart", **values)
        assert data.dequantized
        found = Auroc()(context_of(OnlyFirst(), data))
        assert {found["auroc"], found["average_precision"], found["auroc_score_norm"]} == {1.0}
