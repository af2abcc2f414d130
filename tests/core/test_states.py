"""States of discrete events, their numbers, and the energies of states that differ in one coordinate."""

import itertools

import pytest
import torch
from discrete import SPACES, Table

from ebm_cli.core import states as states_module
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.states import differences, levels, n_states, neighbors, number, parts, states

BITS, SITES, RAGGED = SPACES.values()


class WithFlips(Table):
    """The same energy of bits, with a closed form for flips that marks its values."""

    def flip_differences(self, x):
        return torch.ones(len(x), 4)


@pytest.mark.parametrize("space", [BITS, SITES, RAGGED])
def test_all_states_are_listed_in_their_order(space, monkeypatch):
    listed = [list(digits) for digits in itertools.product(*map(range, levels(space, 4 if space is BITS else 3)))]
    assert states(space).flatten(1).tolist() == listed
    assert states(space).shape == (len(listed), *space.shape)
    assert number(states(space), space).tolist() == [*range(n_states(space))]
    monkeypatch.setattr(states_module, "MOST", 20)
    assert len(parts(space)) > 1
    assert torch.equal(torch.cat([states(space, *part) for part in parts(space)]), states(space))


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("space", [BITS, SITES, RAGGED])
def test_the_energies_of_neighbors(space, stacked):
    """Against a loop over events, coordinates and values."""
    modules = [Table(space, seed) for seed in range(2 if stacked else 1)]
    model = Model(modules[0], event_ndim=len(space.shape), stacked=stacked, space=space)
    params = {name: torch.stack([tensors(module)[name].detach() for module in modules]) for name in tensors(modules[0])}
    params = params if stacked else {name: value[0] for name, value in params.items()}
    x = states(space)[[0, 3, 5]]
    x = torch.stack([x, x.flip(0)]) if stacked else x
    energy, change = differences(model, params, x, neighbors(model, x))
    for m, module in enumerate(modules):
        points = x[m] if stacked else x
        torch.testing.assert_close(energy[m] if stacked else energy, module(points))
        for b, event in enumerate(points):
            for i, k in enumerate(levels(space, event.numel())):
                others = []
                for value in range(k):
                    changed = event.flatten().clone()
                    changed[i] = value
                    if value != event.flatten()[i]:
                        others.append((module(changed.view(1, *space.shape)) - module(event.unsqueeze(0))).item())
                found = (change[m] if stacked else change)[b, i]
                assert sorted(found[found < torch.inf].tolist()) == pytest.approx(sorted(others), abs=1e-6)
                assert found.numel() == max(levels(space, event.numel())) - 1


def test_an_energy_with_a_closed_form_of_flips_needs_no_other_points():
    model = Model(WithFlips(BITS), event_ndim=2, stacked=False, space=BITS)
    params, x = {"value": torch.arange(16.0)}, states(BITS)[4:7]
    assert neighbors(model, x) == {}
    energy, change = differences(model, params, x, {})
    assert energy.tolist() == [4.0, 5.0, 6.0]
    assert change.tolist() == torch.ones(3, 4, 1).tolist()
