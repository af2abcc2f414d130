"""Validation of configs against signatures, and refusal of classes outside the allowed packages in a typed config."""

import pytest

from ebm_cli.config import compose, schema
from ebm_cli.errors import InputError
from ebm_cli.objectives.energy_discrepancy import EnergyDiscrepancy


def refusal(change):
    typed = schema.check(compose.compose(["objective=pcd"]).config)
    change(typed)
    with pytest.raises(InputError) as error:
        schema.check(typed)
    return str(error.value)


def test_a_target_inside_a_plain_value_is_refused():
    """`build` would call it. The parameter `device` of torch.nn.Linear accepts any value."""
    evil = {"_target_": "os.system", "command": "true"}
    assert "trainer.n_steps: a _target_ is not allowed here" in refusal(lambda typed: typed["trainer"].update(n_steps=evil))
    assert "energy.width: a _target_ is not allowed here" in refusal(lambda typed: typed["energy"].update(width=[evil]))
    linear = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1, "device": evil}
    assert "energy.device: a _target_ is not allowed here" in refusal(lambda typed: typed.update(energy=linear))
    assert "tags: a _target_ is not allowed here" in refusal(lambda typed: typed.update(tags=[[evil]]))


def test_a_sampler_inside_an_objective_is_checked_too():
    assert "os.system lies outside" in refusal(lambda typed: typed["objective"].update(sampler={"_target_": "os.system"}))
    langevin = {"_target_": "ebm_cli.samplers.langevin.Langevin", "step_size": -1.0}
    assert "objective.sampler.step_size: must be greater than 0" in refusal(lambda typed: typed["objective"].update(sampler=langevin))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective=pcd", "sampler.step_size=-1"], "sampler.step_size: must be greater than 0, not -1"),
        (["objective=nce", "reference.n_components=0"], "reference.n_components: must be greater than or equal to 1, not 0"),
    ],
)
def test_a_mistake_in_a_component_that_an_objective_shares_is_told_once(words, message):
    with pytest.raises(InputError) as error:
        schema.check(compose.compose([*words, "reference=mixture"]).config)
    assert str(error.value) == message


def test_values_have_the_types_of_the_signature():
    typed = schema.check(compose.compose(["energy.tilt=2", "trainer.n_steps=1e3", "optimizer.betas=[0,0.5]"]).config)
    assert (typed["energy"]["tilt"], type(typed["energy"]["tilt"])) == (2.0, float)
    assert (typed["trainer"]["n_steps"], type(typed["trainer"]["n_steps"])) == (1000, int)
    assert typed["optimizer"]["betas"] == [0.0, 0.5]


def test_checking_a_checked_config_changes_nothing():
    typed = schema.check(compose.compose(["objective=pcd"]).config)
    assert schema.check(typed) == typed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "objective.t: must have at least one value, not []"),
        ([0.3, -1], "objective.t[1]: must be greater than 0, not -1"),
        ([0.3, "x"], "objective.t[1]: must be a number, not 'x'"),
        ([[1.0]], "objective.t[0]: must be a number, not [1.0]"),
        ("x", "objective.t: must be a number, not 'x'"),
        (0, "objective.t: must be greater than 0, not 0"),
        (None, "objective.t: must be a number, not None"),
    ],
)
def test_a_wrong_value_of_a_union_gives_one_problem(value, message):
    """The parameter takes a number or a list of numbers. Only the error of the member that was meant is reported."""
    problems = []
    schema.check_signature(EnergyDiscrepancy, {"t": value, "n_noise": 2, "w": 1.0, "flip": 0.1}, "objective", problems)
    assert [problem.message for problem in problems] == [message]


@pytest.mark.parametrize("value", [0.3, [0.3], [0.3, 2.0]])
def test_every_member_of_a_union_is_accepted(value):
    problems = []
    assert schema.check_signature(EnergyDiscrepancy, {"t": value, "n_noise": 2, "w": 1.0, "flip": 0.1}, "objective", problems)["t"] == value
    assert problems == []


def test_keys_that_are_nested_by_mistake_are_named():
    config = compose.compose(()).config
    with pytest.raises(InputError) as error:
        schema.check(config | {"objective": {"mine": config["objective"]}})
    hint = error.value.problems[0].hint
    assert hint == "its keys are nested under 'mine'; in a file of this group they are not: remove that line, and indent no other"
