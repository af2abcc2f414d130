"""Deep Boltzmann machine: binary coordinates v and two layers of binary hidden units. Salakhutdinov & Hinton 2009.

    E(v, h1, h2) = -b'v - c1'h1 - c2'h2 - v'W1 h1 - h1'W2 h2,    F(v) = -log sum_{h1, h2} exp(-E(v, h1, h2))

The energy of an event is the free energy F. One of the hidden layers is summed over all its states, and the other one in closed form for
each of them, since its units are then independent:

    F(v) = -b'v - log sum_h2 exp(c2'h2) prod_j (1 + exp(a_j + (W2 h2)_j))    if h2 is not larger than h1, with a = c1 + W1'v
    F(v) = -b'v - log sum_h1 exp(a'h1) prod_k (1 + exp(c2_k + (W2'h1)_k))    if h1 is smaller

The smaller layer has at most `MOST` units. Larger machines are refused: their F is not known, and a mean-field bound is no energy.

    block Gibbs    the smaller layer is drawn from its 2^n states given v, then the other layer, then v given h1

so that the hidden units are drawn independently of their previous values. The parameters are those of the centered machine (Montavon &
Mueller 2012), with the mean mu of the training data and the mean 1/2 of the hidden units:

    b = beta - W1 1/2,    c1 = gamma1 - W1'mu - W2 1/2,    c2 = gamma2 - W2'1/2

beta starts at the log-odds of the marginals of the data, gamma1 and gamma2 at 0, and the weights at N(0, `std`^2). With (v, h2) as one side
and h1 as the other the machine is an RBM. Therefore log Z is exact if one of these sides has at most 20 units (core/rbm.py).
Cost of an energy: 2^n times the size of the larger layer.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm_cli.core import rbm
from ebm_cli.core.block_gibbs import BlockGibbs
from ebm_cli.core.contracts import Energy
from ebm_cli.core.quadratic import Quadratic, of_bits
from ebm_cli.errors import bad
from ebm_cli.types import Count, Positive, Space

MOST = 12  # the largest number of units of the smaller hidden layer
LEAST = 1e-3  # the marginals from which the visible biases start lie between LEAST and 1 - LEAST


class DBM(nn.Module, Energy, BlockGibbs):
    """x (B, *d) -> F(x) (B,). `n_hidden` units in the first hidden layer and `n_top` in the second; `std` of the initial weights."""

    requires = frozenset({"binary"})

    def __init__(self, space: Space, mean: Tensor, *, n_hidden: Count, n_top: Count, std: Positive) -> None:
        super().__init__()
        if min(n_hidden, n_top) > MOST:
            fault = f"the smaller hidden layer has {min(n_hidden, n_top)} units, and sums are computed for at most {MOST}"
            raise bad(f"energy.n_top: {fault}", f"energy.n_top={MOST}, or energy=rbm energy.n_hidden={n_hidden}")
        n = prod(space.shape)
        self.n_visible, self.n_hidden, self.n_top, self.shape = n, n_hidden, n_top, tuple(space.shape)
        self.n_uniforms, self.n_summed = 1 + n + max(n_hidden, n_top), min(n_hidden, n_top)
        self.first_uniform = self.n_uniforms - n
        self.has_log_partition = rbm.can_be_summed(n + n_top, n_hidden)
        self.weight, self.top_weight = nn.Parameter(std * torch.randn(n, n_hidden)), nn.Parameter(std * torch.randn(n_hidden, n_top))
        self.visible_bias = nn.Parameter(torch.logit(mean.flatten().clamp(LEAST, 1 - LEAST)))
        self.hidden_bias, self.top_bias = nn.Parameter(torch.zeros(n_hidden)), nn.Parameter(torch.zeros(n_top))
        self.register_buffer("mean", mean.flatten())

    def forward(self, x: Tensor) -> Tensor:
        v = x.flatten(1)
        return -v @ self.biases()[0] - self._log_weights(v, v.new_ones(len(v))).logsumexp(-1)

    def biases(self) -> tuple[Tensor, Tensor, Tensor]:
        """b, (D,), c1, (H1,), and c2, (H2,)."""
        c1 = self.hidden_bias - self.mean @ self.weight - 0.5 * self.top_weight.sum(1)
        return self.visible_bias - 0.5 * self.weight.sum(1), c1, self.top_bias - 0.5 * self.top_weight.sum(0)

    def sweep(self, x: Tensor, u: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        v, (b, c1, _) = x.flatten(1), self.biases()
        below = self._log_weights(v, beta).softmax(-1).cumsum(-1)
        index = (u[:, :1] * below[:, -1:] >= below[:, :-1]).sum(-1)  # inversion
        h, beta = rbm.bits(index, self.n_summed).to(x), beta.unsqueeze(-1)
        if self.n_top <= self.n_hidden:  # h is the second layer
            inside = beta * (v @ self.weight + c1 + h @ self.top_weight.T)
            h = (u[:, 1 : 1 + self.n_hidden] < torch.sigmoid(inside)).to(x)
        field = beta * (h @ self.weight.T + b) + (1 - beta) * bias.flatten()
        return (u[:, -self.n_visible :] < torch.sigmoid(field)).to(x).view_as(x)

    def annealed_energy(self, x: Tensor, beta: Tensor, bias: Tensor) -> Tensor:
        v = x.flatten(1)
        linear = beta * (v @ self.biases()[0]) + (1 - beta) * (v @ bias.flatten())
        return -linear - self._log_weights(v, beta).logsumexp(-1)

    def _log_weights(self, v: Tensor, beta: Tensor) -> Tensor:
        """log sum exp(-beta E(v, h1, h2)) over the larger layer, without -b'v, for each state of the smaller one, (B, 2^n)."""
        _, c1, c2 = self.biases()
        a, beta = v @ self.weight + c1, beta.unsqueeze(-1)
        states = rbm.bits(torch.arange(1 << self.n_summed, device=v.device), self.n_summed).to(v)
        if self.n_top <= self.n_hidden:
            inside = a.unsqueeze(-2) + states @ self.top_weight.T  # (B, 2^n, H1)
            return beta * (states @ c2) + softplus(beta.unsqueeze(-1) * inside).sum(-1)
        inside = c2 + states @ self.top_weight  # (2^n, H2)
        return beta * (a @ states.T) + softplus(beta.unsqueeze(-1) * inside).sum(-1)

    def filters(self) -> Tensor:
        """The weights of every unit of the first hidden layer, (H1, D), in the order of the coordinates."""
        return self.weight.T

    def quadratic(self) -> Quadratic:
        """The joint energy E(v, h1, h2), in this order."""
        n, m, (b, c1, c2) = self.n_visible, self.n_hidden, self.biases()
        joint = self.weight.new_zeros(n + m + self.n_top, n + m + self.n_top)
        joint[:n, n : n + m], joint[n : n + m, n + m :] = -self.weight, -self.top_weight
        return of_bits(joint, torch.cat([-b, -c1, -c2]))

    def log_partition(self) -> Tensor:
        """log Z in nats, a scalar in double precision. It is differentiable."""
        return rbm.log_partition(*self._as_rbm())

    def draw(self, place: Tensor, u: Tensor) -> Tensor:
        """Independent draws, (n, *d), if log Z is known; `place` (n,) and `u` (n, n_uniforms) are uniform on [0, 1)."""
        both = rbm.draw(*self._as_rbm(), place, u)  # v and h2
        return both[:, : self.n_visible].to(self.weight).view(-1, *self.shape)

    def _as_rbm(self) -> tuple[Tensor, Tensor, Tensor]:
        """The weights (D + H2, H1) and the biases of the sides (v, h2) and h1."""
        b, c1, c2 = self.biases()
        return torch.cat([self.weight, self.top_weight.T]), torch.cat([b, c2]), c1
