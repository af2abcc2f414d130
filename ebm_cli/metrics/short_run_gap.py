"""The difference between short chains from noise and the samples of long chains.

Nijkamp et al. 2019, arXiv:1904.09770; 2020, arXiv:1903.12370.

    short_run_energy_gap = mean E(short) - mean E(long), in nats        short_run_sliced_wasserstein = SW(short, long)

"short" are the states after `n_steps` transitions of `sampler`, with its configured step size, from draws of the run's reference; "long"
are the samples. Both numbers are near zero if the short chains have already converged. Energies that are trained with short chains often
yield good short chains and bad long chains; the gap is then positive, and the long chains represent the energy. SW is positive also for
equal distributions, as in the metric sliced_wasserstein. A sampler with a temperature T other than 1 (sgld) is run on T E, so that it
follows the model. The cost is `n_steps` transitions of `n_chains` chains. The metric does not apply to samplers that anneal through a
ladder of noise levels, because they determine the length of their chains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebm_cli.core import chain
from ebm_cli.core.contracts import Sampler
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.pointwise import energy_of
from ebm_cli.core.wrappers import Tempered
from ebm_cli.metrics import sliced_wasserstein
from ebm_cli.types import Best, Count


@dataclass(frozen=True)
class ShortRunGap(Metric):
    """`n_projections` is the number of directions of the sliced Wasserstein distance."""

    sampler: Sampler
    n_chains: Count
    n_steps: Count
    n_projections: Count
    requires: ClassVar[frozenset[str]] = frozenset({"unconditional"})
    units: ClassVar[Mapping[str, str]] = {"short_run_energy_gap": "nats", "short_run_sliced_wasserstein": ""}
    headline: ClassVar[Sequence[str]] = ("short_run_energy_gap",)
    best: ClassVar[Mapping[str, Best]] = {"short_run_energy_gap": 0.0, "short_run_sliced_wasserstein": "min"}
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        model, params, rng = context.model, context.params, context.rng.at("short_run_gap")
        if self.sampler.length(model) is not None:
            return f"{type(self.sampler).__name__} determines the length of its chains, so there are no short chains to compare"
        start = context.reference.draw(self.n_chains, rng)
        followed = Tempered(model, 1 / self.sampler.temperature)
        short, _ = chain.run(self.sampler, followed, params, start, rng, n_steps=self.n_steps)
        long = context.samples.flatten(0, 1)
        for points, name in ((short, "short chains"), (long, "samples")):
            if not points.isfinite().all():
                return f"the {name} are not finite"
        energy = "the network outputs the score itself: there is no energy"
        if "energy" in model.provides:
            energy = (energy_of(model, params, short).mean() - energy_of(model, params, long).mean()).item()
        directions = sliced_wasserstein.directions(self.n_projections, short[0].numel(), rng)
        apart = sliced_wasserstein.distance(short.flatten(1), long.flatten(1), directions)
        return {"short_run_energy_gap": energy, "short_run_sliced_wasserstein": apart}
