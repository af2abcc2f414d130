"""Adam and AdamW. Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.

Weight decay is part of the gradient (Adam) or, decoupled, shrinks the parameters: theta -= lr weight_decay theta (AdamW).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.schedule import Schedule, factor
from ebm_cli.types import Decay, Natural, NonNegative, Positive


@dataclass(frozen=True)
class Adam:
    """`lr` is the greatest learning rate, reached after `n_warmup_steps`."""

    lr: Positive
    schedule: Schedule
    n_warmup_steps: Natural
    weight_decay: NonNegative
    betas: tuple[Decay, Decay]
    eps: Positive
    decoupled: bool

    def build(self, theta: Tensor) -> torch.optim.Optimizer:
        rule = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return rule([theta], lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True)

    def lr_at(self, step: int, n_steps: int) -> float:
        return self.lr * factor(self.schedule, step, n_steps, self.n_warmup_steps)
