"""Complete runs on every space of events (the plane, images, bits, and the plane with labels) with the components of components.py.

All runs are seeded. Statistical tolerances are five standard errors: less than one false alarm in 10^5 seeds. The tests of learned numbers
state their tolerances.
"""

import json
import math
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from components import ALLOWED, OPTIONS, SPACES, TwoClasses

from ebm_cli.config import option_files
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.catalog import find
from ebm_cli.types import Space

DIRS = ("--config-dir", str(OPTIONS))
SHAPES = {"real": (2,), "image": (1, 8, 8), "binary": (16,), "labelled": (2,)}
OBJECTIVES = {"real": "ssm", "image": "dsm", "binary": "pcd", "labelled": "nce"}
FIGURES = {  # the figures that apply to each space
    "real": ["calibration", "density", "energies", "energy", "likelihood_step", "log_ratio", "mode_weights", "training", "trajectories"],
    "image": ["calibration", "energies", "marginals", "mean_image", "nearest_images", "training", "trajectories"],
    "binary": ["calibration", "energies", "marginals", "rows", "training", "trajectories"],
    "labelled": ["density", "training"],
}
OF_NO_SAMPLES = {"calibration", "energy", "log_ratio", "training"}  # `ebm sample` does not draw them again
REASONS = {
    "binary": "the events are not real",
    "labelled": "the energy depends on a label",
    "image": "quadrature takes at most 3 coordinates",
}
QUICK = [
    *("ais.n_temperatures=10", "ais.n_chains=20", "ais.n_repeats=3", "ais_of_bits.n_temperatures=5", "c2st.n_steps=20"),
    *("fisher.n_points=200", "generalization_gap.n_points=200", "ksd.n_points=100", "mmd.n_points=100"),
    *(
        "importance.n_draws=2000",
        "bridge.n_draws=2000",
        "baselines.n_points=1000",
        "short_run_gap.n_chains=20",
        "short_run_gap.n_steps=5",
        "sliced_wasserstein.n_points=200",
        "sliced_wasserstein.n_projections=8",
    ),
]
QUICK = [f"metric.{word}" for word in QUICK]
TRAINED = ("trainer.ema_decay=0.99", "trainer.evaluate_every=100000", "regularizer=[]", "figure=[]", "device=cpu")
FEW = ("draws.n_samples=1000", "draws.n_chains=500", "draws.n_steps=20")
BITS = ("dataset.flip=0.35", "optimizer.lr=0.03", "trainer.n_steps=1000")


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("EBM_ALLOW", ALLOWED)


def words_of(space):
    return [f"{group}={option}" for group, option in SPACES[space].items()]


def every(group):
    """All options of a list group, including those of the tests."""
    return f"{group}=[{','.join(option_files.groups([OPTIONS])[group])}]"


@pytest.fixture
def train(ebm):
    """`train(space, ...)` trains a run and returns its summary."""

    def call(space, *words):
        code, _, err = ebm("train", *DIRS, *words_of(space), *words)
        assert code == 0, err
        return find("last").read("summary.json")

    return call


@pytest.mark.parametrize("space", SPACES)
def test_a_complete_run(ebm, space):
    """A stack of two models is trained, sampled, measured by all metrics and plotted; then it is sampled, measured and plotted again."""
    shape, draws = SHAPES[space], ("draws.n_samples=200", "draws.n_chains=40", "draws.n_steps=20")
    words = [*words_of(space), f"objective={OBJECTIVES[space]}", "experiment=smoke", "trainer.n_steps=30", "trainer.evaluate_every=15"]
    words += [every("metric"), *QUICK, every("figure"), *draws, "seeds=2", "device=cpu"]
    words += ["objective.n_chains=256", "objective.n_steps=2"] if space == "binary" else []
    code, out, err = ebm("train", *DIRS, *words)
    assert code == 0, err
    assert f"EBM_ALLOW=components ebm train --config-dir={OPTIONS} {words[0]}" in out
    run = find("last")
    summary, stored = run.read("summary.json"), run.read("dataset.json")
    kind = "binary" if space == "binary" else "real"
    assert (stored["shape"], stored["kind"]) == (list(shape), kind)
    assert TrainedModel.load(run, torch.device("cpu")).space == Space(shape, kind)
    for name in summary["units"]:
        values, reasons = summary["per_seed"].get(name), summary["reasons"].get(name, [None, None])
        if values is not None:  # a cost has one number
            assert all((value is None) == isinstance(reason, str) for value, reason in zip(values, reasons, strict=True)), name
    reasons = summary["reasons"].get("edge_mass", [""])  # of the quadrature alone
    assert reasons[0].startswith(REASONS.get(space, "")) if space in REASONS else "edge_mass" not in summary["reasons"]
    assert summary["log_z_by"] == ([{"real": "quadrature", "binary": "enumeration"}[space]] * 2 if space in ("real", "binary") else ANY)
    assert summary["sliced_wasserstein"] > 0
    assert (summary["kl"] is not None) == (space in ("real", "binary"))
    assert sorted(path.stem for path in run.figures.iterdir()) == FIGURES[space]

    def drawn():
        x = np.load(run.path / "samples.npz")["x"]
        assert np.isfinite(x).all()
        assert space != "binary" or set(np.unique(x)) == {0.0, 1.0}
        return x

    assert drawn().shape == (2, 200, *shape)
    code, out, err = ebm("sample", "last", "n_samples=30", "n_chains=30", "n_steps=4", "model=1")
    assert code == 0, err
    assert drawn().shape == (30, *shape)
    assert {path.stem for path in run.figures.iterdir() if str(path) in out} == {*FIGURES[space]} - OF_NO_SAMPLES
    assert ebm("evaluate", "last", *DIRS, "n_samples=100")[0] == 0
    assert drawn().shape == (2, 100, *shape)
    again = run.read("summary.json")
    assert again["test_loss"] == summary["test_loss"]
    code, out, err = ebm("plot", "last", *DIRS, "model=1", "figure=[training,marginals]")
    assert code == 0, err
    code, _, err = ebm("train", *DIRS, *words)
    assert (code, "its stored result is shown" in err) == (0, True)


@pytest.mark.parametrize("space", SPACES)
def test_chains_start_at_the_given_points(ebm, train, space):
    """Short chains start from the data, from a file of the run's samples, and from the buffer."""
    words = ("objective.n_chains=256",) if space == "binary" else ()
    train(space, f"objective={OBJECTIVES[space]}", "experiment=smoke", "trainer.n_steps=5", "metric=[]", "figure=[]", "device=cpu", *words)
    few = ("n_samples=20", "n_chains=20", "n_steps=2")
    assert ebm("sample", "last", "start=data", "out=first.npy", *few)[0] == 0
    assert np.load("first.npy").shape == (20, *SHAPES[space])
    assert ebm("sample", "last", "start=first.npy", "out=second.csv", *few)[0] == 0
    assert ebm("sample", "last", "start=second.csv", "out=third.npy", *few)[0] == 0
    assert (ebm("sample", "last", "start=buffer", "out=third.npy", *few)[0] == 0) == (space == "binary")
    code, out, err = ebm("score", "last", "data=first.npy")
    assert (code, "takes a label" in err) == ((2, True) if space == "labelled" else (0, False))
    assert space == "labelled" or len(out.splitlines()) == 21


@pytest.mark.parametrize("seed", [0, 1])
def test_nce_learns_log_z_of_bits(train, seed):
    """The exact log Z is a sum over all 2^16 states. The error of the learned log Z was within 0.02 nats for eight seeds."""
    words = ("dataset.flip=0.35", "optimizer.lr=0.2", "trainer.n_steps=2000", *TRAINED, *FEW, "metric=[enumeration]", f"seed={seed}")
    summary = train("binary", "objective=nce", *words)
    assert summary["log_z_learned"] == pytest.approx(summary["log_z"], abs=0.05)
    assert summary["log_z"] > 5
    assert 0 < summary["kl"] < 0.01


@pytest.mark.parametrize("objective", ["pcd", "pseudo_likelihood"])
def test_the_distribution_of_bits_is_learned(train, objective):
    """Gibbs transitions have no step size. The KL was 0.001 to 0.002 nats; that of independent bits is 0.68."""
    chains = ("objective.n_steps=1", "objective.n_chains=1024", "objective.adapt=0.1") if objective == "pcd" else ()
    words = (*BITS, *TRAINED, *FEW, *chains, "metric=[enumeration,sliced_wasserstein,ais_of_bits]")
    summary = train("binary", f"objective={objective}", *words)
    assert 0 < summary["kl"] < 0.01
    assert "step_size" not in summary["sampling"]
    assert summary["sliced_wasserstein"] < 3 * summary["sliced_wasserstein_floor"]
    covers_log_z(summary)


def covers_log_z(summary):
    """log Z is within twice the 95 % intervals of the bounds: one false alarm in 10^3 seeds, for normal errors."""
    lower, upper = (summary[f"ais_log_z_{side}"] for side in ("lower", "upper"))
    assert lower - 2 * summary["ais_log_z_lower_error"] <= summary["log_z"] <= upper + 2 * summary["ais_log_z_upper_error"]
    assert abs(upper - lower) < 0.2


@pytest.mark.parametrize("reference", ["bernoulli", "fair_bits"])
def test_ais_of_bits_bounds_log_z(train, reference):
    """The couplings are far from both references."""
    words = ("dataset.n_bits=12", "dataset.flip=0.2", "optimizer.lr=0.1", "trainer.n_steps=400", *TRAINED, *FEW, f"reference={reference}")
    summary = train(
        "binary", "objective=pseudo_likelihood", *words, "metric=[enumeration,ais_of_bits]", "metric.ais_of_bits.n_temperatures=60"
    )
    assert summary["log_z"] > 3
    covers_log_z(summary)


@pytest.mark.parametrize("objective", ["nce", "ssm", "energy_discrepancy"])
def test_labels_reach_the_energy(train, objective):
    """Centres and widths of p(x | y) are learned to within 0.04. With misplaced labels, both centres would be the overall mean."""
    summary = train(
        "labelled", f"objective={objective}", "optimizer.lr=0.05", "trainer.n_steps=600", *TRAINED, *FEW, "metric=[sliced_wasserstein]"
    )
    params = TrainedModel.load(find("last"), torch.device("cpu")).params
    torch.testing.assert_close(params["centre"], torch.tensor(TwoClasses.centre), rtol=0, atol=0.04)
    torch.testing.assert_close(params["log_std"].exp(), torch.tensor(TwoClasses.std), rtol=0, atol=0.04)
    if objective == "nce":  # Z = 2 pi for each class
        assert summary["log_z_learned"] == pytest.approx(math.log(2 * math.pi), abs=0.04)
    x = np.load(find("last").path / "samples.npz")["x"]
    share = (x[:, 0] < 0).mean()  # each of the 500 chains has a label of the training data; P(x_0 < 0 | class 1) = 0.023
    expected = 0.25 + 0.75 * 0.5 * math.erfc(2 / 2**0.5)
    assert share == pytest.approx(expected, abs=5 * (0.25 * 0.75 / 500) ** 0.5)


def test_a_convolution_tilted_by_the_exact_density_is_normalized(train):
    """The images are Gaussian, so with the full covariance the network stays near zero. The learned log Z and the bounds of AIS are 0."""
    ais = ("metric=[ais]", "metric.ais.n_temperatures=30", "metric.ais.n_chains=50", "metric.ais.n_repeats=4")
    summary = train("image", "objective=nce", "reference=full_gaussian", "trainer.n_steps=60", *TRAINED, *FEW, *ais)
    assert summary["log_z_learned"] == pytest.approx(0, abs=0.05)
    for side in ("lower", "upper"):
        assert summary[f"ais_log_z_{side}"] == pytest.approx(summary["log_z_learned"], abs=0.1)


def test_a_sweep_is_sorted_by_a_custom_metric(ebm):
    words = (*words_of("binary"), "objective=pseudo_likelihood", *TRAINED, "experiment=smoke", "metric=[enumeration]", "trainer.n_steps=20")
    code, out, err = ebm("train", "-m", *DIRS, *words, "sweep.metric=kl", "optimizer.lr=0.0001,0.1", "hydra/launcher=basic")
    assert code == 0, err
    assert out.index("0.1 ") < out.index("0.0001 ")


def problems(ebm, *words):
    code, _, err = ebm("train", *DIRS, *words)
    assert code == 2, err
    return err


def test_options_that_do_not_work_with_bits_are_refused_and_alternatives_are_named(ebm, tmp_path):
    err = problems(ebm, "dataset=chain_of_bits")
    for group, option, works in (
        ("energy", "residual_mlp", "binary_mlp or binary_resnet or couplings or dbm or ising or rbm"),
        ("reference", "gaussian", "bernoulli or bernoulli_mixture or categorical or fair_bits"),
        ("objective", "ssm", "exact or mle or cd or pcd or short_run or nce or energy_discrepancy or pseudo_likelihood or ratio_matching"),
        ("sampler", "mala", "dlp or dmala or flip or gibbs or gwg or own_gibbs"),
    ):
        assert (
            f"error: {group}={option} needs real events, but dataset=chain_of_bits has events of another kind\nhint: {group}={works}" in err
        )
    err = problems(ebm, "energy=couplings", *words_of("binary")[2:], "objective=nce")  # only the dataset is wrong
    assert "error: energy=couplings needs binary events, but dataset=moons has events of another kind" in err
    assert " or chain_of_bits or " in err
    assert not (tmp_path / "outputs").exists()


def test_options_that_do_not_work_with_labels_are_refused(ebm):
    err = problems(ebm, "energy=class_centres")
    assert "error: energy=class_centres needs labels, but dataset=moons has none" in err
    assert "dataset=two_classes" in err
    err = problems(ebm, *words_of("labelled"), "objective=pcd")
    assert "energy=class_centres takes labels, but objective=pcd evaluates points without labels" in err


def test_an_unsuitable_sampler_is_refused_after_training_too(ebm, train):
    train("binary", "objective=pseudo_likelihood", "experiment=smoke", "trainer.n_steps=5", "metric=[]", "figure=[]", "device=cpu")
    for verb in ("sample", "evaluate"):
        code, _, err = ebm(verb, "last", "sampler=mala")
        assert (code, "MALA needs real events, but those of this run are binary" in err) == (2, True)
    code, _, err = ebm("sample", "energy=compose", "energy.runs=[last]")
    assert (code, "is of binary events: it cannot be composed" in err) == (2, True)


def test_an_energy_that_takes_a_label_cannot_be_composed(ebm, train):
    train("labelled", "objective=nce", "experiment=smoke", "trainer.n_steps=5", "metric=[]", "figure=[]", "device=cpu")
    code, _, err = ebm("sample", "energy=compose", "energy.runs=[last]")
    assert (code, "takes a label: it cannot be composed" in err) == (2, True)


def test_figures_of_the_plane_do_not_apply_to_two_bits(train):
    words = ("dataset.n_bits=2", every("figure"), "experiment=smoke", "trainer.n_steps=5", "metric=[]", "device=cpu")
    train("binary", "objective=pseudo_likelihood", *words)
    assert sorted(path.stem for path in find("last").figures.iterdir()) == FIGURES["binary"]


def test_a_metric_requires_what_its_sampler_requires(train):
    """The sampler of metric=ais requires real events."""
    words = ("experiment=smoke", "trainer.n_steps=5", "metric=[ais]", "figure=[]", "device=cpu")
    assert train("binary", "objective=pseudo_likelihood", *words)["reasons"]["ais_log_z_lower"] == "the events are not real"


def test_a_metric_on_a_grid_gives_a_reason_if_there_is_no_energy(train):
    words = ("experiment=smoke", "trainer.n_steps=5", "metric=[mode_weights]", "figure=[]", "device=cpu", "draws.n_samples=20")
    summary = train("real", "dataset=eight_gaussians", "energy=score_mlp", *words)
    assert summary["mode_weight_error"] is not None
    assert summary["reasons"]["mode_weight_error_density"] == "a grid needs real events, and an energy that takes no labels"


def test_the_summary_is_strict_json(train):
    train(
        "binary", "objective=pcd", "objective.n_chains=256", "experiment=smoke", "trainer.n_steps=5", "metric=[enumeration]", "device=cpu"
    )

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((find("last").path / "summary.json").read_text(), parse_constant=refuse)
