"""A trial step before training. It counts the evaluations of a step, and checks what the components return.

It finds mistakes that would otherwise train something else without an error: a network or a loss with a wrong shape, which broadcasts; a
loss that does not depend on the parameters; random numbers that are not functions of the seed and the step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebm_cli.core.model import CountingModel
from ebm_cli.errors import bad
from ebm_cli.training.trainer import Trainer


def trial_step(trainer: Trainer) -> dict[str, int]:
    """The cost of one step per model: the numbers of points at which it evaluates energies, scores and Hessian-vector products.

    It does not change the state of the trainer. Raises `InputError` if a component breaks its contract.
    """
    model, objective, rng = CountingModel(trainer.model), trainer.objective, trainer.rng.at("count")
    x, label = trainer.batch(0)
    n = x.shape[: x.ndim - trainer.model.event_ndim]  # (*m, B)
    _check_network(trainer, x, trainer.frozen | label)
    with _no_other_generator("objective", objective, x.device):
        aux, _, _ = objective.prepare(model, trainer.frozen | label, trainer.state.carry, x, rng)
        loss, info = objective.loss(model, trainer.params | label, x, aux)
    _check_shape("objective", objective, "loss", loss, n)
    if trainer.learns and not loss.requires_grad:
        hint = "compute it from params with gradients, for example with model.score(params, x, create_graph=True)"
        raise bad(f"objective: {_name(objective)}.loss does not depend on the parameters of the energy", hint)
    for regularizer in trainer.regularizers:
        with _no_other_generator("regularizer", regularizer, x.device):
            penalty = regularizer.penalty(model, trainer.params | label, x, aux | info)
        _check_shape("regularizer", regularizer, "penalty", penalty, n)
    return dict(model.counts)


def _check_network(trainer: Trainer, x: Tensor, params: dict[str, Tensor]) -> None:
    """The network returns an energy for each event, or a score of the shape of the event."""
    model, network = trainer.model, trainer.model.module
    n = x.shape[: x.ndim - model.event_ndim]
    level = {"noise_level": torch.ones(n, device=x.device)} if "noise_level" in model.provides else {}
    with _no_other_generator("energy", network, x.device):
        output = model.score(params, x, **level) if model.outputs_score else model.energy(params, x, **level)
    _check_shape("energy", network, "forward", output, x.shape if model.outputs_score else n)


def _check_shape(group: str, component: Any, method: str, output: Tensor, expected: torch.Size) -> None:
    if output.shape != expected:
        form = "(*m, B, *d)" if method == "forward" and len(expected) > output.ndim else "(*m, B)"
        hint = "return one value for each event: reduce over the axes of the event, and over no other axis"
        raise bad(f"{group}: {_name(component)}.{method} returned shape {tuple(output.shape)}, not {form} = {tuple(expected)}", hint)


@contextmanager
def _no_other_generator(group: str, component: Any, device: torch.device) -> Iterator[None]:
    """Refuse draws from global generators: a resumed run, or a model in a stack, would draw other numbers."""
    before = _global_generators(device)
    yield
    if any(not np.array_equal(old, new) for old, new in zip(before, _global_generators(device), strict=True)):
        hint = 'draw them from the argument rng, for example rng.normal("noise", *shape); see docs/extending.md'
        raise bad(f"{group}: {_name(component)} draws random numbers from a global generator of torch or numpy", hint)


def _global_generators(device: torch.device) -> list[np.ndarray]:
    on_device = [torch.cuda.get_rng_state(device).numpy()] if device.type == "cuda" else []
    _, keys, *rest = np.random.get_state()
    return [torch.get_rng_state().numpy(), keys, np.array(rest), *on_device]


def _name(component: Any) -> str:
    return f"{type(component).__module__}.{type(component).__name__}"
