"""The file that a command writes because `out=FILE` names it. What cannot be written is refused before anything is computed."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ebm_cli.errors import bad


def check(out: str | None, suffixes: Collection[str]) -> Path | None:
    """The path in `out`, which ends in one of the suffixes and lies in a folder; None without one."""
    if out is None:
        return None
    path = Path(out).expanduser()
    if path.suffix.lower() not in suffixes:
        raise bad(f"out: {path.name} has an unknown file type", f"use one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise bad(f"out: there is no folder {str(path.parent)!r}", "create the folder, or name another one")
    return path


def keep_inputs(out: Path | None, config: Mapping[str, Any]) -> None:
    """Refuse to replace a file that the dataset or the energy of a run reads."""
    values = [value for group in ("dataset", "energy") for value in config.get(group, {}).values() if isinstance(value, str) and value]
    for path in (Path(value).expanduser() for value in values):
        if out and out.exists() and path.is_file() and out.samefile(path):
            raise bad(f"out: {out.name} is an input of this model, and would be replaced", f"out={out.with_name('new_' + out.name)}")
