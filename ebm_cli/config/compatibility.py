"""The vocabulary of what components require and provide, and the matcher: what does not go together is refused before anything runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ebm_cli.config import option_files, schema
from ebm_cli.config.compose import Composed
from ebm_cli.core import model
from ebm_cli.errors import Problem


class Capability(NamedTuple):
    """A word of the vocabulary."""

    group: str  # whose options provide it
    what: str  # as in "objective=nce needs an energy"
    without: str  # what an option of the group does instead
    reason: str  # why a number or a picture is absent


def _kind(name: str) -> Capability:
    return Capability("dataset", f"{name} events", "has events of another kind", f"the events are not {name}")


VOCABULARY = {
    "real": _kind("real"),
    "binary": _kind("binary"),
    "categorical": _kind("categorical"),
    "labels": Capability("dataset", "labels", "has none", "the data have no labels"),
    "density": Capability("dataset", "a known density", "has none", "the true density of this dataset is not known"),
    "energy": Capability("energy", "an energy", "outputs the score itself", "the network outputs the score itself: there is no energy"),
    "noise_level": Capability("energy", "an energy that takes a noise level", "takes none", "the energy takes no noise level"),
    "unconditional": Capability("energy", "an energy without labels", "takes labels", "the energy depends on a label"),
}
NOT_GIVEN = {  # marks of an energy, and what an objective does that does not give what the energy takes
    "takes_noise_level": "takes a noise level, and {} gives it none",
    "takes_labels": "takes labels, and {} evaluates points that have none",
}
ASKING = ("energy", "reference", "objective", "sampler", "regularizer")  # groups whose options require something


class Fault(NamedTuple):
    """Two components that do not go together."""

    group: str
    other: str
    word: str  # of the vocabulary: what the one requires and the other does not provide; or a mark of an energy


def lacking(requires: frozenset[str], provides: frozenset[str]) -> str | None:
    """The reason why something with these requirements does not apply; None where it does."""
    words = [word for word in VOCABULARY if word in requires - provides]
    if unknown := sorted(requires - VOCABULARY.keys()):
        return f"nothing provides {unknown[0]!r}"
    return VOCABULARY[words[0]].reason if words else None


def problems(composed: Composed) -> list[Problem]:
    """Components that require what the data or the energy do not provide. Nodes that name no component are left to the schema."""
    nodes, choices = composed.config, composed.choices
    if not trainable(nodes.get("energy")):
        message = f"energy={choices['energy']} is analytic: there is nothing to train"
        return [Problem(message, f"sample it: ebm sample energy={choices['energy']}")]
    return [Problem(_sentence(composed, fault), _hint(composed, fault)) for fault in _faults(nodes)]


def _faults(nodes: Mapping[str, Any]) -> list[Fault]:
    """What does not go together in a config."""
    offered, found = provides(nodes), []
    for group in ASKING:
        node = nodes.get(group)
        if group == "objective" and isinstance(node, Mapping) and node.get("sampler") == nodes.get("sampler"):
            node = {key: value for key, value in node.items() if key != "sampler"}  # the sampler speaks for itself
        for word in sorted(requires(node, group) - offered):
            found.append(Fault(group, VOCABULARY[word].group if word in VOCABULARY else group, word))
    energy, objective = class_of(nodes.get("energy"), "energy"), class_of(nodes.get("objective"), "objective")
    if getattr(energy, "takes_noise_level", False) and "noise_level" not in getattr(objective, "requires", ()):  # itself, not its sampler
        found.append(Fault("objective", "energy", "takes_noise_level"))
    if getattr(energy, "takes_labels", False) and not getattr(objective, "takes_labels", True):
        found.append(Fault("objective", "energy", "takes_labels"))
    return found


def _sentence(composed: Composed, fault: Fault) -> str:
    """What does not go together, with both sides."""
    group, other = (f"{name}={name_of(composed, name)}" for name in fault[:2])
    if fault.word in NOT_GIVEN:
        return f"{other} {NOT_GIVEN[fault.word].format(group)}"
    if fault.word not in VOCABULARY:
        return f"{group} requires {fault.word!r}, which nothing provides"
    capability = VOCABULARY[fault.word]
    if fault.word == "noise_level":
        return f"{group} works on a ladder of noise levels, and {other} takes none"
    return f"{group} needs {capability.what}, and {other} {capability.without}"


def _hint(composed: Composed, fault: Fault) -> str:
    """For both sides the options that mend a fault and bring no other."""
    ways, known = [], {*_faults(composed.config)} - {fault}
    for group in dict.fromkeys(fault[:2]):
        works = [
            option
            for option, node in options(group, composed.dirs).items()
            if (group != "energy" or trainable(node)) and known.issuperset(_faults(_with(composed.config, group, node)))
        ]
        if works or group in schema.KINDS_OF_LISTS:
            ways.append(f"{group}={' or '.join(works) or '[]'}")
    return ", or ".join(ways)


def _with(nodes: Mapping[str, Any], group: str, node: Any) -> dict[str, Any]:
    """A config with another option of a group. An objective's sampler that is the config's follows it."""
    objective = nodes.get("objective")
    if group == "sampler" and isinstance(objective, Mapping) and objective.get("sampler") == nodes.get("sampler"):
        return {**nodes, group: node, "objective": {**objective, "sampler": node}}
    return {**nodes, group: node}


def provides(nodes: Mapping[str, Any]) -> frozenset[str]:
    """What the data and the model of a config have to offer."""
    dataset, energy = class_of(nodes.get("dataset"), "dataset"), class_of(nodes.get("energy"), "energy")
    of_model = model.provides(energy) if energy else frozenset({"energy", "unconditional"})
    return of_model | getattr(dataset, "provides", frozenset({"real", "density", "labels"}))


def trainable(energy: Any) -> bool:
    """Whether an energy has anything to train."""
    return getattr(class_of(energy, "energy"), "trainable", True)


def requires(node: Any, group: str) -> frozenset[str]:
    """What a component, and a sampler or a reference inside it, requires; of a group where several go together, all of them."""
    if not isinstance(node, Mapping):
        return frozenset()
    if group in schema.KINDS_OF_LISTS:
        return frozenset().union(*(getattr(class_of(entry, group), "requires", ()) for entry in node.values()))
    target = class_of(node, group)
    inner = requires(node["sampler"], "sampler") if "sampler" in node else frozenset()
    labels = {"labels"} if group == "energy" and getattr(target, "takes_labels", False) else frozenset()
    return getattr(target, "requires", frozenset()) | inner | labels


def name_of(composed: Composed, group: str) -> str:
    """What a line calls the chosen option."""
    return composed.choices[group] if group in composed.choices else f"[{','.join(composed.config.get(group) or ())}]"


def options(group: str, dirs: Sequence[Path]) -> dict[str, Any]:
    """The nodes of a group's options."""
    read = _wrapped if group in schema.KINDS_OF_LISTS else option_files.node_of
    return {option: read(found.path) for option, found in option_files.groups(dirs)[group].items()}


def _wrapped(path: Path) -> dict[str, Any]:
    """An option of a group where several go together, as the group's node holds it."""
    return {path.stem: option_files.node_of(path)}


def class_of(node: Any, group: str) -> Any:
    """The class behind a node, inside the fence; None where there is none."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema.resolve(target, group, schema.kind_of(group), []) if isinstance(target, str) else None
