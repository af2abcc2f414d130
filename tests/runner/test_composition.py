"""Compositions of runs with Gaussian energies in different units, compared with closed forms."""

import json
import math

import numpy as np
import pytest
import torch
import yaml
from torch.distributions import MultivariateNormal

from ebm_cli.config import option_files
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.quadratic import Quadratic
from ebm_cli.errors import InputError
from ebm_cli.runner.composition import Composition
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog

# the choices of other data, not of tables
AS_USUAL = (
    "objective=ssm",
    "reference=gaussian",
    "optimizer=adam",
    "trainer.select=null",
    "trainer.patience=null",
    "trainer.refit=false",
    "dataset.transform=standard",
)
TRAIN = (
    "dataset=table",
    "energy=quadratic",
    *AS_USUAL,
    "trainer.n_steps=25",
    "draws.n_samples=20",
    "draws.n_steps=4",
    "device=cpu",
    "figure=[]",
)
PLACES = {"a": ([10.0, -3.0], [2.0, 0.5]), "b": ([13.0, -2.0], [1.0, 1.5])}


@pytest.fixture
def runs(ebm, tmp_path):
    """Two runs of the trainable Gaussian on tables with different means and scales. The second is a stack of two seeds."""
    found = {}
    for name, (mean, scale) in PLACES.items():
        x = np.array(mean) + np.array(scale) * Rng(len(found)).normal("x", 200, 2).numpy()
        np.savetxt(tmp_path / f"{name}.csv", x, delimiter=",")
        seeds = ("seeds=2",) if name == "b" else ()
        code, _, err = ebm("train", *TRAIN, f"dataset.path={tmp_path / name}.csv", "metric=[quadrature]", "optimizer.lr=0.1", *seeds)
        assert code == 0, err
        found[name] = catalog.find("last").path.name
        if len(found) == 1:
            facts = catalog.find("last").read("environment.json")
            catalog.find("last").write("environment.json", facts | {"created": facts["created"] - 60})
    return found


def gaussian_of(name, model=0):
    """The Gaussian distribution that a run has learned, in data units."""
    trained = TrainedModel.load(catalog.find(name), torch.device("cpu")).select(model)
    module = Quadratic((2,), trained.fit["mean"], trained.fit["scale"])
    module.load_state_dict({key: trained.params[key] for key in module.state_dict()})
    precision = (module.factor @ module.factor.T).detach().double() / torch.outer(trained.fit["scale"], trained.fit["scale"]).double()
    centre = trained.fit["mean"] + trained.fit["scale"] * module.centre.detach()
    scale = trained.standardization.scale
    return MultivariateNormal(trained.standardization.to_data(centre), precision_matrix=precision / torch.outer(scale, scale))


def composed(names, how, weights=None, temperature=1.0, models=None):
    energy = Composition(runs=names, how=how, weights=weights, temperature=temperature, models=models)
    return (
        energy,
        lambda y: Model(energy, event_ndim=1, stacked=False).energy(tensors(energy), energy.standardization.from_data(y).float()).double(),
    )


def points(n=40):
    return torch.tensor([11.0, -2.5]).double() + 2 * Rng(3).normal("y", n, 2).double()


def flat(values, atol=2e-4):
    """Whether all values are equal. The difference of two functions is then a constant."""
    return (values - values.mean()).abs().max() < atol


def test_energies_of_all_four_kinds_of_composition(runs):
    """Energies agree with closed forms in data units, up to a constant, which is zero for the mixture."""
    a, b, y = gaussian_of(runs["a"]).log_prob, gaussian_of(runs["b"], 1).log_prob, points()
    names, models = [runs["a"], runs["b"]], [0, 1]
    _, energy = composed(names, "product", [1.0, 0.7], 1.5, models)
    assert flat(energy(y) + (a(y) + 0.7 * b(y)) / 1.5)
    _, energy = composed(names, "negation", [1.0, 0.3], models=models)
    assert flat(energy(y) + a(y) - 0.3 * b(y))
    _, energy = composed(names[1:], "tempering", temperature=2.5, models=[1])
    assert flat(energy(y) + b(y) / 2.5)
    mixture, energy = composed(names, "mixture", [3.0, 1.0], models=models)
    expected = torch.logsumexp(torch.stack([math.log(0.75) + a(y), math.log(0.25) + b(y)]), 0)
    torch.testing.assert_close(energy(y), -expected, rtol=0, atol=1e-3)
    assert mixture.log_z == 0.0
    turned, again = composed(names[::-1], "mixture", [1.0, 3.0], models=models[::-1])  # in the units of the other run
    torch.testing.assert_close(again(y), energy(y), rtol=0, atol=1e-3)
    assert not torch.allclose(turned.standardization.mean, mixture.standardization.mean)
    assert composed(names, "mixture", temperature=2.0)[0].log_z is None
    assert not torch.allclose(composed(names[1:], "tempering")[1](y), composed(names[1:], "tempering", models=[1])[1](y))


def test_samples_of_a_product_have_its_mean_and_covariance(runs, ebm, tmp_path):
    """A product of Gaussians is a Gaussian. The means of 2,000 draws, which are almost independent, have a standard error of 1/45 of a
    standard deviation. The tolerance is five standard errors: false alarms in less than one seed of 10^5."""
    a, b = gaussian_of(runs["a"]), gaussian_of(runs["b"])
    precision = a.precision_matrix + b.precision_matrix
    expected = MultivariateNormal(
        torch.linalg.solve(precision, a.precision_matrix @ a.mean + b.precision_matrix @ b.mean), precision_matrix=precision
    )
    words = (f"energy.runs=[{runs['a']},last]", "n_samples=2000", "n_chains=1000", "n_steps=400")
    code, out, err = ebm("sample", "energy=compose", *words)
    assert code == 0, err
    (folder,) = (tmp_path / "outputs" / "samples").iterdir()
    assert f"Samples saved to {folder / 'samples.npz'}" in out
    assert yaml.safe_load((folder / "config.yaml").read_text())["energy"]["runs"] == [runs["a"], runs["b"]]  # not `last`
    x = torch.from_numpy(np.load(folder / "samples.npz")["x"])
    white = (x - expected.mean) @ torch.linalg.inv(expected.scale_tril).T
    assert white.mean(0).abs().max() < 5 / 2000**0.5
    assert (torch.cov(white.T) - torch.eye(2)).abs().max() < 5 * (2 / 2000) ** 0.5
    summary = json.loads((folder / "summary.json").read_text())
    shift = -(a.log_prob(expected.mean) + b.log_prob(expected.mean)) + expected.log_prob(expected.mean)
    log_z_a = catalog.find(runs["a"]).read("summary.json")["log_z"]
    log_z_b = catalog.find(runs["b"]).read("summary.json")["per_seed"]["log_z"][0]
    assert summary["log_z_quadrature"] == pytest.approx(log_z_a + log_z_b - shift.item(), abs=2e-3)
    assert summary["log_z"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"runs": []}, "name the runs"),
        ({"runs": ["nothing"]}, "there is no run"),
        ({"runs": ["a", "b"], "how": "tempering"}, "takes one run"),
        ({"runs": ["a"], "how": "negation"}, "two runs or more"),
        ({"runs": ["a", "b"], "how": "negation"}, "needs weights"),
        ({"runs": ["a", "b"], "weights": [1.0]}, "length 1, but the number of runs is 2"),
        ({"runs": ["a", "b"], "models": [0, 0, 0]}, "length 3, but the number of runs is 2"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Composition(**({"how": "product", "weights": None, "temperature": 1.0, "models": None} | given))


@pytest.mark.parametrize("reason", ["not today", "quadrature takes too long"])
def test_a_mixture_needs_log_z(runs, reason):
    """A run in which quadrature has found no log Z is not to be measured again, whatever the words of the reason are."""
    run = catalog.find(runs["a"])
    run.write("summary.json", run.read("summary.json") | {"log_z": None, "log_z_learned": None, "reasons": {"log_z": reason}})
    with pytest.raises(InputError, match=f"unknown: {reason}") as error:
        composed([runs["a"], runs["b"]], "mixture")
    assert error.value.problems[0].hint == "energy.how=product, which does not need it"
    composed([runs["a"], runs["b"]], "product")


@pytest.mark.parametrize("n_columns", [3, 4])
def test_quadrature_is_proposed_for_at_most_three_columns(ebm, tmp_path, n_columns):
    np.savetxt(tmp_path / "x.csv", Rng(0).normal("x", 200, n_columns).numpy(), delimiter=",")
    code, _, err = ebm("train", *TRAIN, f"dataset.path={tmp_path / 'x.csv'}", "metric=[]")
    assert code == 0, err
    with pytest.raises(InputError, match="which is unknown") as error:
        composed(["last"], "mixture")
    hint = error.value.problems[0].hint
    assert hint.endswith("energy.how=product, which does not need it")
    assert ("metric=[quadrature]" in hint) == (n_columns == 3)


def test_runs_without_an_energy_or_with_another_shape_are_refused(runs, ebm, tmp_path):
    score = ("objective=ssm", "energy=score_mlp", "sampler=langevin", "metric=[]", "energy.hidden=[4]")
    code, _, err = ebm("train", *TRAIN[len(AS_USUAL) + 2 :], *score, "experiment=smoke")
    assert code == 0, err
    with pytest.raises(InputError, match="outputs the score"):
        composed([runs["a"], "last"], "product")
    np.savetxt(tmp_path / "c.csv", np.arange(60.0) ** 2)
    code, _, err = ebm("train", *TRAIN, f"dataset.path={tmp_path / 'c'}.csv", "metric=[]")
    assert code == 0, err
    with pytest.raises(InputError, match=r"shape \(1,\)"):
        composed([runs["a"], "last"], "product")
    code, _, err = ebm("train", *TRAIN, f"dataset.path={tmp_path / 'c'}.csv", "dataset.transform=quantile", "metric=[]")
    assert code == 0, err
    with pytest.raises(InputError, match="must be linear in the columns"):
        composed(["last"], "tempering")


def test_the_option_compose_names_this_class():
    node = yaml.safe_load(option_files.groups()["energy"]["compose"].path.read_text())
    assert node["_target_"] == f"{Composition.__module__}.{Composition.__name__}"


def test_runs_on_principal_components_are_refused(ebm, tmp_path):
    np.savetxt(tmp_path / "pca.csv", Rng(0).normal("x", 200, 3).numpy(), delimiter=",")
    code, _, err = ebm("train", *TRAIN, f"dataset.path={tmp_path}/pca.csv", "dataset.n_components=2", "metric=[]")
    assert code == 0, err
    with pytest.raises(InputError, match="principal components"):
        composed(["last"], "tempering")
