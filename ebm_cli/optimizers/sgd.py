"""Stochastic gradient descent with momentum. Robbins & Monro 1951; Polyak 1964."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.schedule import Schedule, factor
from ebm_cli.types import Decay, Natural, NonNegative, Positive


@dataclass(frozen=True)
class SGD:
    """`lr` is the greatest learning rate, reached after `n_warmup_steps`."""

    lr: Positive
    schedule: Schedule
    n_warmup_steps: Natural
    weight_decay: NonNegative
    momentum: Decay

    def build(self, theta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.SGD([theta], lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)

    def lr_at(self, step: int, n_steps: int) -> float:
        return self.lr * factor(self.schedule, step, n_steps, self.n_warmup_steps)
