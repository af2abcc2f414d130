"""The selection of a step by a number on the validation events, early stopping, and the refit on training and validation events."""

import json
import math

import pytest
import torch
from lines import last_of_each_key
from sklearn.datasets import load_wine

from ebm_cli.config.roles import identity
from ebm_cli.errors import InputError
from ebm_cli.runs import catalog
from ebm_cli.runs.run import SCHEMA
from ebm_cli.training import checkpoint

SELECT = ("trainer.select=auto", "trainer.patience=null", "trainer.refit=false", "trainer.n_steps=40", "trainer.batch_size=32")
SMALL = ("energy=mlp", "energy.hidden=[8]", "dataset.transform=standard")


@pytest.fixture
def wine(tmp_path):
    """The words that choose a table of 178 rows and four columns."""
    path = tmp_path / "wine.csv"
    rows = load_wine().data[:, :4]
    path.write_text("a,b,c,d\n" + "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()))
    return "dataset=table", f"dataset.path={path}", "objective=nce", "reference=full_gaussian", *SELECT, *SMALL


def script(trainer, numbers):
    """Replace the measured numbers. There is an evaluation every five steps."""
    trainer.selection.number = lambda params, carry: torch.tensor(numbers[trainer.state.step // 5], dtype=torch.double)
    return trainer


def number(trainer):
    """The measured number of the current averaged parameters."""
    return trainer.selection.number(trainer.named(trainer.state.ema), trainer.state.carry)


def trained(trainer, *, scripted=None):
    """Train to the end with an evaluation every five steps. `scripted` numbers replace the measured ones."""
    if scripted is not None:
        script(trainer, scripted)
    averages = {0: trainer.state.ema.clone()}
    trainer.select()
    for step in trainer.steps():
        averages[step] = trainer.state.ema.clone()
        if step % 5 == 0:
            trainer.select()
    return averages


def test_the_parameters_of_the_best_number_are_selected(trainer, wine):
    instance = trainer(*wine)
    averages = trained(instance, scripted=[5.0, 4.0, float("inf"), 3.0, 3.0, 3.5, 4.0, 5.0, 6.0])
    assert int(instance.state.selection["step"]) == 15  # the first of the best
    assert torch.equal(instance.state.selected, averages[15])
    assert instance.state.step == 40
    assert torch.equal(instance.results()["log_z"], instance.named(averages[15])["log_z"])


def test_training_ends_when_the_patience_is_used_up(trainer, wine):
    instance = trainer(*wine, "trainer.patience=2")
    averages = trained(instance, scripted=[5.0, 4.0, 4.5, 3.0, 3.5, 3.5, 1.0])
    assert instance.state.step == 25
    assert int(instance.state.selection["step"]) == 15
    assert torch.equal(instance.state.selected, averages[15])


def test_each_model_of_a_stack_selects_and_stops_like_its_single_run(trainer, wine):
    numbers = [[5.0, 5.0], [4.0, 6.0], [3.0, 4.5], [3.5, 4.6], [3.4, 4.7], [0.0, 1.0]]
    stack = trainer(*wine, "trainer.patience=2", "seeds=2")
    trained(stack, scripted=[[a, b] for a, b in numbers])
    for k in range(2):
        single = trainer(*wine, "trainer.patience=2", f"seed={k}")
        trained(single, scripted=[row[k] for row in numbers])
        assert int(stack.state.selection["step"][k]) == int(single.state.selection["step"])
        torch.testing.assert_close(stack.state.selected[k], single.state.selected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(stack.state.theta[k], single.state.theta, rtol=1e-4, atol=1e-6)  # a stopped model does not change


def test_a_model_that_stopped_first_does_not_change_while_the_others_train(trainer, wine):
    stack = trainer(*wine, "trainer.patience=1", "seeds=2")
    averages = trained(stack, scripted=[[5.0, 5.0], [6.0, 4.0], [1.0, 3.0], [1.0, 3.5]])
    assert stack.state.step == 15
    assert stack.state.selection["step"].tolist() == [0, 10]
    assert torch.equal(averages[15][0], averages[5][0])
    assert not torch.equal(averages[15][1], averages[10][1])


def test_the_number_of_an_untrained_model_is_the_nll_of_its_reference(trainer, wine):
    """The network starts at zero, so that every weight is one and log Z = 0."""
    instance = trainer(*wine)
    x = instance.dataset.split("validation", 1000, instance.rng).x
    expected = instance.dataset.standardization.log_det - instance.reference.log_prob(x).double().mean()
    torch.testing.assert_close(number(instance), expected, rtol=0, atol=1e-5)


def test_the_nll_of_a_shifted_energy_has_the_shift_in_log_z(trainer, wine):
    """A constant added to the energy changes mean E and log Z by opposite amounts."""
    instance = trainer(*wine)
    before = number(instance)
    for name, value in instance.named(instance.state.ema).items():
        if name.endswith("bias") and value.numel() == 1:
            value += 3.0
    torch.testing.assert_close(number(instance), before, rtol=0, atol=1e-4)


def test_a_step_is_not_selected_if_too_few_draws_carry_the_weight(trainer, wine):
    instance = trainer(*wine)
    instance.state.ema.copy_(torch.randn(instance.state.ema.shape, generator=torch.Generator().manual_seed(0)) * 30)
    assert number(instance).isinf()


def test_without_an_energy_the_loss_selects(trainer, wine):
    assert trainer(*wine, "objective=dsm", "energy=score_mlp", "energy.hidden=[8]").selection.rule == "loss"
    instance = trainer(*wine, "trainer.select=loss")
    assert torch.equal(number(instance), number(instance))  # the same noise every time
    assert float(number(instance)) == pytest.approx(math.log(5) + 4 * math.log(5 / 4), abs=0.02)  # at p = q, with nu = 4


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("trainer.select=loss", "objective=pcd"), "does not measure the fit", "trainer.select=nll"),
        (("trainer.select=nll", "objective=dsm", "energy=score_mlp"), "needs an energy", "trainer.select=loss"),
        (("trainer.select=null", "trainer.patience=3"), "trainer.patience needs", "trainer.select=auto; or trainer.patience=null"),
        (("trainer.select=null", "trainer.refit=true"), "trainer.refit needs", "trainer.select=auto; or trainer.refit=false"),
        (("trainer.refit=true", "dataset=moons"), "draws new events", "trainer.refit=false"),
        (("dataset.validation=0",), "needs validation events", "dataset.validation=0.1; or trainer.select=null"),
    ],
)
def test_settings_that_cannot_work_are_refused(trainer, wine, words, message, hint):
    moons = "dataset=moons" in words
    words = [word for word in (*wine, *words) if not moons or word == "dataset=moons" or not word.startswith("dataset")]
    with pytest.raises(InputError) as caught:
        trainer(*words)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.hint == hint


def test_a_refit_equals_training_on_the_joined_data(trainer, wine):
    """It starts anew, with the random numbers and the schedule of a run of its own, and ends after the selected number of steps."""
    instance = trainer(*wine, "trainer.refit=true")
    trained(instance, scripted=[5.0, 4.0, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5])
    origin, n = instance.state.step, int(instance.state.selection["step"])
    assert n == 15
    instance.refit(origin, instance.state.selection)
    for _ in instance.steps():
        pass
    assert instance.state.step == origin + n
    other = trainer(*wine, "trainer.select=null", "seed=0")
    other._begin(other.dataset.joined(), other.reference.refit)
    for _ in range(n):
        other.step()
    assert torch.equal(instance.state.theta, other.state.theta)
    assert torch.equal(instance.results()["log_z"], other.results()["log_z"])


def test_the_joined_data_have_no_validation_events_and_the_same_coordinates(trainer, wine):
    data = trainer(*wine).dataset
    joined = data.joined()
    rng = trainer(*wine).rng
    parts = [data.split(name, 1000, rng).x for name in ("train", "validation")]
    assert torch.equal(joined.split("train", 1000, rng).x, torch.cat(parts))
    assert joined.split("validation", 1000, rng).x.shape == (0, 4)
    assert torch.equal(joined.split("test", 1000, rng).x, data.split("test", 1000, rng).x)
    assert joined.n_train == data.n_train + len(parts[1])


@pytest.mark.parametrize("cut", [7, 25, 42], ids=["selecting", "one has stopped", "refitting"])
def test_continuing_from_a_checkpoint_gives_identical_results(trainer, wine, tmp_path, cut):
    words = (*wine, "trainer.patience=3", "trainer.refit=true", "seeds=2")
    numbers = [[5.0, 5.0], [4.0, 4.0], [5.0, 3.0], [5.0, 4.0], [5.0, 2.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0], [0.0, 0.0]]

    def steps(instance, until):
        while True:
            for step in instance.steps():
                if not instance.refitted and step % 5 == 0:
                    instance.select()
                if step == until:
                    return
            if instance.refitted:
                return
            instance.refit(instance.state.step, instance.state.selection)

    whole, first, second = (script(trainer(*words), numbers) for _ in range(3))
    for instance in (whole, first):
        instance.select()
    steps(whole, None)
    steps(first, cut)
    checkpoint.load(checkpoint.save(tmp_path, first), second)
    steps(second, None)
    assert whole.state.step == second.state.step == 35 + 20
    a, b = (checkpoint.read(checkpoint.save(tmp_path / name, instance)) for name, instance in (("a", whole), ("b", second)))
    for group in a:
        assert all(torch.equal(a[group][name], b[group][name]) for name in a[group])


def test_the_steps_of_evaluation_are_part_of_the_identity_only_with_a_selection():
    config = {"trainer": {"select": None, "evaluate_every": 5, "log_every": 1}, "seed": 0}
    other = {**config, "trainer": config["trainer"] | {"evaluate_every": 6}}
    assert identity(config) == identity(other)
    config, other = ({**part, "trainer": part["trainer"] | {"select": "auto"}} for part in (config, other))
    assert identity(config) != identity(other)


def test_a_run_with_a_selection(ebm, wine, tmp_path):
    words = (*wine, "trainer.evaluate_every=10", "trainer.refit=true", "metric=[]", "figure=[]", "draws.n_samples=20", "draws.n_steps=20")
    assert ebm(*last_of_each_key(["train", *words]))[0] == 0
    run = catalog.find("last")
    rows, summary = run.rows(), run.read("summary.json")
    numbers = {row["step"]: row["validation_nll"] for row in rows if "validation_nll" in row}
    assert numbers.keys() == {10, 20, 30, 40}
    assert summary["selected_step"] in {0, *numbers}
    assert summary["n_steps"] == 40 + summary["selected_step"]
    assert summary["selected_validation"] == numbers.get(summary["selected_step"], summary["selected_validation"]) <= min(numbers.values())
    assert json.loads((run.path / "environment.json").read_text())["schema"] == SCHEMA


def test_the_reference_is_chosen_on_the_validation_events_and_keeps_its_settings_in_the_refit(trainer, wine):
    """The fit is that of the mixture to the training events; the refit is EM from there, on all events that are not for test."""
    instance = trainer(*wine, "reference=mixture", "trainer.refit=true")
    reference, dataset, rng = instance.reference, instance.dataset, instance.rng.at("reference")
    train, validation = (dataset.split(name, 1000, rng).x for name in ("train", "validation"))
    for name, value in reference.reference.fit(train, (4,), rng, validation).items():
        assert torch.equal(reference.params[name], value)
    trained(instance)
    instance.refit(instance.state.step, instance.state.selection)
    both = torch.cat([train, validation])
    for name, value in reference.reference.refit(reference.params, both, (4,), rng).items():
        assert torch.equal(instance.reference.params[name], value)
    assert torch.equal(instance.reference.params["shrinkage"], reference.params["shrinkage"])
    assert instance.reference.params["mean"].shape == reference.params["mean"].shape
    assert not torch.equal(instance.reference.params["mean"], reference.params["mean"])
