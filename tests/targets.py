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


def log_integral(energy, box, n=801):
    """log of the integral of exp(-E) over a box, by the trapezoid rule with n points a side; E vanishes at its border."""
    axes = [torch.linspace(low, high, n) for low, high in box]
    cell = torch.stack([axis[1] - axis[0] for axis in axes]).log().sum()
    with torch.no_grad():
        return torch.logsumexp(-energy(torch.cartesian_prod(*axes).reshape(-1, len(box))), 0).add(cell).item()


def by_differences(energy, x, h=1e-5):
    """-grad E at x (B, d) by central differences, (B, d)."""
    steps = h * torch.eye(x.shape[-1])
    return torch.stack([(energy(x - step) - energy(x + step)) / (2 * h) for step in steps], -1)
