"""Adam and AdamW. Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101.

With t = step + 1: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, theta -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
Weight decay is part of the gradient (Adam) or, decoupled, shrinks the parameters first: theta -= lr weight_decay theta (AdamW).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.optimizers.schedule import Schedule, factor
from ebm_cli.types import Decay, Natural, NonNegative, Params, Positive


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

    def init(self, theta: Tensor) -> Params:
        return {"m": torch.zeros_like(theta), "v": torch.zeros_like(theta)}

    def update(self, theta: Tensor, gradient: Tensor, state: Params, *, step: int, lr: float) -> None:
        if self.weight_decay and self.decoupled:
            theta.mul_(1 - lr * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * theta
        m, v, (b1, b2) = state["m"], state["v"], self.betas
        m.lerp_(gradient, 1 - b1)
        v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (v / (1 - b2 ** (step + 1))).sqrt_().add_(self.eps)
        theta.addcdiv_(m, scale, value=-lr / (1 - b1 ** (step + 1)))

    def lr_at(self, step: int, n_steps: int) -> float:
        return self.lr * factor(self.schedule, step, n_steps, self.n_warmup_steps)
