"""Learned Stein discrepancy. Grathwohl et al. 2020, arXiv:2002.05616.

    max over f of  E_data[ s(x)'f(x) + tr grad f(x) ] - lambda E_data |f(x)|^2,    minimized over the model

s is the score of the model. The critic f is a separate perceptron, trained by `n_critic` steps of Adam before each step of the model. The
optimal critic is f = (s - s_data) / (2 lambda), at which the objective is the Fisher divergence E |s - s_data|^2 / (4 lambda). The model
minimizes it without a second derivative of its energy. Cost per sample and step: 2 scores, and `n_critic` + 1 Jacobians of the critic. It
is not suited to few data, which the critic overfits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import silu

from ebm_cli.core.adam import adam_
from ebm_cli.core.contracts import Objective
from ebm_cli.core.model import Model
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import spread
from ebm_cli.types import Count, Info, Params, Positive

BETAS, EPS = (0.5, 0.9), 1e-8  # of the critic's Adam; beta_1 is low because the target of the critic changes


@dataclass(frozen=True)
class LearnedSteinDiscrepancy(Objective):
    """`hidden`: widths of the critic's hidden layers; `critic_lr`: its learning rate; `penalty`: lambda."""

    hidden: Sequence[Count]
    n_critic: Count
    critic_lr: Positive
    penalty: Positive
    loss_is_comparable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x_train: Tensor, rng: Rng) -> tuple[Params, Params]:
        batch, d = -1 - model.event_ndim, x_train.shape[x_train.ndim - model.event_ndim :].numel()
        carry = {"critic.n": x_train.new_zeros(rng.model_shape)}
        moments = {"mean": x_train.mean(batch, keepdim=True), "scale": spread(x_train, batch, keepdim=True)}
        carry |= {name: value.flatten(-model.event_ndim) for name, value in moments.items()}
        widths = [d, *self.hidden, d]
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            layer = {"weight": rng.normal(f"critic.{i}", n_in, n_out) * n_in**-0.5, "bias": x_train.new_zeros(*rng.model_shape, 1, n_out)}
            for name, value in layer.items():
                zeros = {f"critic.{part}.{name}.{i}": torch.zeros_like(value) for part in ("m", "v")}
                carry |= {f"critic.{name}.{i}": value, **zeros}
        return {}, carry

    def prepare(self, model: Model, params: Params, carry: Params, x: Tensor, rng: Rng) -> tuple[Params, Params, Info]:
        flat, score = x.flatten(-model.event_ndim), model.score(params, x).flatten(-model.event_ndim)
        n_layers = len(self.hidden) + 1
        names = [f"{name}.{i}" for i in range(n_layers) for name in ("weight", "bias")]
        with torch.enable_grad():
            for _ in range(self.n_critic):
                leaves = {name: carry[f"critic.{name}"].detach().requires_grad_() for name in names}
                value, trace = self._critic(leaves, carry, flat)
                stein = (score * value).sum(-1) + trace
                gain = (stein - self.penalty * value.square().sum(-1)).mean(-1)
                gradients = torch.autograd.grad(-gain.sum(), list(leaves.values()))
                carry = carry | self._adam(carry, dict(zip(names, gradients, strict=True)))
            value, trace = self._critic({name: carry[f"critic.{name}"] for name in names}, carry, flat)
        value = value.detach()
        info = {"stein": (score * value).sum(-1) + trace.detach()}
        return {"critic": value.view_as(x), "trace": trace.detach()}, carry, info

    def loss(self, model: Model, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Info]:
        score = model.score(params, x, create_graph=True)
        value = aux["critic"]
        return model.inner(score, value) + aux["trace"] - self.penalty * model.inner(value, value), {}

    def _critic(self, leaves: Params, carry: Params, flat: Tensor) -> tuple[Tensor, Tensor]:
        """f(x), (*m, B, d), and the exact trace of its Jacobian, (*m, B), by forward-mode differentiation with d tangents."""
        d = flat.shape[-1]
        u = (flat - carry["mean"]) / carry["scale"]
        tangents = [unit / carry["scale"] for unit in torch.eye(d, dtype=u.dtype, device=u.device)]
        n_layers = len(self.hidden) + 1
        for i in range(n_layers):
            weight = leaves[f"weight.{i}"]
            u, tangents = u @ weight + leaves[f"bias.{i}"], [tangent @ weight for tangent in tangents]
            if i + 1 < n_layers:
                gate = torch.sigmoid(u)
                slope = gate * (1 + u * (1 - gate))  # the derivative of silu
                u, tangents = silu(u), [tangent * slope for tangent in tangents]
        return u, sum(tangent[..., i] for i, tangent in enumerate(tangents))

    def _adam(self, carry: Params, gradients: Params) -> Params:
        """The entries of the carry that one step of Adam changes: the critic and its moments."""
        new = {"critic.n": carry["critic.n"] + 1}
        for name, gradient in gradients.items():
            theta, m, v = moved = [carry[f"critic.{part}{name}"].clone() for part in ("", "m.", "v.")]
            count = new["critic.n"].reshape(new["critic.n"].shape + (1,) * (gradient.ndim - new["critic.n"].ndim))
            adam_(theta, gradient, m, v, t=count, lr=self.critic_lr, betas=BETAS, eps=EPS)
            new |= {f"critic.{part}{name}": value for part, value in zip(("", "m.", "v."), moved, strict=True)}
        return new
