"""From a network to pure functions of (params, x): energy, score, and the score with its vector-Jacobian product.

Shapes: `*m` is () for one model and (M,) for a stack, B the batch, `*d` the event. Only the network knows parameters, and only it is
vmapped; since the gradient of a sum over models separates, everything built on energies and scores works unchanged on a stack.
"""

from collections import Counter
from collections.abc import Sequence
from copy import copy, deepcopy
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ebm_cli.types import Params


class Model:
    """A network without its tensors: they come in as `params`, named as in the network, leaves (*m, ...).

    The network maps events (B, *d) to energies (B,), or, where its class says `outputs_score = True`, to scores (B, *d). One whose
    class says `takes_noise_level = True` takes the standard deviation of the noise, (B,), as well.
    Per call the tensors are put into the network's slots and taken out again: `torch.func.functional_call` at a tenth of its cost, and
    alike in eager mode, under vmap and in a compiled graph.
    """

    temperature = 1.0  # T where the energy is that of a network that was trained to follow exp(-E / T)

    def __init__(self, module: nn.Module, *, event_ndim: int, stacked: bool) -> None:
        device = next((tensor.device for tensor in tensors(module).values()), None)  # an analytic energy may have none
        self.outputs_score: bool = getattr(module, "outputs_score", False)
        self.provides = provides(module)
        self.module, self.event_ndim, self.stacked = deepcopy(module).eval(), event_ndim, stacked
        self.event_axes = tuple(range(-event_ndim, 0))
        self.names = list(tensors(self.module))
        self.learned = [name for name, _ in self.module.named_parameters()]
        name_of = {id(tensor): name for name, tensor in tensors(self.module).items()}  # tied tensors have one name and several slots
        tables = [table for part in self.module.modules() for table in (part._parameters, part._buffers)]
        self.slots = [(table, key, name_of[id(tensor)]) for table in tables for key, tensor in table.items() if tensor is not None]
        for table, key, _ in self.slots:
            table[key] = None
        self.attach = torch.zeros((), requires_grad=True, device=device)

    def alone(self) -> "Model":
        """The same network for the parameters of one model of a stack."""
        single = copy(self)
        single.stacked = False
        return single

    def _call(self, params: Params, *inputs: Tensor) -> Tensor:
        for table, key, name in self.slots:
            table[key] = params[name]
        output = self.module(*inputs)
        for table, key, _ in self.slots:
            table[key] = None
        return output

    def _network(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        if not self.stacked:
            return self._call(params, x, *noise_level)
        return torch.vmap(self._call)({name: params[name] for name in self.names}, x, *noise_level)

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        """E(x), (*m, B, *d) -> (*m, B)."""
        return self._network(params, x, *noise_level)

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """E(x), (*m, B), and s(x) = -grad E(x), (*m, B, *d), by one forward and one backward pass.

        With `create_graph` both are differentiable in params, and in x where x requires grad.
        """
        with torch.enable_grad():
            x = x if x.requires_grad else x + self.attach  # a compiled graph can make no leaf, but it can hang x on one
            energy = self.energy(params, x, *noise_level)
            (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=create_graph)
        return energy if create_graph else energy.detach(), -gradient

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        """s(x) = grad log p(x), (*m, B, *d)."""
        if self.outputs_score:
            with torch.set_grad_enabled(create_graph):
                return self._network(params, x, *noise_level)
        return self.energy_and_score(params, x, *noise_level, create_graph=create_graph)[1]

    def score_and_vjp(self, params: Params, x: Tensor, *v: Tensor) -> tuple[Tensor, ...]:
        """s(x) and v' grad s(x) for each v, all (*m, B, *d) and differentiable in params."""
        with torch.enable_grad():
            x = x if x.requires_grad else x + self.attach
            score = self.score(params, x, create_graph=True)
            # of the sum rather than with grad_outputs=one, which would import sympy: half a second of every start
            return score, *(torch.autograd.grad((score * one).sum(), x, create_graph=True)[0] for one in v)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product over the event axes, (*m, B, *d) -> (*m, B)."""
        return (a * b).sum(self.event_axes)

    def model_shape(self, params: Params) -> torch.Size:
        """`*m`, read from the parameters."""
        return params[self.names[0]].shape[:1] if self.stacked else torch.Size()


class CountingModel:
    """A model that counts, per model of a stack, the points at which it is asked: energies, scores, Hessian-vector products.

    An energy that comes with a score (one forward, one backward pass) is counted as the score alone.
    """

    def __init__(self, model: Model) -> None:
        self._model, self.counts = model, Counter(energy=0, score=0, hvp=0)

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def _points(self, x: Tensor) -> int:
        first = int(self._model.stacked)
        return prod(x.shape[first : x.ndim - self._model.event_ndim])

    def energy(self, params: Params, x: Tensor, *noise_level: Tensor) -> Tensor:
        self.counts["energy"] += self._points(x)
        return self._model.energy(params, x, *noise_level)

    def energy_and_score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        self.counts["score"] += self._points(x)
        return self._model.energy_and_score(params, x, *noise_level, create_graph=create_graph)

    def score(self, params: Params, x: Tensor, *noise_level: Tensor, create_graph: bool = False) -> Tensor:
        self.counts["score"] += self._points(x)
        return self._model.score(params, x, *noise_level, create_graph=create_graph)

    def score_and_vjp(self, params: Params, x: Tensor, *v: Tensor) -> tuple[Tensor, ...]:
        self.counts["score"] += self._points(x)
        self.counts["hvp"] += self._points(x) * len(v)
        return self._model.score_and_vjp(params, x, *v)


def provides(network: nn.Module | type[nn.Module]) -> frozenset[str]:
    """What a network, or its class, can be asked for: an `energy`, a `noise_level`."""
    energy = () if getattr(network, "outputs_score", False) else ("energy",)
    return frozenset((*energy, *(("noise_level",) if getattr(network, "takes_noise_level", False) else ())))


def tensors(module: nn.Module) -> Params:
    """Parameters and buffers by name: what is fitted to a seed's own data (mean, scale) differs from model to model too."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def constant(values: Any, like: Tensor) -> Tensor:
    """A number or nested sequence of a config as a tensor beside another one. It goes to the device once: a copy there would wait."""
    return _constant(_frozen(values), like.dtype, like.device)


def in_turn(values: float | Sequence[float], x: Tensor, axis: int) -> Tensor:
    """The values for the data in turn along an axis of x, with trailing axes of one to stand against x."""
    own, n = constant(values if isinstance(values, Sequence) else [values], x), x.shape[axis]
    return own.repeat(-(-n // len(own)))[:n].reshape(-1, *[1] * (x.ndim - 1 - axis))


@lru_cache(maxsize=256)
def _constant(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def _frozen(values: Any) -> Any:
    return tuple(_frozen(one) for one in values) if isinstance(values, (list, tuple)) else values


def expand(value: Tensor, x: Tensor) -> Tensor:
    """A value per model, (*m,), or per sample, (*m, B), with trailing axes of one to stand against x, (*m, B, *d)."""
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))
