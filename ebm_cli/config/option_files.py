"""The YAML files of the config groups: their places, their names, their contents and their comments.

The first comment line of an option's file is its description, and the second is its reference. A line `# chapter: 2.1 Title` gives its
place in a course.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ebm_cli.config.roles import LISTS
from ebm_cli.errors import InputError, Problem, bad
from ebm_cli.io import yaml_text

PLACES = ("*.yaml", "*/*.yaml", "hydra/*/*.yaml")  # of the files that Hydra reads in a folder of configs


class Option(NamedTuple):
    """An option of a config group."""

    description: str
    reference: str
    path: Path
    chapter: str = ""


def conf_dir() -> Path:
    """The folder of the configs. It is inside an installed package, and beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


def groups(dirs: Sequence[Path] = ()) -> dict[str, dict[str, Option]]:
    """Every group with its options, including those in the user's folders, in the order of the course and then by name.

    Raises `InputError` if a file of the user has the place of another file: only one of the two could be used.
    """
    found: dict[str, dict[str, Option]] = {}
    places: dict[Path, Path] = {}
    own = {path.resolve(): path for path in dirs if path.resolve() != conf_dir()}
    for place, option in (*_packaged(), *(entry for folder in own.values() for entry in _files(folder))):
        if (first := places.setdefault(place, option.path)) != option.path:
            message = f"{option.path} has the name of another option: {first}"
            raise bad(message, f"rename it, for example to my_{option.path.name}")
        if len(place.parts) == 2:
            found.setdefault(option.path.parent.name, {})[option.path.stem] = option
    return {
        group: dict(sorted(options.items(), key=lambda item: (not item[1].chapter, item[1].chapter, item[0])))
        for group, options in found.items()
    }


@lru_cache
def _packaged() -> tuple[tuple[Path, Option], ...]:
    """The files of the package, which are read once per process."""
    return tuple(_files(conf_dir()))


def _files(folder: Path) -> Iterator[tuple[Path, Option]]:
    """The files that Hydra reads in a folder of configs: the place of each in the folder, and its option."""
    for path in sorted(path for pattern in PLACES for path in folder.glob(pattern) if path.is_file()):
        yield path.relative_to(folder), Option(*comments(path), path, chapter(path))


def load(path: Path) -> dict[str, Any]:
    """The content of an option's file. Raises `InputError` with the file, the line and the column."""
    try:
        content = yaml_text.load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml_text.Error) as error:
        raise InputError(unreadable(error, path)) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise bad(f"{path}: an option is a group of keys, not {content!r}", "its lines have the form key: value")
    return content


def check(path: Path) -> None:
    """Raise `InputError` if an option cannot be used: its file cannot be read, or the place of its keys is missing."""
    load(path)
    if path.parent.name in LISTS:
        check_named(path)
    if path.parent.name == "experiment" and not re.match(r"\s*#\s*@package ", _text(path)):
        raise bad(f"{path}: the first line of an experiment says where its keys belong", "make this its first line: # @package _global_")


def unreadable(error: Exception, path: Path | None = None) -> Problem:
    """The problem with a file that is not valid YAML. Without a path, the file is the one that the error names."""
    if isinstance(error, UnicodeDecodeError):
        return Problem(f"{path or 'a file of an option'} is not text in UTF-8: {error.reason} at byte {error.start}", "save it in UTF-8")
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return Problem(f"{path}: {' '.join(str(error).split())}", "correct this file")
    place = f"{path or mark.name}, line {mark.line + 1}, column {mark.column + 1}"
    return Problem(f"{place}: {error.problem}", "correct this line; only plain YAML is read, without Python objects")


def node_of(path: Path) -> Any:
    """The component in an option's file, without the defaults list. If the file contains only one named node, the content of this node."""
    node = {key: value for key, value in load(path).items() if key != "defaults"}
    inner = next(iter(node.values()), None)
    return inner if len(node) == 1 and isinstance(inner, dict) else node


def check_named(path: Path) -> None:
    """Raise `InputError` if the values in a file of a group of lists are not nested under a name."""
    content = load(path)
    if "_target_" in content or not content:
        first = f"{path.stem}:` and `  _target_: {content.get('_target_', 'MODULE.CLASS')}"
        message = f"{path}: the values of an option of {path.parent.name} are nested under its name"
        raise bad(message, f"the first lines are `{first}`; indent the others like the second")


def defaults(path: Path) -> dict[str, Any]:
    """The options that a file's defaults list chooses, by group: a name, a list of names, or None."""
    return {group: option for group, package, option in _entries(path) if package in ("", "_global_", f"_global_.{group}")}


def placed(path: Path) -> dict[str, tuple[str, str]]:
    """The options that a file's defaults list places inside the file's own node, as {key: (group, option)}."""
    return {package: (group, option) for group, package, option in _entries(path) if package and not package.startswith("_global_")}


def _entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    """The group, package and option of every entry of a defaults list."""
    for entry in load(path).get("defaults", ()):
        for key, option in entry.items() if isinstance(entry, dict) else ():
            group, _, package = key.removeprefix("override ").partition("@")
            yield group.lstrip("/"), package, option


@lru_cache
def train_defaults() -> dict[str, Any]:
    """The option of every group if the command line chooses none."""
    return defaults(conf_dir() / "train.yaml")


def chapter(path: Path) -> str:
    """The chapter of an option, as in `2.1 Title`; empty if it has none."""
    found = re.search(r"^# chapter: (.+)$", _text(path), re.MULTILINE)
    return found[1] if found else ""


def comments(path: Path) -> tuple[str, str]:
    """The first two comment lines of a config file; empty strings if it has fewer."""
    lines = _text(path).splitlines() if path.is_file() else []
    first, second, *_ = [*(line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line), "", ""]
    return first, second


def _text(path: Path) -> str:
    """The text of a file for its comments. An option that is not chosen can be damaged without consequences."""
    return path.read_text(encoding="utf-8", errors="replace")
