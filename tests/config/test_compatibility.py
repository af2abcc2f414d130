"""Compatibility of components: for every capability a pair of components is refused, and the hint names options that work."""

import re
from functools import cache

import pytest

from ebm_cli.config import compatibility, compose, option_files
from ebm_cli.config.compatibility import VOCABULARY
from ebm_cli.core import contracts

GROUPS = option_files.groups()
REAL = frozenset({"real"})
TRAINABLE = [name for name, node in compatibility.options("energy", ()).items() if compatibility.trainable(node)]


class Coins(contracts.Dataset):
    provides = frozenset({"binary"})


class Dice(contracts.Dataset):
    provides = frozenset({"categorical"})


class Classes(contracts.Dataset):
    provides = frozenset({"real", "labels"})


class CoinEnergy(contracts.Energy):
    requires = frozenset({"binary"})


class DiceEnergy(contracts.Energy):
    requires = frozenset({"categorical"})


class LabelledEnergy(contracts.Energy):
    takes_labels = True


class Flips(contracts.Sampler):
    requires = frozenset({"binary"})


class CoinReference(contracts.Reference):
    requires = frozenset({"binary"})


class OfDensity(contracts.Objective):
    requires = frozenset({"real", "density"})


class OfAnyEvents(contracts.Objective):
    requires = frozenset({"energy"})


class WithoutLabels(contracts.Objective):
    requires = frozenset({"real", "unconditional"})


class AtPointsWithoutLabels(contracts.Objective):
    takes_labels = False


class Misspelled(contracts.Objective):
    requires = frozenset({"real", "enrgy"})


class WithOwnSampler(contracts.Objective):
    def __init__(self, sampler: contracts.Sampler): ...


OWN = {
    "dataset": {"coins": "Coins", "dice": "Dice", "classes": "Classes"},
    "energy": {"coin_energy": "CoinEnergy", "dice_energy": "DiceEnergy", "labelled": "LabelledEnergy"},
    "sampler": {"flips": "Flips"},
    "reference": {"coin_reference": "CoinReference"},
    "objective": {
        **{"of_density": "OfDensity", "of_any_events": "OfAnyEvents", "without_labels": "WithoutLabels"},
        **{"at_points": "AtPointsWithoutLabels", "misspelled": "Misspelled", "own_sampler": "WithOwnSampler"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that contains these components as options."""
    folder = tmp_path_factory.mktemp("own")
    for group, options in OWN.items():
        (folder / group).mkdir()
        for name, target in options.items():
            extra = "sampler:\n  _target_: ebm_cli.samplers.mala.MALA\n" if name == "own_sampler" else ""
            (folder / group / f"{name}.yaml").write_text(f"# {name}\n# {target}\n_target_: {__name__}.{target}\n{extra}")
    return folder


@pytest.fixture
def own(folder, monkeypatch):
    """The folders of options, whose classes are allowed."""
    monkeypatch.setenv("EBM_ALLOW", __name__)
    return (folder,)


@cache
def problems(line, dirs=()):
    return compatibility.problems(compose.compose(line.split(), dirs))


def ways(hint):
    """The overrides that a hint suggests."""
    assert re.fullmatch(r"\w+=[\w\[\]]+( or [\w\[\]]+)*(, or \w+=[\w\[\]]+( or [\w\[\]]+)*)*", hint), hint
    for part in hint.split(", or "):
        group, _, options = part.partition("=")
        yield from (f"{group}={option}" for option in options.split(" or "))


def ends(offered):
    """The first two and the last two ways of a hint: its groups are listed one after the other."""
    return offered[:2] + offered[-2:]


COINS = "energy=coin_energy sampler=flips reference=coin_reference objective=of_any_events"
PAIRS = [  # capability, line, message, and for each group an option that the hint must suggest ("" if none works)
    ("real", f"dataset=coins {COINS} objective=ism", "objective=ism needs real events, but dataset=coins", "objective=nce", ""),
    (
        "real",
        "dataset=coins",
        "sampler=mala needs real events, but dataset=coins has events of another kind",
        "sampler=flips",
        "dataset=moons",
    ),
    ("real", "dataset=dice", "reference=gaussian needs real events, but dataset=dice has events of another kind", "", "dataset=banana"),
    ("binary", "reference=bernoulli", "reference=bernoulli needs binary events, but dataset=moons has ev", "reference=uniform", ""),
    ("binary", "sampler=flips", "sampler=flips needs binary events, but dataset=moons has events of another kind", "sampler=mala", ""),
    ("binary", f"dataset=dice {COINS}", "sampler=flips needs binary events, but dataset=dice has events of anoth", "", "dataset=coins"),
    (
        "discrete",
        "objective=pseudo_likelihood",
        "objective=pseudo_likelihood needs discrete events, but dataset=moons has events of another kind",
        "objective=ssm",
        "",
    ),
    ("categorical", "energy=dice_energy", "energy=dice_energy needs categorical events, but dataset=moons has ", "energy=mlp", ""),
    ("labels", "energy=labelled", "energy=labelled needs labels, but dataset=moons has none", "energy=residual_mlp", "dataset=classes"),
    (
        "density",
        "dataset=table objective=of_density",
        "objective=of_density needs a known density, but dataset=table has none",
        "objective=ssm",
        "dataset=moons",
    ),
    (
        "energy",
        "energy=score_mlp objective=nce",
        "objective=nce needs an energy, but energy=score_mlp outputs the score itself",
        "objective=ssm",
        "energy=mlp",
    ),
    (
        "energy",
        "energy=score_mlp sampler=mala",
        "sampler=mala needs an energy, but energy=score_mlp outputs the score itself",
        "sampler=langevin",
        "energy=mlp",
    ),
    (
        "energy",
        "energy=score_mlp regularizer=[energy_l2,weight_decay]",
        "regularizer=[energy_l2,weight_decay] needs an energy, but",
        "regularizer=weight_decay",
        "energy=mlp",
    ),
    (
        "noise_level",
        "objective=dsm_multi energy=mlp",
        "objective=dsm_multi uses several noise levels, but energy=mlp takes no noise level",
        "objective=dsm",
        "energy=noise_mlp",
    ),
    (
        "noise_level",
        "sampler=annealed",
        "sampler=annealed uses several noise levels, but energy=residual_mlp takes no noise level",
        "sampler=hmc",
        "",
    ),
    (
        "noise_level",
        "energy=noise_mlp objective=ssm",
        "energy=noise_mlp takes a noise level, but objective=ssm provides none",
        "objective=dsm_multi",
        "energy=mlp",
    ),
    (
        "block_gibbs",
        f"dataset=coins {COINS} sampler=block_gibbs".replace("sampler=flips ", ""),
        "sampler=block_gibbs needs block-Gibbs transitions, but energy=coin_energy has none",
        "sampler=flips",
        "energy=rbm",
    ),
    (
        "ising",
        f"dataset=coins {COINS} sampler=wolff".replace("sampler=flips ", ""),
        "sampler=wolff needs an Ising energy, but energy=coin_energy is none",
        "sampler=flips",
        "energy=ising",
    ),
    (
        "unconditional",
        "dataset=classes energy=labelled objective=without_labels",
        "objective=without_labels needs an energy without labels, but energy=labelled takes labels",
        "objective=ssm",
        "energy=mlp",
    ),
    (
        "unconditional",
        "dataset=classes energy=labelled objective=at_points",
        "energy=labelled takes labels, but objective=at_points evaluates points without labels",
        "objective=ssm",
        "energy=mlp",
    ),
]


def test_every_capability_is_tested():
    assert {word for word, *_ in PAIRS} | {"anomalies"} == VOCABULARY.keys()  # only a metric requires anomalies


@pytest.mark.parametrize(("word", "line", "sentence", "here", "there"), PAIRS, ids=[f"{word}: {line}" for word, line, *_ in PAIRS])
def test_incompatible_components_are_refused(own, word, line, sentence, here, there):
    found = problems(line, own)
    (problem,) = [problem for problem in found if problem.message.startswith(sentence)]
    offered = [*ways(problem.hint)] if problem.hint else []
    assert {here, there} - {""} <= {*offered}
    assert {*offered}.isdisjoint({"energy=four_wells", "energy=exact", "energy=banana", "energy=compose"})  # they cannot be trained
    for way in {here, there, *ends(offered)} - {""}:  # each repairs this fault and causes no other
        changed = " ".join([*(part for part in line.split() if part.partition("=")[0] != way.partition("=")[0]), way])
        assert {message for message, _ in problems(changed, own)} <= {message for message, _ in found} - {problem.message}, way


def test_compatible_components_are_accepted(own):
    assert problems(f"dataset=coins {COINS}", own) == []
    assert problems("dataset=classes energy=labelled objective=ssm", own) == []


def needs_discrete(group, option):
    """Whether an option of the package is for discrete events only, which the default dataset does not have."""
    node = option_files.node_of(GROUPS[group][option].path)
    return bool(compatibility.requires(node, group) & {"binary", "categorical", "discrete"})


@pytest.mark.parametrize("objective", [option for option in GROUPS["objective"] if not needs_discrete("objective", option)])
def test_every_objective_is_compatible_with_its_own_defaults(objective):
    assert problems(f"objective={objective}") == []


@pytest.mark.parametrize("objective", ["pseudo_likelihood", "energy_discrepancy", "exact", "nce"])
def test_objectives_of_discrete_events_accept_bits_and_categories(own, objective):
    for data in ("coin", "dice"):
        line = f"dataset={data if data == 'dice' else 'coins'} energy={data}_energy objective={objective}"
        assert not [message for message, _ in problems(line, own) if message.startswith(f"objective={objective}")]
    refused = [message for message, _ in problems("dataset=dice energy=dice_energy objective=ratio_matching", own)]
    assert "objective=ratio_matching needs binary events, but dataset=dice has events of another kind" in refused


@pytest.mark.parametrize("energy", TRAINABLE)
def test_every_trainable_energy_has_an_objective(own, energy):
    needs = compatibility.requires(option_files.node_of(GROUPS["energy"][energy].path), "energy")
    data = "dataset=coins reference=coin_reference sampler=flips" if needs_discrete("energy", energy) else ""
    data = "dataset=dice reference=categorical sampler=gibbs" if "categorical" in needs else data
    line = f"energy={energy} {data}"
    (problem, *_) = [*problems(line, own), None]
    for way in ways(problem.hint) if problem else ["objective=ssm"]:
        if way.startswith("objective="):
            assert problems(f"{line} {way}", own) == []
            return
    pytest.fail(f"no objective trains {energy}")


LINES = [  # one objective and one sampler for each set of requirements
    *(f"energy={energy} objective={objective}" for objective in ("ssm", "dsm_multi", "pcd") for energy in TRAINABLE),
    *(
        f"energy={energy} sampler={sampler}"
        for sampler in ("mala", "langevin", "annealed")
        for energy in ("score_mlp", "noise_score_mlp", "noise_mlp")
    ),
    *(f"objective={objective} sampler=annealed" for objective in ("ssm", "nce", "mle", "pcd", "dsm_multi", "recovery")),
]


@pytest.mark.parametrize("line", LINES)
def test_a_hint_suggests_only_options_that_work(line):
    """If a line has a single fault, every option that the hint suggests gives a line without faults."""
    found = problems(line)
    if len(found) == 1:
        offered = [*ways(found[0].hint)]
        chosen = dict(word.split("=") for word in line.split())
        for way in ends(offered):
            changed = chosen | dict([way.split("=")])
            assert problems(" ".join(f"{group}={changed[group]}" for group in sorted(changed))) == [], way


def test_an_analytic_energy_is_not_trained():
    for name, node in compatibility.options("energy", ()).items():
        if compatibility.analytic(node):
            (problem,) = problems(f"energy={name}")
            assert problem == (f"energy={name} is analytic: there is nothing to train", f"sample it: ebm sample energy={name}")


def test_an_incompatible_sampler_is_reported_once(own):
    """An objective that uses the sampler of the config adds no second fault. A sampler of its own counts as its requirement."""
    assert [message for message, _ in problems("objective=cd sampler=annealed")] == [
        "sampler=annealed uses several noise levels, but energy=residual_mlp takes no noise level"
    ]
    (problem,) = problems("objective=own_sampler energy=score_mlp", own)
    assert problem.message == "objective=own_sampler needs an energy, but energy=score_mlp outputs the score itself"


def test_a_sampler_provides_no_noise_level_in_training():
    """An annealed sampler reads the noise levels of the energy, but an objective without noise levels does not train them."""
    message = "energy=noise_mlp takes a noise level, but objective=cd provides none"
    assert [problem.message for problem in problems("objective=cd energy=noise_mlp sampler=annealed")] == [message]


def test_an_unknown_capability_is_named(own):
    (problem,) = problems("objective=misspelled", own)
    assert problem.message == "objective=misspelled requires 'enrgy', which nothing provides"
    assert "objective=ssm" in ways(problem.hint)


def test_invalid_nodes_are_ignored():
    assert problems("objective._target_=os.system") == []
    assert problems("energy._target_=ebm_cli.gone.Gone sampler._target_=3") == []
    assert problems("objective=3") == []


@pytest.mark.parametrize("word", VOCABULARY)
def test_the_reason_if_one_capability_is_missing(word):
    others = frozenset(VOCABULARY) - {word} - ({"binary", "categorical"} if word == "discrete" else set())  # they imply it
    assert compatibility.lacking(frozenset({word}), others) == VOCABULARY[word].reason
    assert compatibility.lacking(frozenset({word}), frozenset({word})) is None


def test_the_reason_if_several_capabilities_are_missing():
    """It is the first one in the order of the vocabulary. An unknown capability is always missing."""
    assert compatibility.lacking(frozenset({"energy", "density"}), REAL) == "the true density of this dataset is not known"
    assert compatibility.lacking(frozenset(), frozenset()) is None
    assert compatibility.lacking(frozenset({"real", "enrgy"}), REAL) == "it requires 'enrgy', which nothing provides"


def test_components_require_and_provide_only_known_capabilities():
    for group in ("energy", "reference", "objective", "sampler", "regularizer", "metric", "figure"):
        for name, node in compatibility.options(group, ()).items():
            assert compatibility.requires(node, group) <= VOCABULARY.keys(), name
    for name, node in compatibility.options("dataset", ()).items():
        assert compatibility.class_of(node, "dataset").provides <= VOCABULARY.keys(), name


def test_provided_capabilities_of_a_config(own):
    def of(line):
        return compatibility.provides(compose.compose(line.split(), own).config)

    assert of("dataset=moons energy=mlp") == {"real", "density", "energy", "unconditional"}
    assert of("dataset=table energy=noise_score_mlp") == {"real", "noise_level", "unconditional"}
    assert of("dataset=classes energy=labelled") == {"real", "labels", "energy"}
