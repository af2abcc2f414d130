"""The YAML files of the config groups: their places, their names, their contents and their comments.

The first comment line of an option's file is its description, and the second is its reference. A line `# chapter: 2.1 Title` gives its
place in a course.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ebm_cli.errors import bad
from ebm_cli.io import yaml_text


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
    """Every group with its options, including those in the user's folders, in the order of the course and then by name."""
    found: dict[str, dict[str, Option]] = {}
    for folder in (conf_dir(), *dirs):
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, Option(*comments(path), path, chapter(path)))
    return {
        group: dict(sorted(options.items(), key=lambda item: (not item[1].chapter, item[1].chapter, item[0])))
        for group, options in found.items()
    }


def node_of(path: Path) -> Any:
    """The component in an option's file, without the defaults list. If the file contains only one named node, the content of this node."""
    node = {key: value for key, value in (yaml_text.load(path.read_text()) or {}).items() if key != "defaults"}
    inner = next(iter(node.values()), None)
    return inner if len(node) == 1 and isinstance(inner, dict) else node


def check_named(path: Path) -> None:
    """Raise `InputError` if the values in a file of a group of lists are not nested under a name."""
    content = yaml_text.load(path.read_text()) or {}
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
    for entry in (yaml_text.load(path.read_text()) or {}).get("defaults", ()):
        for key, option in entry.items() if isinstance(entry, dict) else ():
            group, _, package = key.removeprefix("override ").partition("@")
            yield group.lstrip("/"), package, option


@lru_cache
def train_defaults() -> dict[str, Any]:
    """The option of every group if the command line chooses none."""
    return defaults(conf_dir() / "train.yaml")


def chapter(path: Path) -> str:
    """The chapter of an option, as in `2.1 Title`; empty if it has none."""
    found = re.search(r"^# chapter: (.+)$", path.read_text(), re.MULTILINE)
    return found[1] if found else ""


def comments(path: Path) -> tuple[str, str]:
    """The first two comment lines of a config file; empty strings if it has fewer."""
    lines = path.read_text().splitlines() if path.is_file() else []
    first, second, *_ = [*(line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line), "", ""]
    return first, second
