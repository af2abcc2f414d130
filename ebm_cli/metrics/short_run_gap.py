"""How far short chains from noise are from the samples, those of long ones. Nijkamp et al. 2019, arXiv:1904.09770; 2020, arXiv:1903.12370.

    short_run_energy_gap = mean E(short) - mean E(long), in nats        short_run_sliced_wasserstein = SW(short, long)

short: the ends of `n_steps` transitions of `sampler`, at its own step size, from N(mean, scale^2) of the training data; long: the samples.
Both are near zero where chains have forgotten their start by then. Energies trained on short runs are known to make good short runs and
bad long ones: the gap then is positive, and the long chains are what the energy means. SW of equal laws is above zero, as in the metric
sliced_wasserstein. A sampler with a temperature T of its own (sgld) is run on T E, where it follows the model. Cost: `n_steps` transitions
of `n_chains` chains. Not for samplers that walk down a ladder, whose length is theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebm_cli.core import chain
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.wrappers import Tempered
from ebm_cli.metrics import sliced_wasserstein
from ebm_cli.metrics.quadrature import energy_of
from ebm_cli.types import Count, Metric, Sampler

N_FIT = 10_000  # training points, for the mean and scale of the start


@dataclass(frozen=True)
class ShortRunGap(Metric):
    """`n_projections`: directions of the sliced Wasserstein distance."""

    sampler: Sampler
    n_chains: Count
    n_steps: Count
    n_projections: Count
    units: ClassVar[Mapping[str, str]] = {"short_run_energy_gap": "nats", "short_run_sliced_wasserstein": ""}
    headline: ClassVar[Sequence[str]] = ("short_run_energy_gap",)
    best: ClassVar[Mapping[str, str | float]] = {"short_run_energy_gap": 0.0, "short_run_sliced_wasserstein": "least"}
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        model, params, rng = context.model, context.params, context.rng.at("short_run_gap")
        if self.sampler.length(model) is not None:
            return f"{type(self.sampler).__name__} has a length of its own: there are no shorter chains"
        x = context.dataset.split("train", N_FIT, context.rng)
        start = chain.starts(self.n_chains, rng, mean=x.mean(0), scale=x.std(0))
        followed = Tempered(model, 1 / self.sampler.temperature)
        short, _ = chain.run(self.sampler, followed, params, start, rng, n_steps=self.n_steps)
        long = context.samples.flatten(0, 1)
        for points, name in ((short, "short chains"), (long, "samples")):
            if not points.isfinite().all():
                return f"the {name} are not finite"
        energy = "a score network has no energy"
        if "energy" in model.provides:
            energy = (energy_of(model, params, short).mean() - energy_of(model, params, long).mean()).item()
        directions = sliced_wasserstein.directions(self.n_projections, short[0].numel(), rng)
        apart = sliced_wasserstein.distance(short.flatten(1), long.flatten(1), directions)
        return {"short_run_energy_gap": energy, "short_run_sliced_wasserstein": apart}
