"""What components require and provide, and a check that refuses incompatible components before anything runs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ebm_cli.config import option_files, schema
from ebm_cli.config.compose import Composed
from ebm_cli.config.overrides import key_of
from ebm_cli.core import model
from ebm_cli.errors import InputError, Problem
from ebm_cli.types import implied


class Capability(NamedTuple):
    """A capability that a component can require, and the texts that describe it."""

    group: str  # the group whose options provide it
    what: str  # its name, as in "objective=nce needs an energy"
    without: str  # what an option without it does instead
    reason: str  # why a number or a picture is missing without it


def _kind(name: str) -> Capability:
    """The capability of a dataset whose events are of this kind."""
    return Capability("dataset", f"{name} events", "has events of another kind", f"the events are not {name}")


VOCABULARY = {
    "real": _kind("real"),
    "binary": _kind("binary"),
    "categorical": _kind("categorical"),
    "discrete": _kind("discrete"),  # binary or categorical
    "labels": Capability("dataset", "labels", "has none", "the data have no labels"),
    "anomalies": Capability("dataset", "labels of anomalies", "has none", "the data have no labels of anomalies (dataset.anomaly)"),
    "density": Capability("dataset", "a known density", "has none", "the true density of this dataset is not known"),
    "energy": Capability("energy", "an energy", "outputs the score itself", "the network outputs the score itself: there is no energy"),
    "noise_level": Capability("energy", "an energy with a noise level", "takes no noise level", "the energy takes no noise level"),
    "block_gibbs": Capability("energy", "block-Gibbs transitions", "has none", "the energy has no block-Gibbs transitions"),
    "ising": Capability("energy", "an Ising energy", "is none", "the energy is not that of an Ising model"),
    "unconditional": Capability("energy", "an energy without labels", "takes labels", "the energy depends on a label"),
}
NOT_GIVEN = {  # by class attribute of an energy: the message if the objective does not provide this input of the energy
    "takes_noise_level": "takes a noise level, but {} provides none",
    "takes_labels": "takes labels, but {} evaluates points without labels",
}
ASKING = ("energy", "reference", "objective", "sampler", "regularizer")  # groups whose options can require something
TRAINING = ("objective", "regularizer")  # groups that do not matter if the energy has no parameters


class Fault(NamedTuple):
    """Two incompatible components."""

    group: str  # of the component whose requirement is not met
    other: str  # of the component that does not provide it
    word: str  # a key of VOCABULARY, or of NOT_GIVEN


def lacking(requires: frozenset[str], provides: frozenset[str]) -> str | None:
    """The reason why something with these requirements does not apply; None if it applies."""
    words = [word for word in VOCABULARY if word in requires - implied(provides)]
    if unknown := sorted(requires - VOCABULARY.keys()):
        return f"it requires {unknown[0]!r}, which nothing provides"
    return VOCABULARY[words[0]].reason if words else None


def problems(composed: Composed) -> list[Problem]:
    """The requirements of components that the data or the energy do not provide. Invalid nodes are ignored: the schema reports them."""
    nodes, choices = composed.config, composed.choices
    if analytic(nodes.get("energy")):
        message = f"energy={choices['energy']} is analytic: there is nothing to train"
        return [Problem(message, f"sample it: ebm sample energy={choices['energy']}")]
    return [Problem(_sentence(composed, fault), _hint(composed, fault)) for fault in _faults(nodes)]


def _faults(nodes: Mapping[str, Any]) -> list[Fault]:
    """The pairs of incompatible components in a config."""
    offered, found = provides(nodes), []
    asking = ASKING if learns(nodes.get("energy")) else [group for group in ASKING if group not in TRAINING]
    for group in asking:
        node = nodes.get(group)
        if group == "objective" and isinstance(node, Mapping) and node.get("sampler") == nodes.get("sampler"):
            node = {key: value for key, value in node.items() if key != "sampler"}  # it is checked in its own group
        for word in sorted(requires(node, group) - offered):
            found.append(Fault(group, VOCABULARY[word].group if word in VOCABULARY else group, word))
    energy, objective = class_of(nodes.get("energy"), "energy"), class_of(nodes.get("objective"), "objective")
    if "objective" not in asking:
        return found
    if getattr(energy, "takes_noise_level", False) and "noise_level" not in getattr(objective, "requires", ()):  # without its sampler
        found.append(Fault("objective", "energy", "takes_noise_level"))
    if getattr(energy, "takes_labels", False) and not getattr(objective, "takes_labels", True):
        found.append(Fault("objective", "energy", "takes_labels"))
    return found


def _sentence(composed: Composed, fault: Fault) -> str:
    """The message for a fault, which names both components."""
    group, other = (f"{name}={name_of(composed, name)}" for name in fault[:2])
    if fault.word in NOT_GIVEN:
        return f"{other} {NOT_GIVEN[fault.word].format(group)}"
    if fault.word not in VOCABULARY:
        return f"{group} requires {fault.word!r}, which nothing provides"
    capability = VOCABULARY[fault.word]
    if fault.word == "noise_level":
        return f"{group} uses several noise levels, but {other} {capability.without}"
    return f"{group} needs {capability.what}, but {other} {capability.without}"


def _hint(composed: Composed, fault: Fault) -> str:
    """The options of both groups that repair a fault without causing another."""
    repairs, others = [], {*_faults(composed.config)} - {fault}
    for group in dict.fromkeys(fault[:2]):
        works = [
            option
            for option, node in options(group, composed.dirs).items()
            if (group != "energy" or trainable(node)) and others.issuperset(_faults(_with(composed, group, option, node)))
        ]
        if works or group in schema.KINDS_OF_LISTS:
            repairs.append(f"{group}={' or '.join(works) or '[]'}")
    return ", or ".join(repairs)


def _with(composed: Composed, group: str, option: str, node: Any) -> dict[str, Any]:
    """The config with another option of a group, and with the options of other groups that follow from it."""
    nodes, known = {**composed.config, group: node}, option_files.groups(composed.dirs)
    objective = composed.config.get("objective")
    shared = isinstance(objective, Mapping) and objective.get("sampler") == composed.config.get("sampler")
    for other, name in _following(composed, group, known[group][option].path).items():
        nodes[other] = option_files.node_of(known[other][name].path)
    if shared and group != "objective" and nodes["sampler"] != composed.config.get("sampler"):
        nodes["objective"] = {**nodes["objective"], "sampler": nodes["sampler"]}
    return nodes


def _following(composed: Composed, group: str, path: Path) -> dict[str, str]:
    """The options that follow from another option of a group, unless the line gives them: {group: option}."""
    given, usual = {key_of(word) for word in composed.words}, option_files.train_defaults()
    own = option_files.defaults(path)
    if group == "energy":
        known = option_files.groups(composed.dirs)["objective"]
        of_objective = option_files.defaults(known[composed.choices["objective"]].path) if composed.choices["objective"] in known else {}
        own = {"sampler": (usual | of_objective | own)["sampler"]}
    elif group != "dataset":
        return {}
    return {other: name for other, name in own.items() if other in ASKING and isinstance(name, str) and other not in given}


def provides(nodes: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities of the dataset and the model of a config. An invalid node counts as providing the usual ones."""
    dataset, energy = class_of(nodes.get("dataset"), "dataset"), class_of(nodes.get("energy"), "energy")
    of_model = model.provides(energy) if energy else frozenset({"energy", "unconditional"})
    return of_model | (implied(dataset.provided(nodes["dataset"])) if dataset else frozenset({"real", "density", "labels", "anomalies"}))


def analytic(energy: Any) -> bool:
    """Whether an energy is built from its config alone, without a run."""
    return not getattr(class_of(energy, "energy"), "trainable", True)


def stands_alone(energy: Any) -> bool:
    """Whether an energy can be sampled without a run."""
    return analytic(energy) or getattr(class_of(energy, "energy"), "stands_alone", False)


def learns(energy: Any) -> bool:
    """Whether the runs of an energy train parameters."""
    return getattr(class_of(energy, "energy"), "learns", True)


def trainable(energy: Any) -> bool:
    """Whether an energy has parameters to train."""
    return learns(energy) and not analytic(energy)


def requires(node: Any, group: str) -> frozenset[str]:
    """What a component requires, together with its own sampler or kernel if it has one; no other component inside it is looked at.

    For the node of a group of lists, what any of its components requires. An energy that takes labels requires labels.
    """
    if not isinstance(node, Mapping):
        return frozenset()
    if group in schema.KINDS_OF_LISTS:
        return frozenset().union(*(getattr(class_of(entry, group), "requires", ()) for entry in node.values()))
    target = class_of(node, group)
    inner = frozenset().union(*(requires(node[key], "sampler") for key in ("sampler", "kernel") if key in node))
    labels = {"labels"} if group == "energy" and getattr(target, "takes_labels", False) else frozenset()
    return getattr(target, "requires", frozenset()) | inner | labels


def name_of(composed: Composed, group: str) -> str:
    """The chosen option of a group, as it is written on a command line."""
    return composed.choices[group] if group in composed.choices else f"[{','.join(composed.config.get(group) or ())}]"


def options(group: str, dirs: Sequence[Path]) -> dict[str, Any]:
    """The node of every option of a group whose file can be read."""
    read, nodes = _wrapped if group in schema.KINDS_OF_LISTS else option_files.node_of, {}
    for option, found in option_files.groups(dirs)[group].items():
        with suppress(InputError):
            nodes[option] = read(found.path)
    return nodes


def _wrapped(path: Path) -> dict[str, Any]:
    """An option of a group of lists, in the form of the group's node."""
    return {path.stem: option_files.node_of(path)}


def class_of(node: Any, group: str) -> Any:
    """The class that a node names; None if it names no class of an allowed package."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema.resolve(target, group, schema.kind_of(group), []) if isinstance(target, str) else None
