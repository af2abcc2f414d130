"""A figure with histograms of the energy of training data, held-out data, samples of the model and draws from the reference.

The dashed line is the threshold of `ebm score quantile=q` (core/conformal.py): on average at most a fraction q of new data has a higher
energy. Held-out data with higher energies than the training data show overfitting; samples with other energies than the held-out data show
chains that have not converged, or a model that does not fit. Differences of energies are log-ratios of densities, in nats.
"""

from dataclasses import dataclass
from fractions import Fraction as Ratio
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from matplotlib.figure import Figure as Drawing

from ebm_cli.core import conformal, style
from ebm_cli.core.figure import N_POINTS, Figure, Scene

MARGIN = 0.15  # the range reaches beyond the data and the samples by this share of their range


@dataclass(frozen=True)
class Energies(Figure):
    """`quantile` is the fraction q of the threshold."""

    quantile: Annotated[float, Gt(0), Lt(1)]

    def lacking(self, scene: Scene) -> str | None:
        if not scene.has_energy:
            return "the model gives no energy for an event: it outputs the score itself or takes a label"
        return None if len(self.sets(scene).get("samples", ())) else "there are no samples with a finite energy"

    def plot(self, scene: Scene) -> Drawing:
        sets = self.sets(scene)
        inner = np.concatenate([values for name, values in sets.items() if name != "reference"])
        low, high = np.quantile(inner, [0.001, 0.999])
        room = MARGIN * (high - low) or 0.5
        n_bins = int(np.clip(2 * len(sets["samples"]) ** 0.5, 20, 60))
        bins = np.linspace(min(low, inner.min()) - room / 3, high + room, n_bins + 1)
        drawing = Drawing(figsize=(7.2, 4.4), layout="constrained")
        axis = drawing.subplots()
        drawing.suptitle(scene.title)
        colors = {"data": style.DATA, "held-out data": style.HELD_OUT, "samples": style.SAMPLES, "reference": style.REFERENCE}
        for name, values in sets.items():
            beyond = (values > bins[-1]).mean() + (values < bins[0]).mean()
            label = f"{name}, n = {len(values)}" + (f", {beyond:.0%} outside" if beyond >= 0.005 else "")
            weights = np.full(len(values), 1 / len(values) / (bins[1] - bins[0]))  # shares of all values, not of those in the range
            look = {"histtype": "stepfilled", "alpha": 0.35} if name == "samples" else {"histtype": "step", "linewidth": 1.5}
            look |= {"linestyle": ":"} if name == "held-out data" else {}
            axis.hist(values, bins=bins, weights=weights, label=label, color=colors[name], **look)
        if (bound := self.threshold(sets)) is not None:
            axis.axvline(bound, color="black", linestyle="--", linewidth=1, label=f"threshold of quantile={self.quantile:g}")
        axis.set(xlabel="energy E(x), nats", ylabel="density, 1/nat", xlim=(bins[0], bins[-1]))
        axis.legend(loc="upper right")
        return drawing

    def sets(self, scene: Scene) -> dict[str, np.ndarray]:
        """The finite energies of at most N_POINTS events of each set, by its name; empty sets are left out."""
        draws = scene.draws.flatten(0, 1)
        draws = draws[np.linspace(0, len(draws) - 1, min(N_POINTS, len(draws))).astype(int)]
        points = {}
        if scene.dataset is not None:
            points = {
                name: scene.dataset.split(part, N_POINTS, scene.rng).x for name, part in (("data", "train"), ("held-out data", "test"))
            }
        points["samples"] = draws
        if scene.reference is not None:
            points["reference"] = scene.reference.draw(N_POINTS, scene.rng.at("figure"), "energies")
        return {name: found for name, x in points.items() if len(x) and len(found := scene.energies(x))}

    def threshold(self, sets: dict[str, np.ndarray]) -> float | None:
        """The threshold of the held-out data; None if they are too few for it."""
        held_out, q = sets.get("held-out data", ()), Ratio(str(self.quantile))
        return float(conformal.threshold(held_out, q)) if len(held_out) >= conformal.fewest(q) else None
