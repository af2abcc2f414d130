"""Discrete events with any energy: the tests of objectives compare with sums over all states."""

import torch
from torch import nn

from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import n_states, number, states
from ebm_cli.types import Space

SPACES = {
    "bits": Space((2, 2), "binary"),
    "sites": Space((3,), "categorical", 3),
    "ragged": Space((3,), "categorical", (2, 4, 3)),
}


class Table(nn.Module):
    """Any energy of the states of a space: one parameter for each of them."""

    def __init__(self, space, seed=0):
        super().__init__()
        self.space = space
        self.value = nn.Parameter(torch.randn(n_states(space), generator=torch.Generator().manual_seed(seed)))

    def forward(self, x):
        return self.value[number(x, self.space)]


def gradient_of(objective, space, value, p):
    """The loss of an energy table, (N,), averaged over data with the probabilities p, (N,), and its gradient."""
    model, x = Model(Table(space), event_ndim=len(space.shape), stacked=False, space=space), states(space)
    leaf = value.clone().requires_grad_()
    params = {"value": leaf}
    extra, carry = objective.init(model, {"value": value}, x, Rng(0))
    aux, _, _ = objective.prepare(model, {"value": value} | extra, carry, x, Rng(0))
    loss = objective.loss(model, params | extra, x, aux)[0] @ p
    return loss.item(), torch.autograd.grad(loss, leaf)[0]
