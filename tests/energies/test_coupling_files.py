"""Quadratic models from files: the energies of the file and those of the model at all states, and errors with file and line."""

import gzip
import itertools
import json

import numpy as np
import pytest
import torch
from finite import FALSE_ALARM, N, p_value

from ebm_cli.core import chain
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.states import number, states
from ebm_cli.energies.ising import Ising
from ebm_cli.errors import InputError
from ebm_cli.io import coupling_files
from ebm_cli.samplers.block_gibbs import BlockGibbs
from ebm_cli.types import Space

TRIANGLE = {(0, 1): 1.0, (1, 2): -0.5, (0, 2): 0.7}
FIELD = {0: 0.3, 2: -0.2}
COO = "".join(f"{i} {j} {value}\n" for (i, j), value in TRIANGLE.items()) + "".join(f"{i} {i} {value}\n" for i, value in FIELD.items())


def of_file(path, *, space=None, shape=None, convention=None, coupling=None, bits=None, beta=1.0, graph="lattice", field=0.0):
    given = {"couplings": str(path), "convention": convention, "coupling": coupling, "bits": bits, "beta": beta}
    return Ising(space, shape=shape, graph=graph, periodic=True, field=field, **given)


def written(tmp_path, text, name="couplings.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def polynomial(values, quadratic, linear):
    """sum q_ij v_i v_j + sum q_i v_i for every row of an array."""
    found = sum(value * values[:, i] * values[:, j] for (i, j), value in quadratic.items())
    return found + sum(value * values[:, i] for i, value in linear.items())


X = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.double)
S = 2 * X - 1


@pytest.mark.parametrize("name", ["couplings.txt", "couplings.coo", "couplings.csv"])
def test_coo_text_has_the_sign_of_this_program(tmp_path, name):
    text = COO.replace(" ", "," if name.endswith(".csv") else "\t")
    energy = of_file(written(tmp_path, f"# a comment\n\n{text}", name), beta=2.0).double()
    torch.testing.assert_close(energy(X), -2 * polynomial(S, TRIANGLE, FIELD))
    assert "read as ising" in energy.notes[0]


@pytest.mark.parametrize(("first", "convention"), [("# vartype=SPIN\n", None), ("", "dimod")])
def test_the_sign_of_dimod_is_reversed_and_said(tmp_path, first, convention):
    energy = of_file(written(tmp_path, first + COO), convention=convention).double()
    torch.testing.assert_close(energy(X), polynomial(S, TRIANGLE, FIELD))
    assert "read as dimod: their signs are reversed" in energy.notes[0]


@pytest.mark.parametrize(
    ("first", "convention", "name"), [("# vartype=BINARY\n", None, "q.txt"), ("", "qubo", "q.txt"), ("c x\n", None, "q.qubo")]
)
def test_a_qubo_keeps_its_energies_up_to_the_constant_that_is_said(tmp_path, first, convention, name):
    path = written(tmp_path, first + COO, name)
    given = coupling_files.read(str(path), "energy.couplings", convention)
    energy = of_file(path, convention=convention).double()
    torch.testing.assert_close(energy(X) + given.constant, polynomial(X, TRIANGLE, FIELD))
    assert f"plus {given.constant:.10g}" in energy.notes[1]


def test_values_of_equal_pairs_are_added_in_a_qubo_and_refused_in_a_list_of_couplings(tmp_path):
    text = "0 1 1.0\n1 0 0.5\n"
    energy = of_file(written(tmp_path, f"p qubo 0 3 0 2\n{text}", "q.qubo")).double()
    assert energy.shape == (3,)
    given = coupling_files.read(str(tmp_path / "q.qubo"), "energy.couplings")
    torch.testing.assert_close(energy(X) + given.constant, 1.5 * X[:, 0] * X[:, 1])
    with pytest.raises(InputError, match=r"couplings.txt: the pair 0 1 is given twice \(lines 1 and 2\)"):
        of_file(written(tmp_path, text))


def test_values_of_equal_fields_are_added_in_a_qubo_and_refused_in_a_list_of_couplings(tmp_path):
    text = "0 1 1.0\n0 0 0.5\n0 0 0.25\n"
    given = coupling_files.read(str(written(tmp_path, text, "q.qubo")), "energy.couplings")
    torch.testing.assert_close(of_file(tmp_path / "q.qubo").double()(X[:, :2]) + given.constant, X[:, 0] * X[:, 1] + 0.75 * X[:, 0])
    assert "1 pairs or fields that are given more than once are added" in given.notes[-1]
    with pytest.raises(InputError, match=r"couplings.txt: the field of site 0 is given twice \(lines 2 and 3\)"):
        of_file(written(tmp_path, text))


MATRIX = np.array([[0, 1.0, 0.7], [0, 0, -0.5], [0, 0, 0]])
ARRAYS = {
    "own": {"edges": [[0, 1], [2, 1], [0, 2]], "couplings": [1.0, -0.5, 0.7], "fields": [0.3, 0, -0.2]},
    "matrix": {"J": MATRIX, "h": [0.3, 0, -0.2]},
    "lower": {"J": MATRIX.T, "h": [0.3, 0, -0.2]},
    "symmetric": {"J": MATRIX + MATRIX.T, "h": [0.3, 0, -0.2]},
    "thrml": {"nodes": [7, 3, 5], "edges": [[7, 3], [3, 5], [5, 7]], "weights": [2.0, -1.0, 1.4], "biases": [0.6, 0, -0.4], "beta": 0.5},
}


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays_of_couplings(tmp_path, form):
    np.savez(tmp_path / "c.npz", **{name: np.array(value) for name, value in ARRAYS[form].items()})
    energy = of_file(tmp_path / "c.npz").double()
    torch.testing.assert_close(energy(X), -polynomial(S, TRIANGLE, FIELD).to(energy(X)))
    assert any("beta of 0.5" in note for note in energy.notes) == (form == "thrml")


def test_a_matrix_q_is_a_qubo(tmp_path):
    q = np.array([[0.5, 1.0, 0], [2.0, 0, -1], [0, 0, 0.25]])
    np.savez(tmp_path / "q.npz", Q=q)
    given = coupling_files.read(str(tmp_path / "q.npz"), "energy.couplings")
    expected = torch.einsum("bi,ij,bj->b", X, torch.from_numpy(q), X)
    torch.testing.assert_close(of_file(tmp_path / "q.npz").double()(X) + given.constant, expected)


def test_a_model_of_dimod_is_read_from_its_json_form(tmp_path):
    dimod = pytest.importorskip("dimod")
    for vartype in ("SPIN", "BINARY"):
        bqm = dimod.BinaryQuadraticModel({2: -0.2, 0: 0.3, 1: 0.0}, TRIANGLE, 0.25, vartype)
        (tmp_path / "bqm.json").write_text(json.dumps(bqm.to_serializable()))
        given = coupling_files.read(str(tmp_path / "bqm.json"), "energy.couplings")
        expected = bqm.energies((S if vartype == "SPIN" else X).numpy().astype(int)[:, [0, 1, 2]])
        np.testing.assert_allclose(of_file(tmp_path / "bqm.json").double()(X).detach() + given.constant, expected, atol=1e-6)


def test_a_graph_without_values_has_equal_couplings(tmp_path):
    path = written(tmp_path, "0 1\n1 2\n2 0\n1 0\n")
    target, start = of_file(path), of_file(path, space=Space((2, 2), "binary"))
    assert target.coupling.tolist() == [1.0, 1.0, 1.0]
    assert target.n_colors == 3
    assert start.coupling.tolist() == [0.0, 0.0, 0.0]
    assert start.field.shape == (2, 2)
    np.savez(tmp_path / "g.npz", edges=np.array([[0, 1], [1, 2], [0, 2]]))
    assert of_file(tmp_path / "g.npz", coupling=0.5).double()(X).tolist() == pytest.approx(of_file(path, coupling=0.5).double()(X).tolist())


def test_couplings_are_rounded_to_bits_also_in_training(tmp_path):
    energy = of_file(written(tmp_path, COO), space=Space((3,), "binary"), bits=3).double()
    rounded = {(0, 1): 1.0, (1, 2): -2 / 3, (0, 2): 2 / 3}
    torch.testing.assert_close(energy(X), -polynomial(S, rounded, {0: 0.3, 2: -0.2}))
    (gradient,) = torch.autograd.grad(energy(X)[5], energy.coupling)
    torch.testing.assert_close(gradient, -(S[5, [0, 0, 1]] * S[5, [1, 2, 2]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 1.0\n0 x 2\n", r"c.txt, line 2: '0 x 2' is not `i j value`"),
        ("0 1 1.0\n0 1.5 2\n", "line 2"),
        ("0 1 1 1\n", "line 1: '0 1 1 1'"),
        ("0 1 1.0\n1 2\n", "line 2: '1 2' has no value"),
        ("0 1 nan\n", "line 1: nan is not a finite number"),
        ("0 -1 1.0\n", "line 1: a site is negative"),
        ("0 99999999 1.0\n", "a site 99999999"),
        ("# vartype=INTEGER\n0 1 1.0\n", "line 1: the vartype INTEGER"),
        ("", "has no sites"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=f"energy.couplings: .*{message}"):
        of_file(written(tmp_path, text, "c.txt"))


def test_faulty_arrays_and_other_faults_are_refused(tmp_path):
    faulty = {
        "are x, y": {"x": [1.0], "y": [2.0]},
        "edges has the shape": {"edges": [0, 1], "couplings": [1.0]},
        "couplings has 1 values": {"edges": [[0, 1], [1, 2]], "couplings": [1.0]},
        "fields for 2 sites only": {"edges": [[0, 5]], "couplings": [1.0], "fields": [0.0, 0.0]},
        "two equal sites": {"edges": [[1, 1]], "couplings": [1.0]},
        "not in nodes": {"nodes": [3, 4], "edges": [[3, 5]], "weights": [1.0], "biases": [0.0, 0.0]},
        "3 fields for 2 sites": {"nodes": [3, 4], "edges": [[3, 4]], "weights": [1.0], "biases": [0.0, 0.0, 0.0]},
        "too large for single precision": {"edges": [[0, 1]], "couplings": [1e300]},
        "offset is not a finite number": {"edges": [[0, 1]], "couplings": [1.0], "offset": np.nan},
        "not symmetric": {"J": [[0.0, 1.0], [2.0, 0.0]]},
        "no site": {"edges": [[0, 0.5]], "couplings": [1.0]},
    }
    for message, arrays in faulty.items():
        np.savez(tmp_path / "c.npz", **{name: np.array(value) for name, value in arrays.items()})
        with pytest.raises(InputError, match=message):
            of_file(tmp_path / "c.npz")
    np.savez(tmp_path / "p.npz", edges=np.array([object()]))
    with pytest.raises(InputError, match=r"p\.npz cannot be read"):
        of_file(tmp_path / "p.npz")
    with pytest.raises(InputError, match="there is no file"):
        of_file(tmp_path / "absent.txt")
    for data in ([], {"type": "BinaryQuadraticModel"}):
        with pytest.raises(InputError, match=r"c\.json cannot be read"):
            of_file(written(tmp_path, json.dumps(data), "c.json"))
    path = written(tmp_path, COO)
    with pytest.raises(InputError, match="3 sites, but the shape of the events has 2"):
        of_file(path, space=Space((2,), "binary"))
    with pytest.raises(InputError, match="says that its convention is qubo, not dimod"):
        of_file(written(tmp_path, COO, "q.qubo"), convention="dimod")
    for more, key in (({"graph": "full"}, "graph=full"), ({"coupling": 1.0}, "coupling"), ({"field": 1.0}, "field")):
        with pytest.raises(InputError, match=f"energy.{key}: .*file energy.couplings"):
            of_file(path, **more)
    with gzip.open(tmp_path / "c.txt.gz", "wt") as file:
        file.write(COO)
    torch.testing.assert_close(of_file(tmp_path / "c.txt.gz")(X.float()), of_file(path)(X.float()))


def test_a_file_that_seems_to_count_from_one_is_noted(tmp_path):
    energy = of_file(written(tmp_path, "1 2 1.0\n2 3 1.0\n"))
    assert any("counts from 1" in note for note in energy.notes)


def test_block_gibbs_on_a_ring_of_odd_length_is_exact(tmp_path):
    """Chains that start at exact draws keep their distribution: a chi-square test with a false-alarm rate of 10^-6."""
    values = [0.8, -0.6, 0.5, 0.9, -0.7, 0.4, 1.0]
    text = "".join(f"{i} {(i + 1) % 7} {value}\n" for i, value in enumerate(values)) + "3 3 0.4\n"
    energy = of_file(written(tmp_path, text))
    model, params = Model(energy, event_ndim=1, stacked=False), {name: value.detach() for name, value in tensors(energy).items()}
    every = states(energy.space)
    p = (-model.energy(params, every).double()).softmax(0)
    start = every[torch.searchsorted(p.cumsum(0), Rng(1).uniform("start", N).double(), right=True).clamp(max=len(p) - 1)]
    x, _ = chain.run(BlockGibbs(), model, params, start, Rng(2), n_steps=3)
    assert p_value(number(x, energy.space), p) > FALSE_ALARM
    assert energy.n_colors == 3


def test_a_sweep_draws_every_site_given_the_new_values_of_earlier_colors(tmp_path):
    rng = np.random.default_rng(0)
    pairs = np.argwhere(np.triu(rng.uniform(size=(8, 8)) < 0.5, 1))
    np.savez(tmp_path / "c.npz", edges=pairs, couplings=rng.normal(size=len(pairs)), fields=rng.normal(size=8))
    energy = of_file(tmp_path / "c.npz", shape=[2, 4], beta=0.7).double()
    torch.manual_seed(1)
    x, u, bias = (torch.rand(40, 2, 4) < 0.5).double(), torch.rand(40, 8).double(), torch.randn(2, 4).double()
    beta = torch.full((40,), 0.4).double()
    expected, color = x.clone().flatten(1), energy.color.flatten().long()
    for i in sorted(range(8), key=lambda site: int(color[site])):
        on, off = expected.clone(), expected.clone()
        on[:, i], off[:, i] = 1, 0
        ask = lambda v: energy.annealed_energy(v.view(-1, 2, 4), beta, bias)  # noqa: E731
        expected[:, i] = (u[:, i] < torch.sigmoid(ask(off) - ask(on))).double()
    assert torch.equal(energy.sweep(x, u, beta, bias).flatten(1), expected)
    for i in range(8):
        unit = torch.eye(8, dtype=torch.double)[i].view(2, 4)
        torch.testing.assert_close(energy.flip_differences(x)[:, i], energy((x - unit).abs()) - energy(x))


def test_a_stack_of_graphs_equals_its_models(tmp_path):
    modules = [of_file(written(tmp_path, COO.replace("0.7", value))) for value in ("0.7", "-0.4")]
    params = {name: torch.stack([tensors(module)[name].detach() for module in modules]) for name in tensors(modules[0])}
    model = Model(modules[0], event_ndim=1, stacked=True)
    x, u = X.float().expand(2, -1, -1), torch.rand(2, len(X), 3)
    found, swept = model.energy(params, x), model.sweep(params, x, u)
    for k in (0, 1):
        one, alone = {name: value[k] for name, value in params.items()}, model.alone()
        torch.testing.assert_close(found[k], alone.energy(one, x[k]))
        assert torch.equal(swept[k], alone.sweep(one, x[k], u[k]))
