"""Restricted Boltzmann machine: binary coordinates v and binary hidden units h. Smolensky 1986; Hinton 2002.

    E(v, h) = -b'v - c'h - v'W h,    F(v) = -log sum_h exp(-E(v, h)) = -b'v - sum_j softplus(c_j + (W'v)_j)

The energy of an event is the free energy F. The parameters are those of the centered RBM (Montavon & Mueller 2012; Melchior, Fischer &
Wiskott 2016, arXiv:1311.1354),

    E(v, h) = -beta'(v - mu) - gamma'(h - lambda) - (v - mu)'W (h - lambda) + constant,    b = beta - W lambda,    c = gamma - W'mu,

with mu the mean of the training data and lambda = sigmoid(gamma), the mean of h at v = mu. The model is the same, but gradient steps are
those of the centered RBM: they do not change if ones and zeros are exchanged, and the weights do not first have to learn the mean. beta
starts at the log-odds of the smoothed marginals of the data (`reference=bernoulli`), gamma at 0, and W at N(0, `std`^2).

log Z is exact if one side has at most 20 units (core/rbm.py).
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.core import rbm
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.core.quadratic import Quadratic, of_bits
from ebm_cli.types import Count, Positive, Space

LEAST = 1e-3  # the marginals from which the visible biases start lie between LEAST and 1 - LEAST


class RBM(nn.Module, Energy, BlockGibbs):
    """x (B, *d) -> F(x) (B,). `n_hidden` is H and `std` the standard deviation of the initial weights."""

    requires = frozenset({"binary"})

    def __init__(self, space: Space, mean: Tensor, *, n_hidden: Count, std: Positive) -> None:
        super().__init__()
        n = prod(space.shape)
        self.n_visible, self.n_hidden, self.n_uniforms, self.shape = n, n_hidden, n + n_hidden, tuple(space.shape)
        self.first_uniform = n_hidden
        self.has_log_partition = rbm.can_be_summed(n, n_hidden)  # log Z is a sum over few enough states
        self.weight = nn.Parameter(std * torch.randn(n, n_hidden))
        self.visible_bias = nn.Parameter(torch.logit(mean.flatten().clamp(LEAST, 1 - LEAST)))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))
        self.register_buffer("mean", mean.flatten())

    def forward(self, x: Tensor) -> Tensor:
        away, mean_of_h = x.flatten(1) - self.mean, torch.sigmoid(self.hidden_bias)
        a = away @ self.weight + self.hidden_bias  # c + W'v
        constant = self.mean @ self.visible_bias + mean_of_h @ self.biases()[1]
        return a @ mean_of_h - away @ self.visible_bias - softplus(a).sum(-1) - constant  # without cancelling terms in the gradient of W

    def biases(self) -> tuple[Tensor, Tensor]:
        """b, (D,), and c, (H,)."""
        return self.visible_bias - self.weight @ torch.sigmoid(self.hidden_bias), self.hidden_bias - self.mean @ self.weight

    def hidden(self, x: Tensor) -> Tensor:
        """p(h = 1 | v), (B, *d) -> (B, H)."""
        return torch.sigmoid(x.flatten(1) @ self.weight + self.biases()[1])

    def filters(self) -> Tensor:
        """The weights of every hidden unit, (H, D), in the order of the coordinates."""
        return self.weight.T

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        (b, c), beta = self.biases(), beta.unsqueeze(-1)
        h = (u[:, : self.n_hidden] < torch.sigmoid(beta * torch.addmm(c, x.flatten(1), self.weight))).to(x)
        weights = torch.cat([self.weight.T, torch.stack([b, bias.flatten()])])  # one product gives beta (W h + b) + (1 - beta) bias
        field = torch.cat([beta * h, beta, 1 - beta], 1) @ weights
        return (u[:, self.n_hidden :] < torch.sigmoid(field)).to(x).view_as(x)

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        v, b, c = x.flatten(1), *self.biases()
        linear = beta * (v @ b) + (1 - beta) * (v @ bias.flatten())
        return -linear - softplus(beta.unsqueeze(-1) * (v @ self.weight + c)).sum(-1)

    def flip_differences(self, x: Tensor) -> Tensor:
        """F(x with bit i flipped) - F(x) for every i, (B, *d) -> (B, D), without an evaluation for each bit."""
        v, b, c = x.flatten(1), *self.biases()
        change = 1 - 2 * v
        before = v @ self.weight + c
        after = before.unsqueeze(-2) + change.unsqueeze(-1) * self.weight
        return -change * b - (softplus(after) - softplus(before).unsqueeze(-2)).sum(-1)

    def log_partition(self) -> Tensor:
        """log Z in nats, a scalar in double precision, by a sum over the states of the smaller side. It is differentiable."""
        return rbm.log_partition(self.weight, *self.biases())

    def quadratic(self) -> Quadratic:
        """The joint energy E(v, h), a bipartite model of the visible and the hidden units."""
        n, (b, c) = self.n_visible, self.biases()
        joint = self.weight.new_zeros(n + self.n_hidden, n + self.n_hidden)
        joint[:n, n:] = -self.weight
        return of_bits(joint, torch.cat([-b, -c]))

    def draw(self, place: Tensor, u: Tensor) -> Tensor:
        """Independent draws, (n, *d), if log Z is such a sum; `place` (n,) and `u` (n, D + H) are uniform on [0, 1)."""
        return rbm.draw(self.weight, *self.biases(), place, u).to(self.weight).view(-1, *self.shape)
