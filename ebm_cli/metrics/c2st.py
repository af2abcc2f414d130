"""Classifier two-sample test: can a small network distinguish samples from held-out points? Lopez-Paz & Oquab 2017, arXiv:1610.06545.

    accuracy = the fraction of n test points, half of them samples, that the network classifies correctly

The expected accuracy is 1/2 for equal distributions, and at best 1/2 + TV / 2, where TV is the total variation distance. The network is a
perceptron that Adam trains on the other half of the points; it minimizes softplus(f) - label f. Its input is (x - mean) / std, clipped to
[-100, 100], with the moments of the training half of the data; with moments of the samples, a few distant draws would move all other
points to one place. For equal distributions and independent draws the number of hits is binomial, or narrower because the classes have
equal size: `c2st_p_value` is P(Binomial(n, 1/2) >= hits). The draws of a chain are correlated, so that the network has seen neighbors of
the test points, and the p-value is too small. The cost is a second or two, without evaluations of the model. A small network does not
detect fine structure: for 25 Gaussians whose standard deviation is 1.5 times too large, it reaches 0.48 to 0.54 where 0.645 is possible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import silu, softplus

from ebm_cli.core.adam import adam_
from ebm_cli.core.metric import Metric, MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.types import Best, Count, Positive

FEWEST = 4  # minimum number of points of each class: two for training and two for testing
FARTHEST = 100.0  # clipping in standard deviations of the data; at most 1/10,000 of the data lie beyond
BETAS, EPS = (0.9, 0.999), 1e-8  # parameters of Adam


@dataclass(frozen=True)
class ClassifierTwoSampleTest(Metric):
    """Up to `n_points` of each class, half of them for training. `hidden` are the widths of the hidden layers.

    `lr` is the initial learning rate of Adam, which decreases linearly to zero.
    """

    n_points: Annotated[int, Ge(FEWEST)]
    hidden: Sequence[Count]
    n_steps: Count
    batch_size: Count
    lr: Positive
    units: ClassVar[Mapping[str, str]] = {"c2st_accuracy": "", "c2st_p_value": ""}
    headline: ClassVar[Sequence[str]] = ("c2st_accuracy",)
    best: ClassVar[Mapping[str, Best]] = {"c2st_accuracy": 0.5}
    unaveraged: ClassVar[Sequence[str]] = ("c2st_p_value",)
    final_only: ClassVar[bool] = True

    def __call__(self, context: MetricContext) -> dict[str, float | str] | str:
        from scipy.special import bdtrc

        data = context.held_out(self.n_points)
        samples = context.drawn(len(data))
        n, rng = len(samples), context.rng.at("c2st")
        if not samples.isfinite().all():
            return "the samples are not finite"
        if n < FEWEST:
            return f"{n} points of each class are too few; {FEWEST} are needed"
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
        """The trained network: weights (n_in, n_out) and biases (n_out), layer by layer."""
        network = []
        for i, (n_in, n_out) in enumerate(pairwise([x.shape[1], *self.hidden, 1])):
            network += [rng.normal(f"weight.{i}", n_in, n_out) * n_in**-0.5, rng.normal(f"bias.{i}", n_out)]
        label, rows = labels(x), rng.integers("batch", len(x), self.n_steps, self.batch_size).cpu()
        theta = torch.cat([part.flatten() for part in network]).cpu().float()
        m, v = torch.zeros_like(theta), torch.zeros_like(theta)
        for t, batch in enumerate(rows):
            leaf = theta.clone().requires_grad_()
            f = logit(views(leaf, network), x[batch])
            (gradient,) = torch.autograd.grad((softplus(f) - label[batch] * f).mean(), leaf)
            adam_(theta, gradient, m, v, t=t + 1, lr=self.lr * (1 - t / self.n_steps), betas=BETAS, eps=EPS)
        return views(theta, network)


def labels(x: Tensor) -> Tensor:
    """The labels, (N,): 1 for the samples, which are the first half, and 0 for the data."""
    return (torch.arange(len(x)) < len(x) // 2).to(x)


def views(theta: Tensor, network: Sequence[Tensor]) -> list[Tensor]:
    """The vector of parameters, as views with the shapes of the weights and biases."""
    return [part.view_as(like) for part, like in zip(theta.split([like.numel() for like in network]), network, strict=True)]


def logit(network: Sequence[Tensor], x: Tensor) -> Tensor:
    """f, the log-odds that x is a sample, (N, d) -> (N,)."""
    for i in range(0, len(network), 2):
        x = (silu(x) if i else x) @ network[i] + network[i + 1]
    return x.squeeze(-1)
