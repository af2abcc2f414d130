"""The Ising and Potts energies against loops over the bonds, and what they know in closed form. All draws are seeded."""

import math

import pytest
import torch
from finite import PLAIN

from ebm_cli.core.model import Model, tensors
from ebm_cli.core.states import states
from ebm_cli.energies.ising import Ising
from ebm_cli.energies.potts import Potts
from ebm_cli.errors import InputError
from ebm_cli.types import Space


def random_ising(shape=(3, 4), graph="lattice", periodic=True, beta=0.7, seed=0):
    torch.manual_seed(seed)
    energy = Ising(Space(shape, "binary"), shape=None, graph=graph, periodic=periodic, coupling=None, field=0.0, beta=beta, **PLAIN)
    torch.nn.init.normal_(energy.coupling)
    torch.nn.init.normal_(energy.field)
    return energy.double()


@pytest.mark.parametrize(("shape", "graph", "periodic"), [((3, 4), "lattice", True), ((3, 4), "lattice", False), ((2, 3), "full", True)])
def test_the_energy_is_the_sum_over_the_pairs(shape, graph, periodic):
    energy = random_ising(shape, graph, periodic)
    x = states(energy.space).double()
    s, n = (2 * x - 1).flatten(1), math.prod(shape)
    if graph == "lattice":
        pairs = zip(energy.lattice.edges.tolist(), energy.coupling[energy.lattice.bonds], strict=True)
    else:
        pairs = [((i, j), energy.coupling[i, j]) for i in range(n) for j in range(i + 1, n)]
    total = s @ energy.field.flatten()
    for (i, j), value in pairs:
        total = total + value * s[:, i] * s[:, j]
    torch.testing.assert_close(energy(x), -0.7 * total)
    assert energy.log_z == pytest.approx((0.7 * total).logsumexp(0).item(), rel=1e-12)
    mean = -(0.7 * total * (0.7 * total).softmax(0)).sum().item()
    assert energy.mean_energy == (pytest.approx(mean, rel=1e-10) if graph == "lattice" else None)


@pytest.mark.parametrize("graph", ["lattice", "full"])
def test_flip_differences_are_those_of_the_energy(graph):
    energy = random_ising(graph=graph)
    x = (torch.rand(20, 3, 4) < 0.5).double()
    for i in range(12):
        unit = torch.eye(12, dtype=torch.double)[i].view(3, 4)
        torch.testing.assert_close(energy.flip_differences(x)[:, i], energy((x - unit).abs()) - energy(x))


@pytest.mark.parametrize(("graph", "periodic"), [("lattice", True), ("lattice", False), ("full", True)])
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_a_sweep_draws_every_site_given_the_new_values_of_earlier_colors(graph, periodic, beta):
    """Against a loop over the sites in the order of their colors, with a bias. u decides at the probabilities."""
    energy = random_ising((3, 3), graph, periodic)
    torch.manual_seed(1)
    x, u, bias = (torch.rand(50, 3, 3) < 0.5).double(), torch.rand(50, 9).double(), torch.randn(3, 3).double()
    found = energy.sweep(x, u, torch.full((50,), beta).double(), bias)
    expected, color = x.clone().flatten(1), energy.color.flatten().long()
    for i in sorted(range(9), key=lambda site: int(color[site])):
        on, off = expected.clone(), expected.clone()
        on[:, i], off[:, i] = 1, 0
        ask = lambda v: energy.annealed_energy(v.view(-1, 3, 3), torch.full((50,), beta).double(), bias)  # noqa: E731
        expected[:, i] = (u[:, i] < torch.sigmoid(ask(off) - ask(on))).double()
    assert torch.equal(found.flatten(1), expected)


def test_log_partition_is_differentiable_and_equals_log_z():
    energy = random_ising((4, 3))
    assert energy.has_log_partition
    assert not random_ising((3, 4), "full").has_log_partition
    (gradient,) = torch.autograd.grad(energy.log_partition(), energy.field)
    x = states(energy.space).double()
    mean = ((-energy(x)).softmax(0).view(-1, 1, 1) * (2 * x - 1)).sum(0)
    torch.testing.assert_close(gradient, 0.7 * mean)
    assert energy.log_partition().item() == pytest.approx(energy.log_z, rel=1e-12)
    model = Model(energy, event_ndim=2, stacked=True)
    params = {name: torch.stack([value, 2 * value]).detach() for name, value in tensors(energy).items() if name != "color"}
    params["color"] = torch.stack([energy.color] * 2)
    assert model.call(params, "log_partition").shape == (2,)


def test_a_target_has_coupling_one_and_a_trained_model_starts_at_zero():
    shape = {"graph": "lattice", "periodic": True, "coupling": None, "field": 0.0, "beta": 1.0} | PLAIN
    assert (Ising(None, shape=[3, 3], **shape).coupling == 1).all()
    assert not Ising(Space((3, 3), "binary"), shape=None, **shape).coupling.any()
    assert Ising(Space((12,), "binary"), shape=[3, 4], **shape).lattice.shape == (3, 4)
    for space, sides, message in ((None, None, "without a run"), (Space((12,), "binary"), [3, 3], "9 sites")):
        with pytest.raises(InputError, match=message):
            Ising(space, shape=sides, **shape)


def test_the_potts_energy_counts_equal_neighbors():
    torch.manual_seed(0)
    energy = Potts(None, shape=[2, 3], n_states=3, periodic=True, coupling=None, beta=0.8).double()
    torch.nn.init.normal_(energy.coupling)
    torch.nn.init.normal_(energy.field)
    x = states(energy.space).double()
    flat, total = x.flatten(1).long(), 0.0
    for (i, j), value in zip(energy.lattice.edges.tolist(), energy.coupling[energy.lattice.bonds], strict=True):
        total = total + value * (flat[:, i] == flat[:, j])
    for i in range(6):
        total = total + energy.field.flatten(1)[:, i][flat[:, i]]
    torch.testing.assert_close(energy(x), -0.8 * total)
    assert energy.log_z == pytest.approx((0.8 * total).logsumexp(0).item(), rel=1e-12)


def test_the_method_of_log_z_is_named():
    """The numbers are equal: those of the methods agree in tests/core."""
    more = {"graph": "lattice", "periodic": True, "coupling": 0.4, "beta": 1.0} | PLAIN
    assert Ising(None, shape=[4, 4], field=0.0, **more).log_z_by == "kaufman"
    assert Ising(None, shape=[4, 40], field=0.1, **more).log_z_by == "transfer_matrix"
    assert Ising(None, shape=[2, 3, 3], field=0.1, **more).log_z_by == "enumeration"
    assert Ising(None, shape=[16, 16], field=0.1, **more).log_z_by is None
    assert Ising(None, shape=[4, 4], field=0.0, **more | {"graph": "full"}).log_z_by == "enumeration"


def test_two_states_of_potts_are_an_ising_model_with_half_the_coupling():
    """[x_i = x_j] = (1 + s_i s_j) / 2."""
    potts = Potts(None, shape=[3, 4], n_states=2, periodic=True, coupling=None, beta=0.9)
    ising = Ising(None, shape=[3, 4], graph="lattice", periodic=True, coupling=0.5, field=0.0, beta=0.9, **PLAIN)
    assert potts.log_z == pytest.approx(ising.log_z + 0.9 * 24 / 2, rel=1e-9)
    assert potts.log_z_by == "transfer_matrix"
    assert Potts(None, shape=[2, 2, 2], n_states=3, periodic=True, coupling=None, beta=0.9).log_z_by == "enumeration"
    assert Potts(None, shape=[16, 16], n_states=3, periodic=True, coupling=None, beta=0.9).log_z_by is None
