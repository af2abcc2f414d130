"""A figure of the calibration of `ebm score quantile=q`: how many held-out events exceed the threshold, against q.

The held-out events are divided at random: the thresholds come from n of them (core/conformal.py), and the rates are those of the other m.
If both are exchangeable, the number above the threshold at q has a beta-binomial distribution with the parameters m, a = n + 1 - k and
b = k, where k = ceil((n + 1)(1 - q)). The band contains it with a probability of at least 95 % at each q, not at all q together. A model
that has overfitted gives its training data lower energies, so that they exceed the threshold less often.
"""

from dataclasses import dataclass
from fractions import Fraction as Ratio
from math import lgamma
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import conformal, style
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.types import Count

COVERAGE = 0.95
N_RATES = 60  # nominal rates at which the band is drawn


@dataclass(frozen=True)
class Calibration(Figure):
    """At most `n_points` held-out events are used, of which one half sets the thresholds; at least `fewest` are needed."""

    n_points: Count
    fewest: Count
    shows_samples: ClassVar[bool] = False

    def lacking(self, scene: Scene) -> str | None:
        if scene.dataset is None:
            return "the data are not available"
        if not scene.has_energy:
            return "the model gives no energy for an event: it outputs the score itself or takes a label"
        n = len(scene.dataset.split("test", self.n_points, scene.rng).x)
        return None if n >= self.fewest else f"there are {n} held-out events, and at least {self.fewest} are needed"

    def plot(self, scene: Scene) -> Drawing:
        energies = {name: scene.energies(scene.dataset.split(name, self.n_points, scene.rng).x) for name in ("train", "test")}
        order = scene.rng.at("figure").permutation("calibration", len(energies["test"])).cpu().numpy()
        first, second = np.array_split(energies["test"][order], 2)
        nominal = np.unique(np.ceil(np.geomspace(1, len(first), N_RATES)) / (len(first) + 1))
        drawing = Drawing(figsize=(6.4, 5.4), layout="constrained")
        axis = drawing.subplots()
        drawing.suptitle(f"{scene.title}\nthreshold of `ebm score quantile=q`")
        band = np.array([interval(len(first), len(second), q) for q in nominal]).T / len(second)
        axis.fill_between(nominal, *band, color="lightgrey", label=f"{COVERAGE:.0%} of repetitions, at each q")
        axis.plot([nominal[0], 1], [nominal[0], 1], color="black", linewidth=0.8, label="exact")
        axis.plot(nominal, rates(first, second, nominal), color=style.HELD_OUT, label=f"held-out data, n = {len(second)}")
        axis.plot(nominal, rates(first, energies["train"], nominal), color=style.DATA, linestyle="--", label="training data")
        low = max(1 / len(second) / 2, nominal[0] / 2)
        axis.set(xscale="log", yscale="log", xlim=(nominal[0], 1), ylim=(low, 1.3), aspect="auto")
        axis.set(xlabel=f"q, nominal rate (thresholds from {len(first)} held-out events)", ylabel="observed rate of higher energies")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left")
        return drawing


def rates(first: np.ndarray, second: np.ndarray, nominal: np.ndarray) -> np.ndarray:
    """The share of the energies `second` above the threshold that `first` gives at each nominal rate."""
    return np.array([(second > conformal.threshold(first, ratio(q, len(first)))).mean() for q in nominal])


def ratio(q: float, n: int) -> Ratio:
    """q as a multiple of 1 / (n + 1), without a rounding error."""
    return Ratio(round(q * (n + 1)), n + 1)


def interval(n: int, m: int, q: float) -> tuple[int, int]:
    """The central interval of the number of m new values above the threshold that n values give at q."""
    above = round(q * (n + 1))  # n + 1 - k
    mass = np.cumsum(beta_binomial(m, above, n + 1 - above))
    return int(np.searchsorted(mass, (1 - COVERAGE) / 2)), int(np.searchsorted(mass, 1 - (1 - COVERAGE) / 2))


def beta_binomial(m: int, a: float, b: float) -> np.ndarray:
    """The probabilities of 0 ... m: choose(m, j) B(j + a, m - j + b) / B(a, b)."""
    constant = lgamma(m + 1) + lgamma(a + b) - lgamma(a) - lgamma(b) - lgamma(m + a + b)
    terms = [lgamma(j + a) + lgamma(m - j + b) - lgamma(j + 1) - lgamma(m - j + 1) for j in range(m + 1)]
    return np.exp(constant + np.array(terms))
