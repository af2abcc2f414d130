"""The reference itself as a model: its values, and its runs, which train nothing."""

import math

import pytest
import torch

from ebm_cli.config import compose
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.reference import ReferenceEnergy
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.uniform import Uniform
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runs.catalog import find
from ebm_cli.training import trainer

FEW = ("energy=reference", "figure=[]", "draws.n_samples=100", "draws.n_steps=20", "device=cpu")


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("reference", [Mixture(2, 1.0, None), Uniform(0.5)])
def test_the_energy_is_minus_the_log_density(reference, shape):
    """For each model of a stack, with its own tensors; the score is the gradient of the log-density, 0 for a constant density."""
    x = Rng((0, 1)).normal("x", 200, *shape)
    fitted = FittedReference.fit(reference, x, shape, Rng((0, 1)))
    modules = [ReferenceEnergy(fitted.select(m)) for m in range(2)]
    params = {name: torch.stack([tensors(module)[name] for module in modules]) for name in tensors(modules[0])}
    assert params.keys() == fitted.named.keys()
    model, points = Model(modules[0], event_ndim=len(shape), stacked=True), 0.5 * x[:, :20]
    torch.testing.assert_close(model.energy(params, points), -fitted.log_prob(points))
    leaf = points.clone().requires_grad_()
    (score,) = torch.autograd.grad(fitted.log_prob(leaf).sum() + 0 * leaf.sum(), leaf)
    torch.testing.assert_close(model.score(params, points), score)
    assert not list(modules[0].parameters())


def test_a_run_trains_nothing_whatever_its_objective_is(ebm):
    """The second line is the same run. KL and log Z are those of the Gaussian: log Z = 0 within the error of the quadrature."""
    words = (*FEW, "reference=full_gaussian", "metric=[quadrature]", "dataset.noise=0.3")
    assert ebm("train", *words)[0] == 0
    run, summary = find("last"), find("last").read("summary.json")
    assert summary["n_steps"] == summary["n_energy_evaluations"] == 0
    assert summary["log_z"] == pytest.approx(0, abs=1e-3)
    assert summary["kl"] == pytest.approx(summary["nll"] - summary["entropy"], abs=1e-3)
    assert "log_z_learned" not in summary
    assert run.path.name.startswith("moons-full_gaussian-s0-")
    code, _, err = ebm("train", *words, "objective=nce", "regularizer=energy_l2", "trainer.n_steps=50", "trainer.select=auto")
    assert code == 0
    assert "its stored result is shown" in err
    assert find("last").id == run.id
    assert ebm("sample", "last", "n_samples=50", "n_steps=10")[0] == 0
    assert ebm("evaluate", "last", "metric=[]")[0] == 0


def test_a_stack_has_the_numbers_of_its_single_runs(ebm):
    """The mixture of each seed is its own. Rounding differs between a stack and a single run."""
    words = (*FEW, "reference=mixture", "reference.n_components=3", "reference.shrinkage=0", "metric=[]")
    assert ebm("train", *words, "seeds=2")[0] == 0
    stack = find("last").read("summary.json")["per_seed"]["test_loss"]
    for seed in range(2):
        assert ebm("train", *words, f"seed={seed}")[0] == 0
        assert find("last").read("summary.json")["test_loss"] == pytest.approx(stack[seed], abs=1e-5)
    assert stack[0] != stack[1]


def test_a_table_and_a_refit(ebm, tmp_path):
    """The loss is the NLL of the test rows, and a refit uses the validation rows as well: for a Gaussian in closed form."""
    x = Rng(0).normal("x", 80, 2) @ torch.tensor([[1.0, 0.7], [0.0, 0.3]])
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{a:.6f},{b:.6f}\n" for a, b in x.tolist()))
    words = (*FEW, "reference=full_gaussian", "metric=[]", "dataset=table", f"dataset.path={tmp_path / 'x.csv'}", "dataset.validation=0.3")
    for refit in (False, True):
        assert ebm("train", *words, f"trainer.refit={refit}")[0] == 0
        experiment = Experiment.load(find("last"), torch.device("cpu"))
        parts = {name: experiment.dataset.split(name, 100, Rng(0)).x.double() for name in ("train", "validation", "test")}
        rows = torch.cat([parts["train"], parts["validation"]]) if refit else parts["train"]
        covariance = rows.T.cov(correction=0)
        away = parts["test"] - rows.mean(0)
        square = (away @ torch.linalg.inv(covariance) * away).sum(-1)
        expected = 0.5 * (square + covariance.logdet()).mean() + math.log(2 * math.pi)
        assert find("last").read("summary.json")["test_loss"] == pytest.approx(expected.item(), abs=1e-3)


def test_other_energies_need_steps(ebm):
    code, _, err = ebm("train", "trainer.n_steps=0")
    assert code == 2
    assert "energy=reference needs no training" in err


def test_a_reference_that_is_the_model_is_fitted_to_all_training_events(monkeypatch):
    """The mean of the Gaussian is that of all 400 events; a reference that a network is tilted by has the mean of the first 50."""
    monkeypatch.setattr(trainer, "N_FIT_FINITE", 50)
    for energy, n in (("reference", 400), ("mlp", 50)):
        words = [f"energy={energy}", "reference=full_gaussian", "dataset=moons", "dataset.n_train=400", "device=cpu"]
        made = Experiment.of(compose.compose(words)).trainer()
        x = made.dataset.split("train", 400, made.rng).x
        torch.testing.assert_close(made.reference.params["mean"].squeeze(0), x[:n].mean(0))
        assert not torch.allclose(x[:50].mean(0), x.mean(0), atol=1e-3)
