"""Wolff's algorithm: clusters against a search over the bonds, packed words, and models that it refuses. All draws are seeded."""

import pytest
import torch
from finite import PLAIN
from finite import ising as ising_of

from ebm_cli.core import chain, ising
from ebm_cli.core.chain import Draws
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import Tempered
from ebm_cli.energies.ising import Ising
from ebm_cli.errors import InputError
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.samplers.wolff import Wolff, grown, packed, unpacked


def parts(coupling=0.4, field=0.0, graph="lattice", shape=(5, 4)):
    energy = Ising(None, shape=shape, graph=graph, periodic=True, coupling=coupling, field=field, beta=1.0, **PLAIN)
    model = Model(energy, event_ndim=len(shape), stacked=False, space=energy.space)
    return model, {name: value.detach() for name, value in tensors(energy).items()}


@pytest.mark.parametrize("n", [1, 64, 100])
def test_chains_are_packed_and_unpacked(n):
    values = Rng(0).uniform("bits", n, 3, 5) < 0.5
    assert torch.equal(unpacked(packed(values), n), values)


def reached(lattice, bonds, seed):
    """The sites that are connected with a seed by a set of open bonds, by a search."""
    open_bonds = [pair for pair, is_open in zip(lattice.edges.tolist(), bonds[lattice.bonds].tolist(), strict=True) if is_open]
    found, new = {seed}, [seed]
    while new:
        site = new.pop()
        for a, b in open_bonds:
            for other in {a, b} - found if site in (a, b) else ():
                found.add(other)
                new.append(other)
    return found


def test_a_step_flips_the_cluster_of_its_seed():
    """A bond is open between equal spins with probability 1 - exp(-2 beta J)."""
    model, params = parts()
    x = (Rng(0).uniform("x", 70, 5, 4) < 0.7).float()
    kernel = Wolff()
    state = kernel.init(model, params, x)
    torch.testing.assert_close(state.joins, torch.full((2, 5, 4), 1 - torch.tensor(-0.8).exp().item()))
    u, seed = (part[0] for part in kernel.noise(Rng(1), state, 1))
    after, info = kernel.step(model, params, state, (u, seed))
    lattice = model.module.lattice
    for k in range(70):
        bonds = torch.stack([(x[k] == x[k].roll(-1, axis)) & (u[k, axis] < state.joins[axis]) for axis in range(2)])
        cluster = torch.zeros(20)
        cluster[list(reached(lattice, bonds, int(seed[k])))] = 1
        assert torch.equal((after.x[k] - x[k]).abs().flatten(), cluster)
        assert info["cluster_size"][k] == cluster.sum()


def test_a_long_cluster_grows_to_its_end():
    """A single open path through all sites of a 16 x 16 lattice, in the form of a snake."""
    bonds = torch.zeros(1, 2, 16, 16, dtype=torch.bool)
    bonds[:, 1, :, :-1] = True
    for row in range(15):
        bonds[:, 0, row, -1 if row % 2 == 0 else 0] = True
    seed = torch.zeros(1, 16, 16, dtype=torch.bool)
    seed[0, 15, 8] = True
    assert unpacked(grown(packed(seed), packed(bonds)), 1).all()


def test_the_temperature_of_the_model_counts():
    model, params = parts()
    joins = Wolff().init(Tempered(model, 2.0), params, torch.zeros(3, 5, 4)).joins
    torch.testing.assert_close(joins, torch.full((2, 5, 4), 1 - torch.tensor(-0.4).exp().item()))


@pytest.mark.parametrize(
    ("words", "message"),
    [({"coupling": -0.1}, "a coupling is negative"), ({"field": 0.1}, "there is a field"), ({"graph": "full"}, "on a lattice only")],
)
def test_it_refuses_other_models(words, message):
    model, params = parts(**words)
    with pytest.raises(InputError, match=message):
        Wolff().init(model, params, torch.zeros(3, 5, 4))


def test_chains_start_from_equal_spins_half_of_them_up():
    model, params = parts()
    x = (Rng(0).uniform("x", 6, 5, 4) < 0.5).float()
    start = Wolff().starting_points(model, params, x)
    assert torch.equal(start, torch.tensor([0.0, 1, 0, 1, 0, 1]).view(6, 1, 1).expand(6, 5, 4))
    assert torch.equal(Wolff().starting_points(model, params, x.expand(3, 6, 5, 4)), start.expand(3, 6, 5, 4))  # of a stack


def test_the_magnetization_against_enumeration():
    """On 4 x 4 sites the means of m, which is 0, and of |m| are within 5 standard errors: one false alarm in 2e6 each."""
    model, params = parts(0.44, shape=(4, 4))
    start = Wolff().starting_points(model, params, torch.zeros(4000, 4, 4))
    x, _ = chain.run(Wolff(), model, params, start, Rng(0), n_steps=30)
    states = next(ising.states(model.module.lattice))
    p = (-model.energy(params, (0.5 * (states + 1)).float()).double()).softmax(0)
    m, exact = (2 * x.double() - 1).mean((1, 2)), (p * states.mean((1, 2)).abs()).sum()
    for values, expected in ((m, 0.0), (m.abs(), exact)):
        assert abs(values.mean() - expected) < 5 * values.std() / 4000**0.5


def test_a_model_without_a_run_is_sampled_from_there():
    """At a high temperature a single transition flips few spins."""
    energy = ising_of(0.02, shape=(8, 8))
    samples, _ = TrainedModel.of_target(energy, 0, torch.device("cpu")).draw(Wolff(), Draws(20, 20, 1))
    assert (2 * samples - 1).mean((-1, -2)).abs().min() > 0.7
