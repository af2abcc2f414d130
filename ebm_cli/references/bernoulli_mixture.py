"""A mixture of products of Bernoullis for bits, fitted by expectation maximization. Lazarsfeld & Henry 1968; Bishop 2006, section 9.3.3.

    q(x) = sum_k w_k prod_i p_ki^x_i (1 - p_ki)^(1 - x_i)

The M step smooths every probability with `smoothing` pseudo-counts of each value. EM starts at K random training events; of N_STARTS starts
the one with the greatest likelihood is kept. If the number of components is not given, it grows until the likelihood of the held-out events
does not. Cost: K d operations per event. It models groups of similar events, and correlations only through these groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.errors import bad
from ebm_cli.types import Count, Params, Positive

N_COMPONENTS = (1, 2, 4, 8, 16, 32, 64)  # candidates
PATIENCE = 2  # candidates without an improvement, after which larger numbers are not tried
N_STARTS = 2
N_ITERATIONS = 100  # maximum number of iterations of EM
TOLERANCE = 1e-5  # EM stops when the mean log-likelihood grows by less, in nats per coordinate


class Products(NamedTuple):
    """The components, in double precision."""

    log_weight: Tensor  # (K,)
    probability: Tensor  # (K, d)

    def log_joint(self, x: Tensor) -> Tensor:
        """log w_k p_k(x), (N, d) -> (N, K)."""
        return self.log_weight + x @ self.probability.log().T + (1 - x) @ (-self.probability).log1p().T

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_joint(x).logsumexp(-1)


@dataclass(frozen=True)
class BernoulliMixture(Reference):
    """`n_components` is K; null chooses it on the held-out events. `smoothing` is the pseudo-count of each of the two values."""

    n_components: Count | None
    smoothing: Positive
    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        if self.n_components is None and (held_out is None or not held_out.shape[-2]):
            raise bad("reference.n_components is chosen on validation events, and there are none", "reference.n_components=8")
        held = [None] * len(_models(x)) if self.n_components is not None else _models(held_out)
        fits = [self._fit(events, rng.of(k).at("mixture"), held[k]) for k, events in enumerate(_models(x))]
        return _tensors(fits, x)

    def refit(self, params: Params, x: Tensor, shape: tuple[int, ...], rng: Rng) -> Params:
        """EM on other events, from a fitted mixture and with its number of components."""
        stacked = params["log_weight"].ndim == 2
        parts = (params[name] if stacked else params[name].unsqueeze(0) for name in Products._fields)
        fits = [Products(*(part[w > -torch.inf] for part in (w, p))) for w, p in zip(*(part.cpu().double() for part in parts), strict=True)]
        return _tensors([improve(events, fitted, self.smoothing) for events, fitted in zip(_models(x), fits, strict=True)], x)

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        weight, p = params["log_weight"].exp(), params["probability"]
        edges = weight.cumsum(-1)[..., :-1].where(weight[..., 1:] > 0, 2)  # rounding must not draw a component without weight
        chosen = (rng.uniform(f"{stream}.component", n).unsqueeze(-1) >= edges.unsqueeze(-2)).sum(-1, keepdim=True)
        chosen = p.gather(-2, chosen.expand(*chosen.shape[:-1], p.shape[-1]))
        return (rng.uniform(stream, n, p.shape[-1]) < chosen).to(p)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        p = params["probability"]
        log_joint = x @ p.log().mT + (1 - x) @ (-p).log1p().mT + params["log_weight"].unsqueeze(-2)
        return log_joint.logsumexp(-1)

    def notes(self, params: Params) -> Sequence[str]:
        if self.n_components is not None:
            return ()
        n = ", ".join(str(int(row)) for row in (params["log_weight"] > -torch.inf).sum(-1).reshape(-1))
        return (f"reference: n_components={n}; the validation events chose n_components",)

    def _fit(self, x: Tensor, rng: Rng, held_out: Tensor | None) -> Products:
        if self.n_components is not None:
            return self._best(x, self.n_components, rng)
        best, misses, reached = None, 0, -math.inf
        for n in [n for n in N_COMPONENTS if n <= max(1, len(x) // 2)]:
            found = self._best(x, n, rng)
            value = found.log_prob(held_out).mean().item()
            best, misses, reached = (found, 0, value) if value > reached else (best, misses + 1, reached)
            if misses == PATIENCE:
                break
        return best

    def _best(self, x: Tensor, n: int, rng: Rng) -> Products:
        """The mixture of n components with the greatest likelihood of x, (N, d), of N_STARTS starts."""
        fits = []
        for start in range(N_STARTS if n > 1 else 1):
            first = x[rng.at(n).at(start).integers("centers", len(x), n).cpu()]
            first = Products(torch.full((n,), -math.log(n), dtype=x.dtype), 0.25 + 0.5 * first)
            fits.append(improve(x, first, self.smoothing))
        return max(fits, key=lambda found: found.log_prob(x).mean().item())


def improve(x: Tensor, fitted: Products, smoothing: float) -> Products:
    """EM on x, (N, d), until the mean log-likelihood grows by less than TOLERANCE for each coordinate."""
    before = -math.inf
    for _ in range(N_ITERATIONS):
        log_joint = fitted.log_joint(x)
        log_prob = log_joint.logsumexp(-1, keepdim=True)
        share = (log_joint - log_prob).exp()
        total = share.sum(0).clamp(min=1e-9)
        fitted = Products((total / total.sum()).log(), (share.T @ x + smoothing) / (total.unsqueeze(-1) + 2 * smoothing))
        now = log_prob.mean().item()
        if now - before < TOLERANCE * x.shape[1]:
            break
        before = now
    return fitted


def _models(x: Tensor) -> Tensor:
    """The events of each model, (*m, N, d) -> (M, N, d), in double precision on the CPU."""
    return x.detach().cpu().double().reshape(-1, *x.shape[-2:])


def _tensors(fits: Sequence[Products], x: Tensor) -> Params:
    """The tensors of one model or of a stack; mixtures with fewer components than the largest have further ones of weight 0."""
    most = max(len(fitted.log_weight) for fitted in fits)
    weights = [torch.cat([fitted.log_weight, fitted.log_weight.new_full((most - len(fitted.log_weight),), -torch.inf)]) for fitted in fits]
    last = [torch.arange(most).clamp(max=len(fitted.log_weight) - 1) for fitted in fits]
    found = {
        "log_weight": torch.stack(weights),
        "probability": torch.stack([fitted.probability[k] for fitted, k in zip(fits, last, strict=True)]),
    }
    return {name: (value if x.ndim == 3 else value[0]).to(x) for name, value in found.items()}
