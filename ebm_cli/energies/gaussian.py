"""A Gaussian with a given mean and covariance: a target with known moments.

    E(x) = 1/2 (x - mean)' C^-1 (x - mean),    log Z = d/2 log 2 pi + 1/2 log det C

One evaluation costs d^2 multiplications. It has a single mode, so it cannot test whether chains move between modes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_cli.core.precision import check_resolved
from ebm_cli.energies.analytic import Analytic
from ebm_cli.errors import bad


class Gaussian(Analytic):
    """x (B, d) -> E(x) (B,)."""

    def __init__(self, *, mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> None:
        n = len(mean)
        if n == 0 or len(covariance) != n or any(len(row) != n for row in covariance):
            fault = f"covariance: must be {n} x {n}, because energy.mean has length {n}" if n else "mean: must have at least one value"
            raise bad(f"energy.{fault}", "energy.mean=[0,0] energy.covariance=[[1,0],[0,1]]")
        exact = torch.tensor(covariance, dtype=torch.double)
        factor, failed = torch.linalg.cholesky_ex(exact)
        if failed or not torch.equal(exact, exact.T):
            raise bad(f"energy.covariance: {covariance} is not symmetric and positive definite", "energy.covariance=[[2,0.8],[0.8,1]]")
        std = exact.diagonal().sqrt()
        super().__init__(torch.tensor(mean, dtype=torch.double), std)
        self.register_buffer("whitening", torch.linalg.inv(factor).to(self.mean))
        self.box = [(m - 6 * s, m + 6 * s) for m, s in zip(mean, std.tolist(), strict=True)]
        self.length_scale = torch.linalg.eigvalsh(exact)[0].clamp(min=0).sqrt().item()
        check_resolved("energy.covariance", farthest=max(abs(end) for ends in self.box for end in ends), smallest=self.length_scale)
        self._log_det = 2 * factor.diagonal().log().sum().item()

    @property
    def log_z(self) -> float:
        return 0.5 * (len(self.box) * math.log(2 * math.pi) + self._log_det)

    def forward(self, x: Tensor) -> Tensor:
        white = (x - self.mean) @ self.whitening.T
        return 0.5 * (white * white).sum(-1)
