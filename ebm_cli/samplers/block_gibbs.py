"""Block Gibbs sampling: all coordinates of a block are drawn at once, given the others, and the blocks in turn.

    an RBM:                h ~ p(h | x), then x ~ p(x | h)
    a lattice or a graph:  one color after the other; no two neighbors have the same color

The energy defines the transition (core/block_gibbs.py). It is exact, and there is no step size. Geman & Geman 1984; Hinton 2002.
Cost: for an RBM two products with its weights, as many as an energy and its gradient.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ebm_cli.core.contracts import Sampler
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.samplers.transitions import diverged
from ebm_cli.types import Info, Params


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)
    uniforms: Tensor  # (*m, B, n_uniforms), without memory: the shape of the random numbers of one transition


@dataclass(frozen=True)
class BlockGibbs(Sampler):
    """It has no settings."""

    requires: ClassVar[frozenset[str]] = frozenset({"block_gibbs"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x, x.new_zeros(()).expand(*x.shape[: x.ndim - model.event_ndim], model.module.n_uniforms))

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.uniform("block", n_steps, *state.uniforms.shape[len(rng.model_shape) :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        x = model.sweep(params, state.x, noise[0])
        return State(x, state.uniforms), {"divergence": diverged(model, x)}
