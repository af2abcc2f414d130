"""Turns a network into pure functions of (params, x): energy, score, and the score with its vector-Jacobian products.

Shapes: `*m` is () for one model and (M,) for a stack, B the batch size, `*d` the shape of an event. Only the network depends on the
parameters, and only the network is vmapped. The gradient of a sum over models is the gradient of each model, so everything that is built
on energies and scores works unchanged on a stack.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from functools import lru_cache, partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ebm_cli.types import Params, Space


class Model:
    """A network without its tensors. They are passed as `params`, with their names in the network, each of shape (*m, ...).

    The network maps events (B, *d) to energies (B,), or, with `outputs_score = True`, to scores (B, *d). With `takes_noise_level = True`
    it is called with `noise_level`, (B,). With `takes_labels = True` it is called with `label`, (B,). Labels are part of `params`, as
    `label`, (*m, B), so that samplers and objectives need not handle them; if x holds k B events, the labels are repeated k times.
    In each call the tensors are put into the network and removed again. This has the effect of `torch.func.functional_call` at a tenth of
    its cost, and works in eager mode, under vmap and in a compiled graph.
    """

    temperature = 1.0  # the temperature T of the chains with which the network was trained: they sample exp(-E / T)

    def __init__(self, module: nn.Module, *, event_ndim: int, stacked: bool, space: Space | None = None) -> None:
        """`space` is that of the events. Without it they are real, or bits where something needs discrete events."""
        device = next((tensor.device for tensor in tensors(module).values()), None)  # None if the module has no tensors
        self.outputs_score: bool = getattr(module, "outputs_score", False)
        self.takes_labels: bool = getattr(module, "takes_labels", False)
        self.provides = provides(module)
        self.module, self.event_ndim, self.stacked, self.space = deepcopy(module).eval(), event_ndim, stacked, space
        self.event_axes = tuple(range(-event_ndim, 0))
        self.names = list(tensors(self.module))
        self.learned = [name for name, _ in self.module.named_parameters()]
        name_of = {id(tensor): name for name, tensor in tensors(self.module).items()}  # a tied tensor has one name and several slots
        tables = [table for part in self.module.modules() for table in (part._parameters, part._buffers)]
        self.slots = [(table, key, name_of[id(tensor)]) for table in tables for key, tensor in table.items() if tensor is not None]
        for table, key, _ in self.slots:
            table[key] = None
        self.attach = torch.zeros((), requires_grad=True, device=device)

    def alone(self) -> "Model":
        """The same network as a single model, to be called with the parameters of one model of a stack."""
        single = copy(self)
        single.stacked = False
        return single

    def call(self, params: Params, method: str, *inputs: Tensor, **named: Tensor) -> Tensor:
        """Call another method of the network than `forward`, for example a conditional of an RBM. It maps a batch to a batch."""
        return self._vmapped(params, getattr(self.module, method), *inputs, **named)

    def _call(self, function: Callable[..., Tensor], params: Params, inputs: Sequence[Tensor], named: Params) -> Tensor:
        for table, key, name in self.slots:
            table[key] = params[name]
        output = function(*inputs, **named)
        for table, key, _ in self.slots:
            table[key] = None
        return output

    def _vmapped(self, params: Params, function: Callable[..., Tensor], *inputs: Tensor, **named: Tensor) -> Tensor:
        if not self.stacked:
            return self._call(function, params, inputs, named)
        own = {name: params[name] for name in self.names}
        return torch.vmap(partial(self._call, function))(own, inputs, named)  # vmap does not batch keyword arguments: pass a dict

    def _network(self, params: Params, x: Tensor, noise_level: Tensor | None) -> Tensor:
        named = {} if noise_level is None else {"noise_level": noise_level}
        if self.takes_labels:
            named["label"] = repeated(params["label"], x.shape[x.ndim - 1 - self.event_ndim])
        return self._vmapped(params, self.module, x, **named)

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        """E(x), (*m, B, *d) -> (*m, B)."""
        return self._network(params, x, noise_level)

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        """E(x), (*m, B), and s(x) = -grad E(x), (*m, B, *d), by one forward and one backward pass.

        With `create_graph` both are differentiable in params, and in x if x requires grad.
        """
        with torch.enable_grad():
            x = x if x.requires_grad else x + self.attach  # a compiled graph cannot create a leaf, but it can attach x to one
            energy = self.energy(params, x, noise_level)
            (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=create_graph)
        return energy if create_graph else energy.detach(), -gradient

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """s(x) = grad log p(x), (*m, B, *d)."""
        if self.outputs_score:
            with torch.set_grad_enabled(create_graph):
                return self._network(params, x, noise_level)
        return self.energy_and_score(params, x, noise_level, create_graph=create_graph)[1]

    def score_and_vjp(self, params: Params, x: Tensor, *v: Tensor) -> tuple[Tensor, ...]:
        """s(x) and v' grad s(x) for each v, all (*m, B, *d) and differentiable in params."""
        with torch.enable_grad():
            x = x if x.requires_grad else x + self.attach
            score = self.score(params, x, create_graph=True)
            # the gradient of a sum, because grad_outputs would import sympy: half a second at every start
            return score, *(torch.autograd.grad((score * direction).sum(), x, create_graph=True)[0] for direction in v)

    def sweep(self, params: Params, x: Tensor, u: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """x after one block-Gibbs transition, (*m, B, *d); see core/block_gibbs.py. u are uniforms (*m, B, n_uniforms).

        By default beta, (*m, B), is one and bias, (*m, *d), is zero: the transition leaves the model invariant.
        """
        return self.call(params, "sweep", x, u, *self._annealed(x, beta, bias)).detach()

    def annealed_energy(self, params: Params, x: Tensor, beta: Tensor, bias: Tensor | None = None) -> Tensor:
        """E_beta(x), (*m, B), which the transitions of `sweep` leave invariant."""
        return self.call(params, "annealed_energy", x, *self._annealed(x, beta, bias))

    def _annealed(self, x: Tensor, beta: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        axis = x.ndim - self.event_ndim - 1
        beta = x.new_ones(()).expand(x.shape[: axis + 1]) if beta is None else beta
        return beta, x.new_zeros(()).expand(x.shape[:axis] + x.shape[axis + 1 :]) if bias is None else bias

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product over the event axes, (*m, B, *d) -> (*m, B)."""
        return (a * b).sum(self.event_axes)

    def model_shape(self, params: Params) -> torch.Size:
        """`*m`, read from the parameters."""
        return params[self.names[0]].shape[:1] if self.stacked else torch.Size()


class CountingModel:
    """A model that counts its evaluations per model of a stack: energies, scores, Hessian-vector products.

    An energy that is computed together with a score (one forward, one backward pass) counts as one score.
    """

    def __init__(self, model: Model) -> None:
        self._model, self.counts = model, Counter(energy=0, score=0, hvp=0)

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def _count(self, kind: str, x: Tensor, times: int = 1) -> None:
        first = int(self._model.stacked)
        self.counts[kind] += times * prod(x.shape[first : x.ndim - self._model.event_ndim])

    def energy(self, params: Params, x: Tensor, noise_level: Tensor | None = None) -> Tensor:
        self._count("energy", x)
        return self._model.energy(params, x, noise_level)

    def energy_and_score(
        self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        self._count("score", x)
        return self._model.energy_and_score(params, x, noise_level, create_graph=create_graph)

    def score(self, params: Params, x: Tensor, noise_level: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        self._count("score", x)
        return self._model.score(params, x, noise_level, create_graph=create_graph)

    def score_and_vjp(self, params: Params, x: Tensor, *v: Tensor) -> tuple[Tensor, ...]:
        self._count("score", x)
        self._count("hvp", x, len(v))
        return self._model.score_and_vjp(params, x, *v)


def provides(network: nn.Module | type[nn.Module]) -> frozenset[str]:
    """The capabilities of a network or its class: `energy`, `noise_level`, `block_gibbs`, `ising`, and `unconditional`, without labels."""
    flags = {name: getattr(network, name, False) for name in ("outputs_score", "takes_noise_level", "takes_labels")}
    found = {"energy": not flags["outputs_score"], "noise_level": flags["takes_noise_level"], "unconditional": not flags["takes_labels"]}
    found |= {"block_gibbs": hasattr(network, "sweep"), "ising": hasattr(network, "bond_couplings")}
    return frozenset(name for name, provided in found.items() if provided)


def tensors(module: nn.Module) -> Params:
    """Parameters and buffers by name. Buffers are included because those fitted to data (mean, scale) differ between models as well."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def constant(values: Any, like: Tensor) -> Tensor:
    """A number or nested sequence of the config as a tensor with the dtype and device of `like`.

    It is copied to the device once and cached, because a copy makes the host wait.
    """
    return _constant(_frozen(values), like.dtype, like.device)


def in_turn(values: float | Sequence[float], x: Tensor, axis: int) -> Tensor:
    """The values, repeated cyclically along an axis of x, with trailing axes of size one to broadcast against x."""
    cycle, n = constant(values if isinstance(values, Sequence) else [values], x), x.shape[axis]
    return cycle.repeat(-(-n // len(cycle)))[:n].reshape(-1, *[1] * (x.ndim - 1 - axis))


@lru_cache(maxsize=256)
def _constant(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def _frozen(values: Any) -> Any:
    return tuple(_frozen(value) for value in values) if isinstance(values, (list, tuple)) else values


def repeated(label: Tensor, n: int) -> Tensor:
    """Labels (*m, B), repeated for n = k B events: (*m, n)."""
    if n % label.shape[-1]:
        raise ValueError(f"the number of events, {n}, is not a multiple of the number of labels, {label.shape[-1]}")
    return label if n == label.shape[-1] else label.repeat(*[1] * (label.ndim - 1), n // label.shape[-1])


def expand(value: Tensor, x: Tensor) -> Tensor:
    """A value per model, (*m,), or per sample, (*m, B), with trailing axes of size one added to broadcast against x, (*m, B, *d)."""
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))
