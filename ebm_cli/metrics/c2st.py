"""Classifier two-sample test: can a small network tell samples from held-out points? Lopez-Paz & Oquab 2017, arXiv:1610.06545.

    accuracy = fraction of n unseen points, half of them samples, whose class the network finds: 1/2 for equal laws, 1/2 + TV / 2 at best

with TV the total variation distance of the two laws. The network, a perceptron trained by Adam on the other half of the points, minimises
softplus(f) - label f. It is given (x - mean) / std, at most 100 either way, with the moments of the data that it learns from: by moments
of the samples a few far draws would move all other points into one place. For equal laws and independent draws the hits are binomial, or
narrower, since there are as many of each class: `c2st_p_value` is P(Binomial(n, 1/2) >= hits). Draws of a chain are correlated, and some
of what was learned of one is true of its neighbours: the p-value then is too small. Cost: a second or two, none of it the model's. Not for
fine structure, to which a small network is blind: of 25 Gaussians, half as wide again as they should be, it finds 0.48 to 0.54 where 0.645
could be found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import silu, softplus

from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.types import Count, Metric, Positive

FEWEST = 4  # points of each class: two to learn from, two to be asked about
FARTHEST = 100.0  # standard deviations of the data, of which no more than a ten-thousandth lies beyond
BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam


@dataclass(frozen=True)
class ClassifierTwoSampleTest(Metric):
    """`n_points` of each class at most, half of them to train on; layers of `hidden` units; `lr` is Adam's, and falls to zero."""

    n_points: Annotated[int, Ge(FEWEST)]
    hidden: Sequence[Count]
    n_steps: Count
    batch_size: Count
    lr: Positive
    units: ClassVar[Mapping[str, str]] = {"c2st_accuracy": "", "c2st_p_value": ""}
    headline: ClassVar[Sequence[str]] = ("c2st_accuracy",)
    best: ClassVar[Mapping[str, str | float]] = {"c2st_accuracy": 0.5}
    unaveraged: ClassVar[Sequence[str]] = ("c2st_p_value",)
    waits: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        from scipy.special import bdtrc

        data = context.held_out(self.n_points)
        samples = context.drawn(len(data))
        n, rng = len(samples), context.rng.at("c2st")
        if not samples.isfinite().all():
            return "the samples are not finite"
        if n < FEWEST:
            return f"{n} points of each class are too few to learn from"
        classes = {"samples": samples, "data": data}
        classes = {name: points.flatten(1).cpu().double()[rng.permutation(name, n).cpu()] for name, points in classes.items()}
        seen = classes["data"][: n // 2]
        mean, scale = seen.mean(0), seen.std(0).clamp(min=1e-12)
        classes = [((points - mean) / scale).clamp(-FARTHEST, FARTHEST).float() for points in classes.values()]
        train, test = (torch.cat([points[half] for points in classes]) for half in (slice(n // 2), slice(n // 2, None)))
        network = self._train(train, rng)
        hits = ((logit(network, test) > 0) == (labels(test) > 0)).sum().item()
        return {"c2st_accuracy": hits / len(test), "c2st_p_value": float(bdtrc(hits - 1, len(test), 0.5))}

    def _train(self, x: Tensor, rng: Rng) -> list[Tensor]:
        """The network: weights (n_in, n_out) and biases (n_out), layer by layer."""
        network = []
        for i, (n_in, n_out) in enumerate(pairwise([x.shape[1], *self.hidden, 1])):
            network += [rng.normal(f"weight.{i}", n_in, n_out) * n_in**-0.5, rng.normal(f"bias.{i}", n_out)]
        label, rows = labels(x), rng.integers("batch", len(x), self.n_steps, self.batch_size).cpu()
        theta = torch.cat([part.flatten() for part in network]).cpu().float()
        m, v, (b1, b2) = torch.zeros_like(theta), torch.zeros_like(theta), BETAS
        for t, batch in enumerate(rows):
            leaf = theta.clone().requires_grad_()
            f = logit(views(leaf, network), x[batch])
            (gradient,) = torch.autograd.grad((softplus(f) - label[batch] * f).mean(), leaf)
            m.lerp_(gradient, 1 - b1)
            v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
            lr = self.lr * (1 - t / self.n_steps)
            theta.addcdiv_(m, (v / (1 - b2 ** (t + 1))).sqrt_().add_(EPS), value=-lr / (1 - b1 ** (t + 1)))
        return views(theta, network)


def labels(x: Tensor) -> Tensor:
    """(N,): 1 for the samples, which are the first half, and 0 for the data."""
    return (torch.arange(len(x)) < len(x) // 2).to(x)


def views(theta: Tensor, network: Sequence[Tensor]) -> list[Tensor]:
    """One vector in the shapes of the network's parts."""
    return [part.view_as(like) for part, like in zip(theta.split([like.numel() for like in network]), network, strict=True)]


def logit(network: Sequence[Tensor], x: Tensor) -> Tensor:
    """f, the log of the odds that x is a sample, (N, d) -> (N,)."""
    for i in range(0, len(network), 2):
        x = (silu(x) if i else x) @ network[i] + network[i + 1]
    return x.squeeze(-1)
