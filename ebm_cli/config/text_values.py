"""Text that looks like a number: Hydra reads `name=2024` as a number, and a run id such as 170e085322 as infinity."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from inspect import isfunction
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ebm_cli.config.compose import look
from ebm_cli.config.schema import PLAIN, resolve
from ebm_cli.config.settings import root


def as_typed(config: Mapping[str, Any], words: Sequence[str], keys: Callable[..., Any] = root) -> dict[str, Any]:
    """The config with the words as they were typed wherever the signature wants text. `keys` is the signature of the top level."""
    config = deepcopy(dict(config))
    for word in words:
        key, _, text = word.partition("=")
        place, _, name = key.rpartition(".")
        node = look(config, place) if place else config
        value = node.get(name) if isinstance(node, dict) else None
        if isinstance(value, bool | int | float | list):
            typed = _entries(value, text) if isinstance(value, list) else text
            if not _fits(value, hint := _hint(node, place, name, keys)) and _fits(typed, hint):
                node[name] = typed
    return config


def _entries(values: list[Any], text: str) -> list[Any]:
    """The entries of a list, as typed unless they are text or lists already."""
    typed = text.strip()[1:-1].split(",")
    if len(typed) != len(values):  # an entry is itself a list, or contains a comma in quotes
        return values
    return [value if isinstance(value, str | list) else word.strip() for value, word in zip(values, typed, strict=True)]


def _hint(node: Mapping[str, Any], place: str, name: str, keys: Callable[..., Any]) -> Any:
    """The type of a key of a node; Any if it is not known."""
    target = resolve(node["_target_"], place, object, []) if isinstance(node.get("_target_"), str) else PLAIN.get(place) if place else keys
    if target is None:
        return Any
    return get_type_hints(target if isfunction(target) else target.__init__, include_extras=True).get(name, Any)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type, or can be converted to it."""
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError:
        return False
    return True
