"""Energies and scores at many points, evaluated in parts."""

import pytest
import torch
from targets import Coupled, CoupledScore
from torch import nn

from ebm_cli.core import pointwise
from ebm_cli.core.model import Model
from ebm_cli.core.pointwise import energy_of, in_chunks, score_of
from ebm_cli.core.rng import Rng


def parts(module, event_ndim):
    return Model(module, event_ndim=event_ndim, stacked=False), {name: value.detach() for name, value in module.named_parameters()}


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("limits", [{"MOST_POINTS": 7}, {"AT_ONCE": 9}, {"MOST_POINTS": 100}])
def test_evaluation_in_parts_equals_evaluation_at_once(shape, limits, monkeypatch):
    x = Rng(0).normal("x", 100, *shape)
    for module in (Coupled(), CoupledScore()):
        model, params = parts(module, len(shape))
        whole = score_of(model, params, x), energy_of(model, params, x) if isinstance(module, Coupled) else None
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(pointwise, name, value)
            torch.testing.assert_close(score_of(model, params, x), whole[0], atol=0, rtol=1e-6)
            if isinstance(module, Coupled):
                torch.testing.assert_close(energy_of(model, params, x), whole[1], atol=0, rtol=1e-6)
        torch.testing.assert_close(whole[0], model.score(params, x).flatten(1).double(), atol=0, rtol=0)


class Recorded(nn.Module):
    """E(x) = a times the sum of the coordinates; it records the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.a, self.seen = nn.Parameter(torch.ones(())), []

    def forward(self, x):
        self.seen.append(len(x))
        return self.a * x.flatten(1).sum(-1)


@pytest.mark.parametrize(
    ("shape", "n", "sizes"),
    [
        ((2,), 40_000, [16384, 16384, 7232]),
        ((64,), 20_000, [16384, 3616]),
        ((3, 64, 64), 200, [85, 85, 30]),  # 2^20 numbers at once at most
        ((1 << 19,), 5, [2, 2, 1]),
        ((1 << 20,), 2, [1, 1]),
        (((1 << 20) + 1,), 2, [1, 1]),  # at least one event at a time
    ],
)
def test_the_number_of_events_at_once_is_bounded(shape, n, sizes):
    """The number of entries is bounded, and also the number of events, because the activations of a network can exceed its input."""
    model, params = parts(Recorded(), len(shape))
    x = torch.zeros(1, *shape).expand(n, *shape)
    assert energy_of(model, params, x).shape == (n,)
    assert model.module.seen == sizes


def test_values_are_in_double_precision_and_have_no_graph():
    model, params = parts(Coupled(), 1)
    x = Rng(0).normal("x", 5, 2).double()
    leaf = {"a": params["a"].requires_grad_()}
    for values, shape in ((energy_of(model, leaf, x), (5,)), (score_of(model, leaf, x), (5, 2))):
        assert values.dtype == torch.double
        assert values.shape == shape
        assert not values.requires_grad
    in_single = model.energy(params, x.float()).double()  # the precision of the model
    torch.testing.assert_close(energy_of(model, params, x), in_single, atol=0, rtol=0)
    in_double = {"a": params["a"].double()}
    torch.testing.assert_close(energy_of(model, in_double, x.float()), model.energy(in_double, x.float().double()), atol=0, rtol=0)


def test_no_points_have_no_values():
    model, params = parts(Coupled(), 1)
    assert energy_of(model, params, torch.zeros(0, 2)).shape == (0,)
    assert score_of(model, params, torch.zeros(0, 2)).shape == (0, 2)


def test_a_function_of_any_shape():
    x = Rng(0).normal("x", 50, 3)
    torch.testing.assert_close(
        in_chunks(lambda part: part.unsqueeze(-1) * part.unsqueeze(-2), x), torch.einsum("ni,nj->nij", x, x).double()
    )


class Masked(nn.Module):
    """E(x) = the sum of the coordinates that the mask keeps. Its first tensors are integers and bits, as those of a flow or a graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return self.scale * (x * self.mask).sum(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_events_have_the_precision_of_the_first_tensor_of_real_numbers(dtype):
    module = Masked().to(dtype)
    model, x = Model(module, event_ndim=1, stacked=False), Rng(0).normal("x", 5, 2)
    params = {name: value.detach() for name, value in module.named_buffers()}
    assert pointwise.beside(model, params, x).dtype == dtype
    torch.testing.assert_close(energy_of(model, params, x), x[:, 0].double(), atol=0, rtol=0)
