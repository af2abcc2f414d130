"""The words of a command line as overrides: what each sets, and what is wrong with it.

They are looked through before Hydra composes them, so that every fault is named at once and in one form, and so that an unknown key is
answered with the nearest known one and never made live.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ebm_cli.errors import Problem, nearest

LISTS = ("metric", "regularizer")  # groups of which several options go together
OPTIONAL = ("experiment", "logger")  # groups that may be null
HYDRA = ("hydra.", "hydra/")  # keys and groups that are Hydra's own
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")


def is_hydras(word: str) -> bool:
    """Whether an override is of Hydra's own part of the config."""
    return word.lstrip("+~").startswith(HYDRA)


def parse(word: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word)


def sort(words: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Overrides as (group: word, key: word, problems)."""
    from hydra.errors import HydraException

    options: dict[str, str] = {}
    values: dict[str, str] = {}
    problems = []
    for word in words:
        try:
            override = parse(word)
        except HydraException:
            key, equals, value = word.partition("=")
            hint = f"""quote special characters: '{key}="{value}"'""" if equals else "overrides have the form key=value or group=option"
            problems.append(Problem(f"{word!r} cannot be read", hint))
            continue
        key = override.key_or_group
        problem = _fault(override, word, key, known)
        if problem:
            problems.append(problem)
        elif key in known:
            options[key] = word
        else:
            values[key] = word
    return options, values, problems


def _fault(override: Any, word: str, key: str, known: Mapping[str, Mapping[str, Any]]) -> Problem | None:
    """What is wrong with an override, as far as it can be told without the config."""
    if key.startswith(HYDRA):
        return hydra_fault(word) or Problem(f"{word}: Hydra's own keys are for sweeps", "add -m")
    if override.is_delete():
        return Problem(
            f"{word}: nothing can be taken out of a config",
            f"{key}=[]" if key in LISTS else "choose another option, or set a value to null",
        )
    if word.startswith("+") and key in known:
        return Problem(f"{word}: nothing can be added to a config", f"without the plus: {word.lstrip('+')}")
    if override.is_sweep_override():
        return Problem(f"{word}: several values at once make a sweep", "add -m")
    if key not in known:
        return None
    value = override.value()
    if (not isinstance(value, list) and str(value) in known[key]) or (value is None and key in OPTIONAL):
        return None
    if isinstance(value, list) and key not in LISTS:
        return Problem(
            f"{word}: the group {key} takes one option", "separate options by a comma, without brackets, and add -m, for a sweep"
        )
    wrong = [str(one) for one in (value if isinstance(value, list) else [value]) if str(one) not in known[key]]
    if not wrong:
        return None
    return Problem(f"{key}: there is no option {', '.join(map(repr, wrong))}", nearest(wrong[0], known[key], f"{key}="))


def hydra_fault(word: str) -> Problem | None:
    """Hydra makes no folders here: what would tell it where is refused."""
    if word.partition("=")[0].lstrip("+~") in FOLDERS:
        return Problem(f"{word} is not yours to set", "runs live under outputs/, or under the folder that EBM_OUTPUTS names")
    return None


def note(problem: Problem | None, problems: list[Problem]) -> bool:
    """Whether there is a problem, which is then noted."""
    problems += [problem] if problem else []
    return problem is not None


def misplaced(word: str, key: str, config: Any) -> Problem | None:
    """The problem with a word whose dotted key a config does not have, or that would add one."""
    unknown = _unknown(key, config)
    if word.startswith("+"):
        return Problem(f"{word}: nothing can be added to a config", unknown.hint if unknown else f"without the plus: {word.lstrip('+')}")
    return unknown


def _unknown(key: str, config: Any) -> Problem | None:
    """The problem with a dotted key that a config does not have."""
    *path, last = key.split(".")
    place = ""
    for part in (*path, last):
        if not isinstance(config, Mapping):
            elsewhere = str(config)[2:-1] if str(config).startswith("${") else ""
            hint = f"it is set by {elsewhere}.{key[len(place) :]}" if elsewhere else ""
            return Problem(f"{key}: {place.rstrip('.')} is a value, it holds no keys", hint)
        if part not in config and f"{part}." == key[: len(part) + 1] and part in OPTIONAL:
            return Problem(f"{key}: no option of the group {part} is chosen", f"{part}=...; `ebm list {part}` shows what there is")
        if part not in config:
            target = str(config.get("_target_", "")).rpartition(".")[2]
            what = f"{target} has no parameter {part!r}" if target else f"there is no key {part!r}"
            return Problem(f"{key}: {what}", nearest(part, (str(name) for name in config if name not in ("_target_", "hydra")), place))
        config, place = config[part], f"{place}{part}."
    return None


def swept(word: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """`key=value` for each value of a sweep; nothing for a single value or for what only a sweeper can expand."""
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    try:
        override = parse(word)
    except HydraException:
        return
    if override.is_discrete_sweep():
        key, values = override.get_key_element(), override.value()
        names = values.filter(list(known.get(key, ()))) if isinstance(values, Glob) else override.sweep_string_iterator()
        yield from (f"{key}={name}" for name in names)
