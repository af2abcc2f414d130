"""Validation of configs. The signature of a component's class is its schema: a node is checked against it before anything is built.

A `_target_` is accepted only if it names a class of the kind that its group expects, and if the `__module__` of this class lies in
ebm_cli, torch.nn, torch.optim or a package that the user allows (EBM_ALLOW=package,package).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from inspect import Parameter, isclass, isfunction, signature
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from ebm_cli.config.roles import OPTIONAL
from ebm_cli.config.settings import SweepSettings, TrainerSettings, root
from ebm_cli.core import contracts, figure, metric
from ebm_cli.core.chain import Draws
from ebm_cli.errors import InputError, Problem, bad, nearest, own_packages

KINDS = {
    "dataset": contracts.Dataset,
    "energy": contracts.Energy,
    "reference": contracts.Reference,
    "objective": contracts.Objective,
    "sampler": contracts.Sampler,
    "optimizer": contracts.Optimizer,
    "logger": contracts.Logger,
}
KINDS_OF_LISTS = {"metric": metric.Metric, "regularizer": contracts.Regularizer, "figure": figure.Figure}
PLAIN = {"trainer": TrainerSettings, "draws": Draws, "sweep": SweepSettings}
INJECTED = ("space", "shape", "mean", "scale", "reference")  # parameters of an energy that come from the data, not from its config
FENCE = ("ebm_cli", "torch.nn", "torch.optim")
A_LIST = "must be a list such as [a,b]"
WORDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("sequence_str", "list_type", "tuple_type", "is_instance_of"), A_LIST),
}
OTHERS = {  # errors of values of the right kind, and of kinds that have no number or list
    "too_short": "must have at least one value",
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    "string_type": "must be text",
}
CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


def check(config: Mapping[str, Any], known: Sequence[Problem] = ()) -> dict[str, Any]:
    """The config with every value converted to its type (1 becomes 1.0 if the type is float).

    Raises `InputError` with all problems, including those that are `known` already.
    """
    problems = list(known)
    nodes = {**KINDS, **KINDS_OF_LISTS, **PLAIN}
    typed = check_signature(root, {key: value for key, value in config.items() if key not in nodes}, "", problems)
    for key, kind in KINDS.items():
        left_out = key in OPTIONAL and config.get(key) is None
        typed[key] = None if left_out else check_node(config.get(key), key, kind, problems)
    for key, kind in KINDS_OF_LISTS.items():
        typed[key] = {name: check_node(node, f"{key}.{name}", kind, problems) for name, node in (config.get(key) or {}).items()}
    for key, target in PLAIN.items():
        typed[key] = check_signature(target, config.get(key), key, problems)
    refuse(_without_repetitions(problems))
    return typed


def _without_repetitions(problems: Sequence[Problem]) -> list[Problem]:
    """Without the problems of a component that an objective or a metric shares with the config: they are those of the component itself."""
    messages = {problem.message for problem in problems}

    def repeated(message: str) -> bool:
        parts = message.partition(":")[0].split(".")
        return any(message.removeprefix(".".join(parts[:n]) + ".") in messages for n in range(1, len(parts)))

    return [problem for problem in problems if not repeated(problem.message)]


def refuse(problems: Sequence[Problem]) -> None:
    """Raise `InputError` if there are problems."""
    if problems:
        raise InputError(*problems)


def kind_of(group: str) -> type:
    """The contract of the components of a group."""
    return (KINDS | KINDS_OF_LISTS)[group]


def check_node(node: Any, key: str, kind: type, problems: list[Problem]) -> dict[str, Any]:
    """A component's node with typed values. Its problems are added to `problems`."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        hint = f"choose an option of the group: {key.partition('.')[0]}=..."
        inner = next(iter(node.items()), ("", None)) if isinstance(node, Mapping) and len(node) == 1 else ("", None)
        if _names_a_target(inner[1]):
            hint = f"its keys are nested under {inner[0]!r}; in a file of this group they are not: remove that line, and indent no other"
        problems.append(Problem(f"{key}: {node!r} is not a component: it has no _target_", hint))
        return {}
    target = resolve(node["_target_"], key, kind, problems)
    if target is None:
        return {}
    values = {name: value for name, value in node.items() if name != "_target_"}
    return {"_target_": node["_target_"], **check_signature(target, values, key, problems, injected=injected(kind, target))}


def injected(kind: type, target: type) -> tuple[str, ...]:
    """The parameters of a component that come from the data; none if it is built from its config alone."""
    trainable = kind is contracts.Energy and getattr(target, "trainable", True)
    own = {"shape"} if getattr(target, "stands_alone", False) else set()  # it takes the shape of its events from `space`
    return tuple(signature(target).parameters.keys() & {*INJECTED} - own) if trainable else ()


def resolve(target: str, key: str, kind: type, problems: list[Problem]) -> type | None:
    """The class that a `_target_` names as MODULE.CLASS; None, and a problem, if it may not be used."""
    module_name, _, name = target.rpartition(".")
    allowed = fence()
    where = f"{key}._target_: {target}"
    if not _inside(module_name, allowed):
        names = ",".join(dict.fromkeys((*own_packages(), module_name.partition(".")[0])))
        hint = f"if this package is your own, EBM_ALLOW={names} allows it" if module_name else "write it as MODULE.CLASS"
        problems.append(Problem(f"{where} lies outside {', '.join(allowed)}", hint))
        return None
    if own_packages() and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's package can be in the working directory
    try:
        found = vars(import_module(module_name)).get(name)
    except ImportError as error:
        problems.append(Problem(f"{where} cannot be imported: {error}"))
        return None
    if found is None:
        problems.append(
            Problem(
                f"{where}: {module_name} has no {name}",
                nearest(name, [n for n, v in vars(import_module(module_name)).items() if isclass(v)]),
            )
        )
    elif not isclass(found) or not _inside(found.__module__, allowed):
        problems.append(Problem(f"{where} is not a class of {', '.join(allowed)}"))
    elif missing := [method for method in _methods(kind) if not callable(getattr(found, method, None))]:
        hint = f"derive it from {kind.__module__}.{kind.__name__}, and implement the missing methods"
        problems.append(Problem(f"{where} is not a valid {kind.__name__.lower()}: it has no {', '.join(missing)}", hint))
    else:
        return found
    return None


def fence() -> tuple[str, ...]:
    """The packages whose classes a config may name. Raises `InputError` if EBM_ALLOW names no package."""
    for name in own_packages():
        if not all(part.isidentifier() for part in name.split(".")):
            raise bad(f"EBM_ALLOW: {name!r} is not the name of a package", "separate the names by commas: EBM_ALLOW=one,two")
    return (*FENCE, *own_packages())


def packages(config: Any) -> set[str]:
    """The packages of this project and of the user whose classes a checked config names."""
    if isinstance(config, Mapping):
        inside = (packages(value) for value in config.values())
        own = {str(config.get("_target_", "")).partition(".")[0]} & {package.partition(".")[0] for package in ("ebm_cli", *own_packages())}
        return own.union(*inside)
    return set()


def build(node: Mapping[str, Any], *, at: str = "", **offered: Any) -> Any:
    """Build the component of a checked node, and before it the nodes inside it.

    It is given those of the `offered` arguments that its signature names. With `at`, the key of the node, errors of the nodes inside it
    name the full key (`energy.dataset.std`).
    """
    module_name, _, name = node["_target_"].rpartition(".")
    target = vars(import_module(module_name))[name]
    values = {
        key: _built_inside(value, key, at) if isinstance(value, Mapping) and "_target_" in value else value
        for key, value in node.items()
        if key != "_target_"
    }
    named = {key: value for key, value in offered.items() if key in signature(target).parameters and key not in values}
    return target(**named, **values)


def _built_inside(node: Mapping[str, Any], key: str, at: str) -> Any:
    """Build the node at `key` inside the node at `at`, and name the full key in its errors."""
    try:
        return build(node)
    except InputError as error:
        if not at:
            raise
        problems = [Problem(*(text.replace(f"{key}.", f"{at}.{key}.") for text in problem)) for problem in error.problems]
        raise InputError(*problems) from error


def parameters(target: Any, injected: tuple[str, ...] = ()) -> dict[str, Parameter]:
    """The parameters of a component that come from its config."""
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {name: found for name, found in signature(target).parameters.items() if name not in injected and found.kind not in variadic}


def check_signature(target: Any, values: Any, key: str, problems: list[Problem], *, injected: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values converted to the types of the parameters of `target`. Problems are added to `problems`; their keys start with `key`."""
    if not isinstance(values, Mapping):
        problems.append(Problem(f"{key}: must be a group of keys, not {values!r}"))
        return {}
    prefix, (model, known, hints) = f"{key}." if key else "", _model(target, injected)
    title = f"{target.__name__} has no parameter" if key else "there is no key"
    problems += [Problem(f"{prefix}{name}: {title} {name!r}", nearest(name, known, prefix)) for name in values if name not in known]
    nested = {name: hints[name] for name in known if name not in model.model_fields}
    given = {}
    for name in model.model_fields:
        if name in values:
            given[name] = values[name]
            if _names_a_target(values[name]):
                problems.append(Problem(f"{prefix}{name}: a _target_ is not allowed here"))
            if isinstance(values[name], bool) and not _takes(hints.get(name, Any), bool):
                problems.append(Problem(f"{prefix}{name}: must be a number, not {str(values[name]).lower()}"))
    try:
        typed = model.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        typed = {}
        problems += [_problem(prefix, fault) for fault in _of_its_kind(error.errors())]
    for name, kind in nested.items():
        typed[name] = check_node(values.get(name), f"{prefix}{name}", kind, problems)
    return typed


@lru_cache(maxsize=512)
def _model(target: Any, injected: tuple[str, ...]) -> tuple[Any, dict[str, Parameter], dict[str, Any]]:
    """The pydantic model of the plain parameters of a target, all parameters from its config, and their types."""
    known, hints = parameters(target, injected), get_type_hints(target if isfunction(target) else target.__init__, include_extras=True)
    fields = {
        name: (hints.get(name, Any), ... if parameter.default is Parameter.empty else parameter.default)
        for name, parameter in known.items()
        if not getattr(hints.get(name), "_is_protocol", False)
    }
    return create_model(getattr(target, "__name__", "node"), __config__=CONFIG, **fields), known, hints


def _of_its_kind(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors without those of the union member that was not meant.

    For a union of a number and a list, pydantic reports the errors of both members. If the value is a list, the error that it is not a
    number is irrelevant, and vice versa.
    """

    def other(error: Mapping[str, Any]) -> bool:
        if error["type"] not in WORDS or any(isinstance(part, int) for part in error["loc"]):  # the value has the right kind
            return False
        return (WORDS[error["type"]] == A_LIST) != isinstance(error["input"], list)

    kept = {error["loc"][0] for error in errors if not other(error)}
    return [error for error in errors if error["loc"][0] not in kept or not other(error)]


def _problem(prefix: str, error: Mapping[str, Any]) -> Problem:
    """A pydantic error in our form. The names of union members are left out of its location."""
    name, *rest = error["loc"]
    place = prefix + str(name) + "".join(f"[{part}]" for part in rest if isinstance(part, int))
    if error["type"] == "missing":
        return Problem(f"{place}: a value is needed", f"set {place}=...")
    message = (WORDS | OTHERS).get(error["type"]) or error["msg"].replace("Input should be", "must be").replace("Input ", "")
    return Problem(f"{place}: {message[0].lower()}{message[1:]}, not {error['input']!r}")


def _names_a_target(value: Any) -> bool:
    """Whether a plain value contains a _target_ anywhere. `build` would call it without a check."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(_names_a_target(inner) for inner in value.values())
    return isinstance(value, list) and any(_names_a_target(inner) for inner in value)


def _takes(hint: Any, kind: type) -> bool:
    """Whether a type, or a member of a union, accepts values of `kind`."""
    if get_origin(hint) in (Union, UnionType):
        return any(_takes(member, kind) for member in get_args(hint))
    return hint in (kind, Any, str)


def _inside(module: str, allowed: tuple[str, ...]) -> bool:
    """Whether a module belongs to one of these packages."""
    return any(module == package or module.startswith(f"{package}.") for package in allowed)


def _methods(kind: type) -> list[str]:
    """The methods that a contract demands."""
    found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_") or name == "__call__"}
    return [name for name, value in found.items() if isfunction(value)]
