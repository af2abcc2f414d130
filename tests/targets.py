"""Energies with closed forms that several tests share."""

import torch
from torch import nn


class Quadratic(nn.Module):
    """E(x) = a |x|^2 / 2: N(0, I/a), score -a x, log Z = (d/2) log(2 pi / a)."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return 0.5 * self.a * x.flatten(1).square().sum(-1)
