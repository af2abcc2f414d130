"""Measuring every model of a run, summaries over seeds, and the loss on test data."""

import math
from dataclasses import replace

import pytest
import torch

from ebm_cli.core.metric import MetricContext
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import Standardization
from ebm_cli.core.student_t import interval
from ebm_cli.runner import evaluate
from ebm_cli.runner.estimators import of_model
from ebm_cli.runner.evaluate import summarize
from ebm_cli.runner.trained_model import TrainedModel


def test_summary_of_a_single_model():
    summary = summarize([{"kl": 0.5, "nll": "no density", "log_z": math.inf}], stacked=False)
    assert summary == {"kl": 0.5, "nll": None, "log_z": None, "reasons": {"nll": "no density", "log_z": "the value is inf"}}


def test_summary_of_a_stack():
    summary = summarize([{"kl": 1.0, "sw": 0.1}, {"kl": 2.0, "sw": 0.3}, {"kl": 6.0, "sw": 0.2}], stacked=True)
    assert summary["kl"] == 3.0
    assert summary["sw"] == pytest.approx(0.2)
    assert summary["per_seed"] == {"kl": [1.0, 2.0, 6.0], "sw": [0.1, 0.3, 0.2]}
    assert summary["ci95"] == {"kl": interval([1.0, 2.0, 6.0]), "sw": interval([0.1, 0.3, 0.2])}
    assert summary["reasons"] == {}


@pytest.mark.parametrize(("bad", "reason"), [("not normalizable", "not normalizable"), (math.nan, "the value is nan")])
def test_there_is_no_mean_if_a_seed_has_no_number(bad, reason):
    summary = summarize([{"kl": 1.0, "sw": 0.1}, {"kl": bad, "sw": 0.3}], stacked=True)
    assert summary["kl"] is None
    assert summary["per_seed"]["kl"] == [1.0, None]
    assert "kl" not in summary["ci95"]
    assert summary["reasons"] == {"kl": [None, reason]}
    assert summary["sw"] == pytest.approx(0.2)


def test_p_values_and_errors_are_not_averaged():
    summary = summarize([{"p": 0.5, "kl": 1.0}, {"p": 0.25, "kl": 2.0}], stacked=True, unaveraged=["p"])
    assert (summary["p"], summary["per_seed"]["p"]) == (None, [0.5, 0.25])
    assert summary["ci95"].keys() == {"kl"}
    assert summary["reasons"] == {}
    assert summarize([{"p": 0.5}], stacked=False, unaveraged=["p"])["p"] == 0.5


def test_each_seed_without_a_number_has_its_own_reason():
    summary = summarize([{"kl": "seed 0 diverged"}, {"kl": 1.0}, {"kl": "not normalizable"}], stacked=True)
    assert summary["reasons"] == {"kl": ["seed 0 diverged", None, "not normalizable"]}


def test_numbers_of_one_model():
    stack = summarize([{"kl": 1.0}, {"kl": 3.0}], stacked=True)
    assert [of_model(stack, "kl", model) for model in (0, 1)] == [1.0, 3.0]
    assert of_model(summarize([{"kl": 1.0}], stacked=False), "kl", 0) == 1.0
    assert of_model(stack, "gone", 0) is None


class Recording:
    """A metric that records the contexts of its calls."""

    requires = frozenset()

    def __init__(self, name, *, final_only):
        self.name, self.final_only, self.units, self.calls = name, final_only, {name: "", f"{name}_error": "nats"}, []

    def expected(self, dataset):
        return self.units

    def __call__(self, context):
        self.calls.append(context)
        return {self.name: float(len(self.calls))}


@pytest.mark.parametrize("final", [False, True])
def test_every_model_is_measured_with_its_own_parameters_samples_and_random_numbers(trainer, final):
    built = trainer("seeds=2", "seed=4")
    trained, samples = TrainedModel.of(built), torch.arange(2 * 3 * 5 * 2.0).reshape(2, 3, 5, 2)
    metric, other = Recording("a", final_only=False), Recording("b", final_only=False)
    rows = evaluate.evaluate_models(trained, built.dataset, {"a": metric, "b": other}, samples, final=final)
    assert rows == [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]
    for m, (context, same) in enumerate(zip(metric.calls, other.calls, strict=True)):
        assert torch.equal(context.samples, samples[m])
        assert all(torch.equal(context.params[name], trained.params[name][m]) for name in context.params)
        assert context.rng.seeds == 4 + m
        assert not context.model.stacked
        assert context.final == final
        assert context is same


@pytest.mark.parametrize("words", [("seed=4",), ("seed=4", "seeds=2")])
def test_the_training_points_of_a_metric_are_those_that_the_model_was_trained_on(trainer, words):
    built, metric = trainer("dataset.n_train=60", *words), Recording("a", final_only=False)
    evaluate.evaluate_models(TrainedModel.of(built), built.dataset, {"a": metric}, None, final=True)
    batches = torch.cat([built.dataset.batch(step, 20, built.rng).x for step in range(3)], -2).reshape(-1, 60, 2)  # an epoch
    for context, seen in zip(metric.calls, batches, strict=True):
        points = context.dataset.split("train", 100, context.rng).x
        assert sorted(points.tolist()) == sorted(seen.tolist())


def test_a_reason_replaces_every_number_of_a_metric(trainer):
    class Refusing(Recording):
        def __call__(self, context):
            return "it does not apply"

    built, metric = trainer(), Refusing("a", final_only=False)
    rows = evaluate.evaluate_models(TrainedModel.of(built), built.dataset, {"a": metric}, None, final=True)
    assert rows == [{"a": "it does not apply", "a_error": "it does not apply"}]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_metrics_with_one_number_that_which_is_expected_on_this_dataset_gives_it(trainer, order):
    class Elsewhere(Recording):
        def expected(self, dataset):
            return ()

        def __call__(self, context):
            return "it needs a grid"

    built, metrics = trainer(), [("x", Recording("a", final_only=False)), ("y", Elsewhere("a", final_only=False))]
    (row,) = evaluate.evaluate_models(TrainedModel.of(built), built.dataset, dict(metrics[::order]), None, final=True)
    assert row == {"a": 1.0, "a_error": "it needs a grid"}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("found", "kl"), [(2.0, {"kl": 2.0}), ("too many states", {"kl": 1.0, "kl_error": 0.1})])
def test_the_number_of_an_exact_sum_stays_and_has_no_error_of_another_metric_beside_it(trainer, order, found, kl):
    class Kl(Recording):
        def __init__(self, **numbers):
            super().__init__("kl", final_only=False)
            self.numbers = numbers

        def expected(self, dataset):
            return [key for key, value in self.numbers.items() if not isinstance(value, str)]

        def __call__(self, context):
            return self.numbers

    built, metrics = trainer(), [("enumeration", Kl(kl=found)), ("bridge", Kl(kl=1.0, kl_error=0.1))]
    (row,) = evaluate.evaluate_models(TrainedModel.of(built), built.dataset, dict(metrics[::order]), None, final=True)
    assert row == kl


@pytest.mark.parametrize(("word", "reason"), [("labels", "the data have no labels"), ("binary", "the events are not binary")])
def test_a_metric_whose_requirement_is_not_met_is_not_called(trainer, word, reason):
    built, metric = trainer("seeds=2"), Recording("a", final_only=False)
    metric.requires = frozenset({"energy", word})
    rows = evaluate.evaluate_models(TrainedModel.of(built), built.dataset, {"a": metric}, None, final=True)
    assert rows == [{"a": reason, "a_error": reason}] * 2
    assert metric.calls == []


def test_a_value_that_several_metrics_need_is_computed_once():
    context, made = MetricContext(None, {}, None, Rng(0)), []
    assert [context.once(key, lambda: made.append(0) or len(made)) for key in ("a", "b", "a")] == [1, 2, 1]


@pytest.mark.parametrize(("final", "split"), [(True, "test"), (False, "validation")])
def test_held_out_points_come_from_the_test_split_only_at_the_end(trainer, final, split):
    built = trainer()
    context = MetricContext(None, {}, built.dataset, Rng(3), final=final)
    assert torch.equal(context.held_out(50), built.dataset.split(split, 50, Rng(3)).x)


def test_samples_are_thinned_evenly_over_chains_and_draws():
    """Of 6 chains with 4 draws: the third draw of each chain, the second and the last of each, and all draws for 24 or more."""
    samples = torch.arange(24.0).view(6, 4, 1)
    context = MetricContext(None, {}, None, Rng(0), samples)
    assert context.drawn(6).flatten().tolist() == [2.0, 6.0, 10.0, 14.0, 18.0, 22.0]
    assert context.drawn(12).flatten().tolist() == [float(i) for i in range(1, 24, 2)]
    assert torch.equal(context.drawn(24), samples.flatten(0, 1))
    assert torch.equal(context.drawn(25), samples.flatten(0, 1))
    assert len(set(context.drawn(17).flatten().tolist())) == 17


def test_metrics_that_are_final_only_are_measured_only_at_the_end(trainer):
    built = trainer()
    metric, other = Recording("a", final_only=True), Recording("b", final_only=False)
    assert evaluate.evaluate_models(TrainedModel.of(built), built.dataset, {"a": metric, "b": other}, None, final=False) == [{"b": 1.0}]
    assert metric.calls == []


class FirstCoordinate:
    """An objective whose loss is x_0."""

    loss_is_comparable = True

    def prepare(self, model, params, carry, x, rng):
        return {}, carry, {}

    def loss(self, model, params, x, aux):
        return x[..., 0], {}


def test_test_loss_is_the_mean_over_the_test_split_of_each_seed(trainer):
    built = trainer("seeds=2", "seed=4")
    rows = evaluate.test_loss(TrainedModel.of(built), built.dataset, FirstCoordinate())
    test = built.dataset.split("test", evaluate.N_TEST, built.rng).x
    assert [row["test_loss"] for row in rows] == pytest.approx(test[..., 0].double().mean(-1).tolist())
    assert "log_z_learned" not in rows[0]


def test_learned_log_z_is_given_in_data_units(trainer):
    built = trainer("objective=nce", "seeds=2")
    trained = replace(TrainedModel.of(built), standardization=Standardization(torch.zeros(2).double(), torch.tensor([2.0, 5.0]).double()))
    trained.params["log_z"].copy_(torch.tensor([0.5, -1.5]))
    rows = evaluate.test_loss(trained, built.dataset, built.objective)
    assert [row["log_z_learned"] for row in rows] == pytest.approx([0.5 + math.log(10), -1.5 + math.log(10)])
    assert rows == evaluate.test_loss(trained, built.dataset, built.objective)


def test_a_loss_that_does_not_measure_the_fit_is_replaced_by_a_reason(trainer):
    built = trainer("objective=pcd", "objective.n_chains=64")
    (row,) = evaluate.test_loss(TrainedModel.of(built), built.dataset, built.objective)
    assert "does not measure the fit" in row["test_loss"]
