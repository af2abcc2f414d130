"""Coverage of the intervals of log Z: known mixtures in 2 to 64 dimensions, measured by importance sampling, bridge sampling and AIS.

    python scripts/log_z_coverage.py [N]     measure at most N further cases (all), and print the table

The model of a case is a mixture of one to four Gaussians with full covariances, with a known log Z. The reference is, in turn, a mixture
that is fitted to draws from the model (15 for each component and coordinate, but at least 500), or a perturbed mixture with shifted
centres, wider components and other weights. The samples of the model are not exact: they are those of MALA chains that start at the
reference, as in a run. A 95 % interval must cover log Z in at least 90 % of the cases. The estimator may refuse in at most 20 of 100 cases,
and in none below 10 dimensions. The exit code is 1 if one does not comply. Cases are stored in results/log_z_coverage.json with the commit
that measured them, and are not measured again (remove the file to start anew). All cases take two minutes of one core. Importance sampling
and bridge sampling have fewer draws, and AIS fewer chains and temperatures, than by default.
"""

import json
import math
import statistics
import sys
from dataclasses import dataclass

import torch
from measured import ROOT
from torch import Tensor, nn

from ebm_cli.config import option_files, schema
from ebm_cli.core import chain
from ebm_cli.core.contracts import Dataset, Reference
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.runner import estimators
from ebm_cli.runs import provenance
from ebm_cli.samplers.mala import MALA
from ebm_cli.types import Batch, Params, Space

RESULTS = ROOT / "results" / "log_z_coverage.json"
N_CASES = 100
DIMENSIONS = (2, 3, 5, 8, 10, 16, 24, 32, 48, 64)
REFERENCES = ("fitted", "perturbed")
METRICS = {  # what differs from the defaults
    "importance": {"n_draws": 50_000},
    "bridge": {"n_draws": 20_000},
    "ais": {"n_chains": 20, "n_temperatures": 60},
}
DRAWS = chain.Draws(n_samples=4000, n_chains=400, n_steps=300)
COVERED, MOST_REFUSED, REFUSED_FROM = 0.9, 20, 10  # the bounds: a share of the intervals, a number of cases, a dimension


class KnownMixture(nn.Module):
    """E(x) = -log sum_k w_k N(x; mu_k, A_k A_k') - log Z: log weights (K,), centres (K, d), factors (K, d, d)."""

    def __init__(self, log_weight: Tensor, mean: Tensor, factor: Tensor, log_z: float) -> None:
        super().__init__()
        self.log_weight, self.mean, self.precision = map(nn.Parameter, (log_weight, mean, torch.linalg.inv(factor)))
        self.factor, self.log_z = factor, log_z

    def forward(self, x: Tensor) -> Tensor:
        white = (x.unsqueeze(-3) - self.mean.unsqueeze(-2)) @ self.precision.mT  # (K, N, d)
        scale = self.log_weight + torch.linalg.slogdet(self.precision).logabsdet - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return -torch.logsumexp(scale.unsqueeze(-1) - 0.5 * white.square().sum(-1), -2) - self.log_z

    def draw(self, n: int, rng: Rng, stream: str) -> Tensor:
        chosen = torch.searchsorted(self.log_weight.detach().exp().cumsum(0)[:-1].contiguous(), rng.uniform(f"{stream}.component", n))
        noise = rng.normal(stream, n, self.mean.shape[-1])
        return self.mean.detach()[chosen] + torch.einsum("nij,nj->ni", self.factor[chosen], noise)

    def perturbed(self, rng: Rng) -> "KnownMixture":
        """A normalized mixture near this one. A strength from 0 to 1 is the shift of its centres in standard deviations."""
        strength, (n, d) = rng.uniform("strength", 1).item(), self.mean.shape
        shift = strength * rng.normal("shift", n, d) / d**0.5
        mean = self.mean.detach() + (self.factor @ shift.unsqueeze(-1)).squeeze(-1)
        log_weight = (self.log_weight.detach() + strength * rng.normal("weight", n)).log_softmax(0)
        return KnownMixture(log_weight, mean, self.factor * (1 + 0.7 * strength / d**0.5), 0.0)


@dataclass(frozen=True)
class Known(Reference):
    """A known mixture as the reference."""

    mixture: KnownMixture

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        return self.mixture.draw(n, rng, stream)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        return -self.mixture(x).detach() if not x.requires_grad else -self.mixture(x)


@dataclass(frozen=True)
class Rows(Dataset):
    """Draws from the model, as training and as held-out points."""

    mixture: KnownMixture
    n_train: int

    @property
    def space(self) -> Space:
        return Space((self.mixture.mean.shape[-1],))

    def split(self, name: str, n: int, rng: Rng) -> Batch:
        return Batch(self.mixture.draw(min(n, self.n_train), rng.at("split"), name))


def model_of(case: int) -> KnownMixture:
    """The mixture of a case."""
    rng, d = Rng(case).at("coverage"), DIMENSIONS[case % len(DIMENSIONS)]
    n = 1 + int(rng.integers("n_components", 4, 1))
    rotations = torch.linalg.qr(rng.normal("rotation", n, d, d)).Q
    factor = rotations * (0.5 * rng.normal("widths", n, 1, d)).exp()
    log_weight = (0.5 * rng.normal("weight", n)).log_softmax(0)
    return KnownMixture(log_weight, 2 * rng.normal("mean", n, d), factor, 40 * rng.uniform("log_z", 1).item() - 20)


def context_of(case: int, kind: str) -> MetricContext:
    """The context of a case, with a reference of this kind and samples from chains that start at it."""
    mixture, rng = model_of(case), Rng(case)
    n, d = mixture.mean.shape
    data = Rows(mixture, max(500, 15 * n * d))
    if kind == "fitted":
        node = option_files.node_of(option_files.groups()["reference"]["mixture"].path) | {"n_components": n}
        x = data.split("train", data.n_train, rng).x
        fresh = schema.build(schema.check_node(node, "reference", Reference, []))
        reference = FittedReference.fit(fresh, x, (d,), rng.at("reference"), data.split("validation", 1000, rng).x)
    else:
        reference = FittedReference(Known(mixture.perturbed(rng.at("perturbed"))), {}, (d,))
    model, params = Model(mixture, event_ndim=1, stacked=False), {name: value.detach() for name, value in tensors(mixture).items()}
    start = reference.draw(DRAWS.n_chains, rng.at("chains"))
    samples, _ = chain.draw(MALA(0.1, None), model, params, start, rng.at("chains"), DRAWS)
    return MetricContext(model, params, data, rng, samples, reference=reference)


def metric(name: str) -> Metric:
    """The metric with its defaults, apart from the values in METRICS."""
    node = option_files.node_of(option_files.groups()["metric"][name].path) | METRICS[name]
    return schema.build(schema.check_node(node, f"metric.{name}", Metric, []))


def measure(case: int) -> dict:
    """log Z of a case, and for each estimator the error of its estimate and its half-width, or the reason why it refuses."""
    kind = REFERENCES[case // len(DIMENSIONS) % len(REFERENCES)]
    context, found = context_of(case, kind), {}
    log_z = context.dataset.mixture.log_z
    for name in METRICS:
        numbers = metric(name)(context)
        row, by = estimators.adopt(numbers) if isinstance(numbers, dict) else ({"log_z": numbers}, "")
        found[name] = [round(row["log_z"] - log_z, 5), round(row["log_z_error"], 5)] if by else row["log_z"]
    n, d = context.dataset.mixture.mean.shape
    return {"case": case, "dim": d, "n_components": n, "reference": kind, **found}


def tally(cases: list[dict], name: str) -> dict:
    """The counts of an estimator, and its median half-width."""
    numbers = [case[name] for case in cases if not isinstance(case[name], str)]
    refused = [case["dim"] for case in cases if isinstance(case[name], str)]
    return {
        "covered": sum(abs(error) <= half for error, half in numbers),
        "intervals": len(numbers),
        "refused": len(refused),
        "refused_low": sum(d < REFUSED_FROM for d in refused),
        "half_width": statistics.median(half for _, half in numbers) if numbers else math.nan,
    }


def fails(found: dict) -> bool:
    """Whether an estimator misses the bounds."""
    return found["covered"] < COVERED * found["intervals"] or found["refused"] > MOST_REFUSED or found["refused_low"] > 0


def table(stored: dict) -> str:
    """The tallies of all estimators, in Markdown."""
    lines = [
        f"| estimator | intervals that cover | refused | refused below {REFUSED_FROM} dimensions | median half-width (nats) |",
        "|---|---|---|---|---|",
    ]
    for name in METRICS:
        found = tally(stored["cases"], name)
        cells = (f"{found['covered']} of {found['intervals']}", found["refused"], found["refused_low"], f"{found['half_width']:.3f}")
        lines.append(f"| `{name}` | {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", f"Measured at commit {', '.join(stored['commits'])}."])


def main() -> int:
    torch.set_num_threads(1)
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"commits": [], "cases": []}
    left = [case for case in range(N_CASES) if case not in {known["case"] for known in stored["cases"]}]
    git = provenance.git()
    commit = git.get("commit", "?")[:10] + ("+" if git.get("dirty") else "")
    for case in left[: int(sys.argv[1]) if len(sys.argv) > 1 else None]:
        stored["cases"] = sorted([*stored["cases"], measure(case)], key=lambda row: row["case"])
        stored["commits"] = sorted({*stored["commits"], commit})
        lines = ",\n".join(map(json.dumps, stored["cases"]))
        RESULTS.write_text(f'{{"commits": {json.dumps(stored["commits"])}, "cases": [\n{lines}\n]}}\n')
        print(f"case {case} of {N_CASES}", flush=True)
    print(table(stored))
    return int(any(fails(tally(stored["cases"], name)) for name in METRICS))


if __name__ == "__main__":
    sys.exit(main())
