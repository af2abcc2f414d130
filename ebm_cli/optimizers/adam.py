"""Adam and AdamW. Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.

The step is that of core/adam.py. Weight decay is added to the gradient (Adam) or, if `decoupled`, applied to the parameters before the
step: theta <- theta - lr weight_decay theta (AdamW).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.core.adam import adam_
from ebm_cli.core.contracts import Optimizer
from ebm_cli.optimizers.schedule import Schedule, factor
from ebm_cli.types import Decay, Natural, NonNegative, Params, Positive


@dataclass(frozen=True)
class Adam(Optimizer):
    """`lr` is the peak learning rate, reached after `n_warmup_steps`."""

    lr: Positive
    schedule: Schedule
    n_warmup_steps: Natural
    weight_decay: NonNegative
    betas: tuple[Decay, Decay]
    eps: Positive
    decoupled: bool

    def init(self, theta: Tensor) -> Params:
        return {"m": torch.zeros_like(theta), "v": torch.zeros_like(theta)}

    def update(self, theta: Tensor, gradient: Tensor, state: Params, *, step: int, lr: float) -> None:
        if self.weight_decay and self.decoupled:
            theta.mul_(1 - lr * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * theta
        adam_(theta, gradient, state["m"], state["v"], t=step + 1, lr=lr, betas=self.betas, eps=self.eps)

    def lr_at(self, step: int, n_steps: int) -> float:
        return self.lr * factor(self.schedule, step, n_steps, self.n_warmup_steps)
