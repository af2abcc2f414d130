"""Stochastic gradient descent with momentum: v = momentum v + g, theta -= lr v. Robbins & Monro 1951; Polyak 1964."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.contracts import Optimizer
from ebm_cli.optimizers.schedule import Schedule, factor
from ebm_cli.types import Decay, Natural, NonNegative, Params, Positive


@dataclass(frozen=True)
class SGD(Optimizer):
    """`lr` is the peak learning rate, reached after `n_warmup_steps`."""

    lr: Positive
    schedule: Schedule
    n_warmup_steps: Natural
    weight_decay: NonNegative
    momentum: Decay

    def init(self, theta: Tensor) -> Params:
        return {"v": torch.zeros_like(theta)}

    def update(self, theta: Tensor, gradient: Tensor, state: Params, *, step: int, lr: float) -> None:
        state["v"].mul_(self.momentum).add_(gradient).add_(theta, alpha=self.weight_decay)
        theta.add_(state["v"], alpha=-lr)

    def lr_at(self, step: int, n_steps: int) -> float:
        return self.lr * factor(self.schedule, step, n_steps, self.n_warmup_steps)
