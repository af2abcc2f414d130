"""The words of a command line as overrides: what each sets, and what is wrong with it.

They are looked through before Hydra composes them, so that every fault is named at once and in one form, and so that an unknown key is
answered with the nearest known one and never made live.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ebm_cli.config.settings import LISTS, OPTIONAL
from ebm_cli.errors import Problem, nearest

HYDRA = ("hydra.", "hydra/")  # keys and groups that are Hydra's own
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")


class Choices(NamedTuple):
    """The values of a sweep, as words have them."""

    values: list[str]
    ordered: bool  # as those of a range are


class Interval(NamedTuple):
    """Numbers from one end to the other, both included; whole numbers where both ends are."""

    low: int | float
    high: int | float
    log: bool  # on a logarithmic scale


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
        search = " hydra/sweeper=optuna" if override.is_interval_sweep() else ""
        return Problem(f"{word}: several values at once make a sweep", f"add -m{search}")
    if key not in known:
        return None
    value = override.value()
    if (not isinstance(value, list) and str(value) in known[key]) or (value is None and key in OPTIONAL):
        return None
    if isinstance(value, list) and key not in LISTS:
        return Problem(
            f"{word}: the group {key} takes one option", "separate options by a comma, without brackets, and add -m, for a sweep"
        )
    if key in LISTS and str(value).lower() in ("none", "null"):
        return Problem(f"{word}: the group {key} takes a list of options", f"{key}=[] for none of them")
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
        if not place and part in OPTIONAL and part not in config:
            return Problem(f"{key}: no option of the group {part} is chosen", f"{part}=...; `ebm list {part}` shows what there is")
        if part not in config:
            target = str(config.get("_target_", "")).rpartition(".")[2]
            what = f"{target} has no parameter {part!r}" if target else f"there is no key {part!r}"
            inside = [f"{name}.{part}" for name, node in config.items() if not place and isinstance(node, Mapping) and part in node]
            if inside:
                return Problem(f"{key}: {what}", f"did you mean {' or '.join(inside)}?")
            return Problem(f"{key}: {what}", nearest(part, (str(name) for name in config if name not in ("_target_", "hydra")), place))
        config, place = config[part], f"{place}{part}."
    return None


def dimension(word: str, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, Choices | Interval] | None:
    """The key of a word that has several values, and these; None for a word that has one."""
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    try:
        override = parse(word)
    except HydraException:
        return None
    key, values = override.get_key_element(), override.value()
    if override.is_interval_sweep():
        return key, Interval(values.start, values.end, "log" in values.tags)
    if not override.is_discrete_sweep():
        return None
    if isinstance(values, Glob):
        return key, Choices(values.filter(list(known.get(key, ()))), ordered=False)
    values.shuffle = False  # a search that is started again asks for the same
    return key, Choices(list(override.sweep_string_iterator()), ordered=override.is_range_sweep())


def swept(word: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """`key=value` for each value of a sweep, for both ends of an interval; nothing for a single value."""
    if found := dimension(word, known):
        key, values = found
        yield from (f"{key}={value}" for value in (values.values if isinstance(values, Choices) else (values.low, values.high)))
