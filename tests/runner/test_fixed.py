"""Coordinates that are held fixed: samples against the conditional distribution by enumeration, and inputs that are refused.

Chi-square tests have a false-alarm rate of 10^-6. Chains start at exact draws from the conditional, so that they stay there if the
transition leaves it invariant.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from finite import FALSE_ALARM, PLAIN, N, p_value

from ebm_cli.core import chain
from ebm_cli.core.held import Held
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.energies.dbm import DBM
from ebm_cli.energies.ising import Ising
from ebm_cli.energies.potts import Potts
from ebm_cli.energies.rbm import RBM
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.types import Space

TRAIN = ("dataset=bars_and_stripes", "dataset.size=2", "energy=rbm", "energy.n_hidden=3", "energy.std=1.0", "objective=pcd", "metric=[]")
SMALL = (*TRAIN, "trainer.n_steps=5", "trainer.batch_size=16", "figure=[]", "draws.n_samples=20", "draws.n_steps=2", "device=cpu")
NAN = torch.nan


def rbm():
    return RBM(Space((2, 3), "binary"), torch.full((2, 3), 0.4), n_hidden=4, std=1.5)


dbms = [
    lambda sizes=sizes: DBM(Space((2, 3), "binary"), torch.full((2, 3), 0.4), n_hidden=sizes[0], n_top=sizes[1], std=1.0)
    for sizes in ((4, 2), (2, 3))
]


def lattice():
    return Ising(Space((2, 3), "binary"), shape=None, graph="lattice", periodic=True, coupling=0.5, field=0.2, beta=1.0, **PLAIN)


def graph(tmp_path=Path()):
    Path("graph.txt").write_text("0 1 1\n1 2 -0.7\n2 0 0.5\n3 1 0.8\n4 5 -1\n3 5 0.6\n2 2 0.4\n")
    return Ising(
        None, shape=[2, 3], graph="lattice", periodic=True, coupling=None, field=0.0, beta=1.0, **PLAIN | {"couplings": "graph.txt"}
    )


def potts():
    return Potts(None, shape=[2, 3], n_states=3, periodic=True, coupling=None, beta=0.6)


VALUES = torch.tensor([[NAN, 1, NAN], [0, NAN, NAN]])


@pytest.mark.parametrize(
    ("build", "sampler"),
    [
        *((build, BlockGibbs()) for build in (rbm, lattice, graph, *dbms)),
        *((build, Gibbs(scan)) for build in (rbm, potts) for scan in ("systematic", "random")),
    ],
)
def test_free_coordinates_follow_the_conditional_distribution(build, sampler):
    torch.manual_seed(0)
    module = build()
    space = getattr(module, "space", Space((2, 3), "binary"))
    base, params = Model(module, event_ndim=2, stacked=False, space=space), {k: value.detach() for k, value in tensors(module).items()}
    every = states(space)
    consistent = (every == VALUES)[:, ~VALUES.isnan()].all(-1)
    p = (-base.energy(params, every).double()).softmax(0).detach() * consistent
    p = p / p.sum()
    start = every[torch.searchsorted(p.cumsum(0), Rng(1).uniform("start", N).double(), right=True).clamp(max=len(p) - 1)]
    assert consistent[number(start, space)].all()
    x, _ = chain.run(sampler, Held(base, VALUES), params, start, Rng(2), n_steps=3)
    assert consistent[number(x, space)].all()
    place = torch.full((len(p),), -1)
    place[consistent] = torch.arange(int(consistent.sum()))
    assert p_value(place[number(x, space)], p[consistent]) > FALSE_ALARM


@pytest.fixture
def run(ebm):
    code, _, err = ebm("train", *SMALL)
    assert code == 0, err


GIVEN = {"line.csv": "1,,,0\n", "first.csv": ",1,,\n", "names.csv": "x3,x1\n0,1\n"}


@pytest.mark.parametrize(
    ("fixed", "held"),
    [
        ("{0:1,3:0}", {0: 1, 3: 0}),
        ("{x0:1}", {0: 1}),
        ("line.csv", {0: 1, 3: 0}),
        ("first.csv", {1: 1}),
        ("names.csv", {3: 0, 1: 1}),
        ("a.npy", {2: 1}),
    ],
)
def test_samples_of_a_run_have_the_fixed_values(run, ebm, fixed, held):
    for name, text in GIVEN.items():
        Path(name).write_text(text)
    np.save("a.npy", np.array([[np.nan, np.nan, 1, np.nan]]))
    code, _, err = ebm("sample", "last", f"fixed={fixed}", "out=given.npy", "n_samples=50", "n_steps=6")
    assert code == 0, err
    x = np.load("given.npy").reshape(50, 4)
    for i in range(4):
        assert {*x[:, i]} == ({held[i]} if i in held else {0, 1})


def test_a_model_without_a_run_is_sampled_with_fixed_spins(ebm, tmp_path):
    line = ("sample", "energy=ising", "energy.shape=[4,4]", "energy.coupling=3", "fixed={0:1}", "n_samples=40", "n_steps=40", "figure=[]")
    code, out, err = ebm(*line)
    assert code == 0, err
    (folder,) = (tmp_path / "outputs" / "samples").iterdir()
    x = np.load(folder / "samples.npz")["x"].reshape(40, 16)
    assert (x[:, 0] == 1).all()
    assert "no log_z: some coordinates are fixed" in out
    assert x.mean() > 0.6  # strong couplings copy the fixed spin


@pytest.mark.parametrize(
    ("fixed", "message", "hint"),
    [
        ("{0:2}", "the value of x0 is 0 or 1, not 2", ""),
        ("{4:1}", "there is no coordinate 4", "from 0 to 3"),
        ("{x5:1}", "there is no coordinate 'x5'", "x"),
        ("0:1", "'0:1' is neither a list of values nor an existing file", "'fixed={0:1,5:0}', in quotes"),
        ("{0:1,1:1,2:1,3:0}", "every coordinate is fixed", ""),
        ("two.csv", "two.csv has 2 rows", "one row"),
        ("short.csv", "short.csv has 2 cells, but events have 4", ""),
        ("word.csv", "the value of x1 is 0 or 1, not no", ""),
    ],
)
def test_other_values_are_refused(run, ebm, fixed, message, hint):
    for name, text in {"two.csv": "1,,,0\n1,,,1\n", "short.csv": "1,0\n", "word.csv": "1,no,,\n"}.items():
        Path(name).write_text(text)
    code, _, err = ebm("sample", "last", f"fixed={fixed}", "out=given.npy", "n_samples=50", "n_steps=6")
    assert code == 2
    assert f"fixed: {message}" in err
    assert hint in err


def test_samplers_that_lose_the_values_and_the_folder_of_the_run_are_refused(run, ebm):
    code, _, err = ebm("sample", "last", "fixed={0:1}", "sampler=gwg", "out=given.npy")
    assert (code, "sampler=gibbs" in err) == (2, True)
    code, _, err = ebm("sample", "last", "fixed={0:1}")
    assert (code, "out=FILE" in err) == (2, True)
    assert ebm("sample", "last", "fixed={0:1}", "sampler=gibbs", "out=given.npy", "n_samples=10", "n_steps=4")[0] == 0
