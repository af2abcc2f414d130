"""`ebm export`: the energies of the exported models against those of the run, of dimod, and of the model that is read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from finite import PLAIN

from ebm_cli.core.quadratic import Quadratic, of_bits
from ebm_cli.core.quantize import quantized
from ebm_cli.core.states import states
from ebm_cli.energies.dbm import DBM
from ebm_cli.energies.ising import Ising
from ebm_cli.energies.rbm import RBM
from ebm_cli.io import coupling_files
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog
from ebm_cli.types import Space

SMALL = ("trainer.n_steps=5", "figure=[]", "metric=[]", "draws.n_samples=20", "draws.n_steps=2", "trainer.batch_size=16", "device=cpu")
BARS = ("dataset=bars_and_stripes", "dataset.size=2", "energy=rbm", "energy.n_hidden=3", "energy.std=0.7", "objective=pcd")
LATTICE = ("dataset=ising", "dataset.sides=[2,3]", "energy=ising", "energy.coupling=0.3", "energy.field=0.2", "energy.beta=0.7")


@pytest.mark.parametrize("graph", ["lattice", "full"])
def test_the_quadratic_form_of_an_ising_energy(graph):
    torch.manual_seed(0)
    energy = Ising(Space((2, 3), "binary"), shape=None, graph=graph, periodic=True, coupling=None, field=0.0, beta=0.7, **PLAIN).double()
    torch.nn.init.normal_(energy.coupling)
    torch.nn.init.normal_(energy.field)
    x = states(energy.space).double()
    torch.testing.assert_close(energy.quadratic().energy((2 * x - 1).flatten(1)), energy(x))


def test_the_quadratic_form_of_an_rbm_is_its_joint_energy():
    torch.manual_seed(0)
    energy = RBM(Space((2, 2), "binary"), torch.rand(2, 2), n_hidden=3, std=1.0).double()
    torch.nn.init.normal_(energy.hidden_bias)
    x, h = states(Space((2, 2), "binary")).double(), states(Space((3,), "binary")).double()
    s = torch.cat([x.flatten(1).unsqueeze(1).expand(-1, 8, -1), h.expand(16, -1, -1)], -1) * 2 - 1
    torch.testing.assert_close(-(-energy.quadratic().energy(s)).logsumexp(1), energy(x))


def test_the_quadratic_form_of_a_deep_machine_is_its_joint_energy():
    torch.manual_seed(0)
    energy = DBM(Space((4,), "binary"), torch.rand(4), n_hidden=3, n_top=2, std=1.0).double()
    x, h = states(Space((4,), "binary")).double(), states(Space((5,), "binary")).double()
    s = torch.cat([x.unsqueeze(1).expand(-1, 32, -1), h.expand(16, -1, -1)], -1) * 2 - 1
    torch.testing.assert_close(-(-energy.quadratic().energy(s)).logsumexp(1), energy(x))


def test_the_form_in_spins_has_the_energies_of_that_in_bits():
    torch.manual_seed(0)
    q, linear, x = torch.randn(5, 5).double().triu(1), torch.randn(5).double(), states(Space((5,), "binary")).double()
    torch.testing.assert_close(of_bits(q, linear).energy(2 * x - 1), ((x @ q) * x).sum(-1) + x @ linear)


@pytest.fixture(params=[LATTICE, BARS], ids=["ising", "rbm"])
def trained(request, ebm):
    """A short run, its model in double precision, and all states of its units."""
    code, _, err = ebm("train", *request.param, *SMALL)
    assert code == 0, err
    found = TrainedModel.load(catalog.find("last"), torch.device("cpu"))
    form = found.network.call({name: value.double() for name, value in found.params.items()}, "quadratic")
    return Quadratic(*(value.detach() for value in form)), 2 * states(Space((len(form.field),), "binary")).double() - 1


def test_dimod_computes_the_same_energies(trained, ebm):
    dimod = pytest.importorskip("dimod")
    form, s = trained
    code, out, err = ebm("export", "last", "to=dimod", "out=model.json")
    assert code == 0, err
    assert out.splitlines() == ["Couplings saved to model.json"]
    bqm = dimod.BinaryQuadraticModel.from_serializable(json.loads(Path("model.json").read_text()))
    np.testing.assert_allclose(bqm.energies(s.numpy().astype(np.int8)), form.energy(s).numpy(), atol=1e-9)
    assert bqm.vartype.name == "SPIN"
    assert ebm("export", "last", "to=coo", "out=model.coo")[0] == 0
    with open("model.coo") as file:
        from dimod.serialization import coo

        bqm = coo.load(file)
    expected = form.energy(s).numpy() - form.constant.item()
    np.testing.assert_allclose(bqm.energies(s.numpy().astype(np.int8)), expected, atol=1e-6)


@pytest.mark.parametrize("to", ["dimod", "coo", "npz"])
def test_an_exported_model_is_read_back(trained, ebm, to):
    form, s = trained
    code, out, err = ebm("export", "last", f"to={to}")
    assert code == 0, err
    (path,) = Path().glob("couplings-*")
    assert out == f"Couplings saved to {path}\n"
    given = coupling_files.read(str(path), "energy.couplings")
    energy = Ising(None, shape=None, graph="lattice", periodic=True, coupling=None, field=0.0, beta=1.0, **PLAIN | {"couplings": str(path)})
    found = energy.double()((s + 1) / 2).detach()
    torch.testing.assert_close(
        found + (0 if to == "coo" else given.constant), form.energy(s) - (form.constant if to == "coo" else 0), atol=1e-5, rtol=0
    )


def test_couplings_are_rounded_to_bits(trained, ebm):
    form, _ = trained
    assert ebm("export", "last", "to=npz", "out=model.npz", "bits=3")[0] == 0
    stored = np.load("model.npz")
    found = torch.zeros_like(form.coupling)
    found[tuple(stored["edges"].T)] = torch.from_numpy(stored["couplings"])
    torch.testing.assert_close(found, quantized(form.coupling, 3))
    torch.testing.assert_close(torch.from_numpy(stored["fields"]), quantized(form.field, 3))


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ((), "to: a format is needed", "to=dimod or to=coo or to=npz"),
        (("to=dimond",), "to: there is no format 'dimond'", "to=dimod"),
        (("to=npz", "out=a.json"), "a.json is not a .npz file", "out=a.npz"),
        (("to=npz", "out=no/a.npz"), "there is no folder 'no'", ""),
        (("to=npz", "bits=1"), "bits: must be from 2 to 16", "bits=8"),
        (("to=npz", "model=2"), "model=2", "model=0"),
        (("to=npz",), "is not quadratic in bits", "energy=ising, rbm and dbm"),
    ],
)
def test_what_cannot_be_exported_is_refused(ebm, words, message, hint):
    ebm("train", "dataset=bars_and_stripes", "dataset.size=2", "energy=binary_mlp", "objective=pseudo_likelihood", *SMALL)
    code, _, err = ebm("export", "last", *words)
    assert code == 2
    assert message in err
    assert hint in err
    assert not list(Path().iterdir())


def test_a_file_that_the_model_was_read_from_is_not_replaced(ebm):
    text = "0 1 0.5\n1 2 -0.3\n0 0 0.1\n"
    Path("mine.coo").write_text(text)
    words = ("dataset=ising", "dataset.sides=[3]", "energy=ising", "energy.couplings=mine.coo", "objective=pseudo_likelihood", *SMALL)
    assert ebm("train", *words)[0] == 0
    np.savez("mine.npz", edges=np.array([[0, 1]]), couplings=np.array([0.5]), fields=np.zeros(2))
    sample = ("sample", "energy=ising", "energy.couplings=mine.npz", "n_samples=4", "n_steps=2")
    for line, out in ((("export", "last", "to=coo"), "mine.coo"), (sample, "mine.npz")):
        before = Path(out).read_bytes()
        code, _, err = ebm(*line, f"out={out}")
        assert (code, Path(out).read_bytes()) == (2, before)
        assert f"out: {out} is an input of this model, and would be replaced\nhint: out=new_{out}" in err
