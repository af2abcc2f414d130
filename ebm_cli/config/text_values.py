"""Text that looks like a number: Hydra reads `name=2024` as a number, and a run id such as 170e085322 as infinity."""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from inspect import isfunction
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ebm_cli.config.compose import compose, look, one_at_a_time
from ebm_cli.config.option_files import groups
from ebm_cli.config.overrides import Choices, dimension, parse
from ebm_cli.config.schema import PLAIN, resolve
from ebm_cli.config.settings import root

FLAT = re.compile(r"[^][{}()'\"]+|\[[^][{}()'\"]+\]")  # a value, several of them, or a list, without quotes


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


def with_quotes(words: Sequence[str], dirs: Sequence[Path] = ()) -> list[str]:
    """The words of a sweep with quotes around text that Hydra would write in another way in its jobs: `1e5` as `100000.0`."""
    known = groups(dirs)
    changing = [word for word in words if _changes(word, known)]
    if not changing:
        return list(words)
    config = compose(next(one_at_a_time(words, dirs)), dirs).config
    return [_quoted(word, config) if word in changing else word for word in words]


def _changes(word: str, known: Mapping[str, Any]) -> bool:
    """Whether Hydra writes a value of an override in another way than it was typed."""
    from hydra.errors import HydraException

    key, _, text = word.partition("=")
    if key in known or not FLAT.fullmatch(text):
        return False
    found = dimension(word, known)
    if found is None:
        try:
            return parse(word).get_value_element_as_str() != text
        except HydraException:  # reported with the other problems of the line
            return False
    return isinstance(found[1], Choices) and ",".join(found[1].values) != text


def _quoted(word: str, config: Mapping[str, Any]) -> str:
    """The override with its values in quotes, except for null, if the signature wants text or a list of texts."""
    key, _, text = word.partition("=")
    place, _, name = key.rpartition(".")
    node = look(config, place) if place else config
    hint = _hint(node, place, name, root) if isinstance(node, Mapping) else Any
    number, a_text = ([1.5], ["text"]) if text.startswith("[") else (1.5, "text")
    if _fits(number, hint) or not _fits(a_text, hint):
        return word
    values = ",".join(value if value == "null" else f"'{value}'" for value in map(str.strip, text.strip("[]").split(",")))
    return f"{key}=[{values}]" if text.startswith("[") else f"{key}={values}"


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
        _adapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=512)
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
