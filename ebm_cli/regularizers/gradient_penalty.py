"""Keep the energy flat where the data lie: weight/2 |grad E(x)|^2. Mescheder et al. 2018, arXiv:1801.04406 (R1).

Steep walls beside the data, which are what makes chains of contrastive methods stiff, are paid for. It biases score matching, whose loss
holds the same term: with weight w the score is shrunk. Cost: one score per sample and step.
"""

from dataclasses import dataclass

from torch import Tensor

from ebm_cli.core.model import Model
from ebm_cli.types import Params, Positive, Regularizer


@dataclass(frozen=True)
class GradientPenalty(Regularizer):
    """`weight` is the factor on half the squared norm."""

    weight: Positive

    def penalty(self, model: Model, params: Params, x: Tensor, aux: Params) -> Tensor:
        points, level = (aux["noised"], [aux["noise_level"]]) if "noise_level" in aux else (x, [])
        score = model.score(params, points, *level, create_graph=True)
        return 0.5 * self.weight * model.inner(score, score)
