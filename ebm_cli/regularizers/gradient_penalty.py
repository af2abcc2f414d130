"""The gradient penalty at the data, weight/2 |grad E(x)|^2. Mescheder et al. 2018, arXiv:1801.04406 (R1).

It penalizes steep walls beside the data, which make the chains of contrastive methods stiff. It biases score matching, whose loss contains
the same term: the learned score is too small. Cost: one score per sample and step.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ebm_cli.core.contracts import REAL, Regularizer
from ebm_cli.core.model import Model
from ebm_cli.types import Params, Positive


@dataclass(frozen=True)
class GradientPenalty(Regularizer):
    """`weight` is the factor on half the squared norm."""

    weight: Positive
    requires: ClassVar[frozenset[str]] = REAL

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        points, level = (aux["noised"], aux["noise_level"]) if "noise_level" in aux else (x, None)
        score = model.score(params, points, level, create_graph=True)
        return 0.5 * self.weight * model.inner(score, score)
