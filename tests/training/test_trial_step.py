"""The trial step finds the mistakes of components that would otherwise train something else. It is checked for one model and a stack."""

import numpy as np
import pytest
import torch
from torch import nn

from ebm_cli.errors import InputError
from ebm_cli.training.trial_step import trial_step

MODELS = pytest.mark.parametrize("words", [(), ("seeds=2",)], ids=["one model", "stack"])
SHAPES = {0: "(32,)", 1: "(2, 32)"}  # (*m, B) for a batch of 32


class Shell:
    """A component with some of its methods replaced."""

    def __init__(self, component, **methods):
        self._component = component
        self.__dict__.update(methods)

    def __getattr__(self, name):
        return getattr(self._component, name)


def refusal(trainer):
    with pytest.raises(InputError) as caught:
        trial_step(trainer)
    (problem,) = caught.value.problems
    assert problem.hint
    return problem.message


@MODELS
def test_it_counts_the_evaluations_of_a_step_and_changes_nothing(trainer, words):
    """ssm evaluates the score and one Hessian-vector product at each of the 32 events, nce the energy at the events and at its noise."""
    assert trial_step(trainer("objective=ssm", *words)) == {"energy": 0, "score": 32, "hvp": 32}
    instance = trainer("objective=nce", *words)
    theta, generator = instance.state.theta.clone(), torch.get_rng_state()
    assert trial_step(instance)["energy"] == 32 * (1 + instance.objective.n_noise)
    assert torch.equal(instance.state.theta, theta)
    assert instance.state.step == 0
    assert torch.equal(torch.get_rng_state(), generator)


@MODELS
@pytest.mark.parametrize("reduce", [lambda loss: loss.mean(-1), lambda loss: loss.unsqueeze(-1), lambda loss: loss[..., :1]])
def test_a_loss_with_a_wrong_shape_is_refused(trainer, words, reduce):
    instance = trainer("objective=ssm", *words)
    loss = instance.objective.loss
    instance.objective = Shell(instance.objective, loss=lambda *inputs: (reduce(loss(*inputs)[0]), {}))
    shape = tuple(reduce(torch.zeros(*instance.rng.model_shape, 32)).shape)
    assert f"Shell.loss returned shape {shape}, not (*m, B) = {SHAPES[len(words)]}" in refusal(instance)


@MODELS
def test_a_penalty_with_a_wrong_shape_is_refused(trainer, words):
    instance = trainer("objective=ssm", "regularizer=energy_l2", *words)
    penalty = instance.regularizers[0].penalty
    instance.regularizers = [Shell(instance.regularizers[0], penalty=lambda *inputs: penalty(*inputs).mean(-1))]
    assert f"regularizer: {__name__}.Shell.penalty returned shape" in refusal(instance)


@MODELS
def test_an_energy_with_a_wrong_shape_is_refused(trainer, words):
    """(B, 1) instead of (B,) would broadcast with another energy to (B, B)."""

    class Column(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x).unsqueeze(-1)

    instance = trainer("objective=nce", *words)
    instance.model.module = Column(instance.model.module)
    shape = SHAPES[len(words)]
    assert f"Column.forward returned shape {shape.replace(',)', '').replace(')', '')}, 1), not (*m, B) = {shape}" in refusal(instance)


@MODELS
def test_a_loss_that_does_not_depend_on_the_parameters_is_refused(trainer, words):
    instance = trainer("objective=ssm", *words)
    loss = instance.objective.loss
    instance.objective = Shell(instance.objective, loss=lambda *inputs: (loss(*inputs)[0].detach(), {}))
    assert "Shell.loss does not depend on the parameters of the energy" in refusal(instance)


@pytest.mark.parametrize("draw", [lambda: torch.randn(3), lambda: np.random.normal(), lambda: np.random.randint(5)])
@pytest.mark.parametrize("method", ["prepare", "loss", "penalty", "forward"])
def test_random_numbers_of_a_global_generator_are_refused(trainer, method, draw):
    """A run that is resumed would draw other numbers."""
    instance = trainer("objective=ssm", "regularizer=energy_l2")

    def after_a_draw(function):
        return lambda *inputs, **named: (draw(), function(*inputs, **named))[1]

    owner = {"penalty": instance.regularizers[0], "forward": instance.model.module}.get(method, instance.objective)
    changed = {method: after_a_draw(getattr(owner, method))}
    if method == "penalty":
        instance.regularizers = [Shell(owner, **changed)]
    elif method == "forward":
        owner.forward = changed["forward"]
    else:
        instance.objective = Shell(owner, **changed)
    group = {"penalty": "regularizer", "forward": "energy"}.get(method, "objective")
    message = refusal(instance)
    assert message.startswith(f"{group}: ")
    assert message.endswith("draws random numbers from a global generator of torch or numpy")
