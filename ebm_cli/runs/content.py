"""The content of a run folder: the names of its files, the types of what they hold, and what is foreign in it.

A run folder may come from somebody else or be damaged. Only the standard library is used, because every run is checked when it is listed.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ebm_cli.io import inside

ID = re.compile(r"[0-9a-f]{10}")
STEP = re.compile(r"[0-9]{8,12}")
SNAPSHOT = re.compile(r"[0-9]{8,12}\.safetensors|\.[0-9]{8,12}\.safetensors\.[0-9]+")  # a file, or its temporary name
STATES = ("new", "running", "finished", "interrupted", "failed", "diverged")
FILES = (
    *("config.yaml", "metrics.jsonl", "summary.json", "samples.npz", "dataset.json", "environment.json", "status.json", "mirrors.json"),
    *("train.log", "output.log", ".lock"),
)
FOLDERS = ("checkpoints", "snapshots", "figures", "files", "wandb", "tensorboard")
OF_LOGGERS = ("wandb", "tensorboard")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".gif", ".webp", ".mp4")
OF_CHECKPOINT = ("state.safetensors", "manifest.json")
LARGEST = 1e300  # a larger number cannot be computed with

Test = Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and abs(value) < LARGEST


def _is(*kinds: type) -> Test:
    return lambda value: isinstance(value, kinds)


def _one_of(*words: str) -> Test:
    return lambda value: isinstance(value, str) and value in words


def _list_of(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _dict_of(test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


_TEXT, _TEXTS, _GROUP = _is(str), _list_of(_is(str)), _is(dict)
_CODING: dict[str, Test] = {  # of the keys of the coding of a table (io/coding.py)
    "columns": _TEXTS,
    "values": _dict_of(_TEXTS),
    "shown": _dict_of(_TEXTS),
    "filled": _dict_of(is_number),
    "marked": _TEXTS,
}


def _is_coding(value: Any) -> bool:
    """Whether a value describes the coding of a table, whose parts name its columns."""
    if not isinstance(value, dict) or value.keys() != _CODING.keys() or not all(test(value[key]) for key, test in _CODING.items()):
        return False
    return {*value["values"], *value["filled"], *value["marked"]} <= {*value["columns"]} and value["values"].keys() == value["shown"].keys()


TYPES: dict[str, dict[str, Test]] = {  # of the keys of the JSON files that commands read
    "environment.json": {
        **{"created": is_number, "group": _is(str, type(None)), "differs": _TEXTS, "reproduce": _TEXT, "id": _TEXT},
        "choices": _dict_of(lambda value: value is None or isinstance(value, str) or _TEXTS(value)),
        **{"packages": _GROUP, "git": _GROUP, "device": _TEXT, "source": _dict_of(_TEXT), "files": _dict_of(_TEXT)},
    },
    "status.json": {"state": lambda value: value in STATES, "reason": _TEXT},
    "summary.json": {
        **{"n_steps": lambda value: type(value) is int, "headline": _TEXTS, "unaveraged": _TEXTS, "warnings": _TEXTS, "parameters": _TEXTS},
        **{"log_z_by": _TEXTS, "not_shown": _TEXTS},
        **dict.fromkeys(("log_z", "log_z_error", "log_z_learned", "nll", "kl"), lambda value: value is None or is_number(value)),
        **{"units": _dict_of(_TEXT), "best": _GROUP, "reasons": _GROUP, "ci95": _GROUP, "measured_with": _dict_of(_GROUP)},
        "per_seed": _dict_of(_list_of(lambda value: value is None or is_number(value))),
    },
    "dataset.json": {
        **{
            "shape": _list_of(lambda size: type(size) is int and size > 0),
            "kind": _one_of("real", "binary", "categorical"),
            "columns": _TEXTS,
            "named": _is(bool),
        },
        "n_states": lambda value: all(type(n) is int and n > 0 for n in (value if isinstance(value, list) else [value] if value else [])),
        **{
            "sha256": _TEXT,
            "mean": _is(list, float, int),
            "scale": _is(list, float, int),
            "labels": _TEXTS,
            "coding": _is_coding,
            "states": _dict_of(_TEXTS),
        },
    },
    "mirrors.json": {},
}
NEEDED = {  # the keys that these files have in every run
    "environment.json": ("created", "choices", "device", "reproduce", "differs"),
    "summary.json": ("n_steps", "reasons", "headline", "units", "best"),
    "dataset.json": ("shape", "kind", "n_states", "columns", "named", "mean", "scale", "matrix", "sha256"),
}


def misfit(name: str, data: Mapping[str, Any]) -> str:
    """The first key of a JSON file whose value has a wrong type, as a sentence; "" if there is none."""
    return next((f"{key} has a wrong type" for key, test in TYPES.get(name, {}).items() if key in data and not test(data[key])), "")


def lacking(name: str, data: Mapping[str, Any]) -> str:
    """The first needed key that a JSON file lacks, as a sentence; "" if it has all."""
    return next((f"{name} has no {key}" for key in NEEDED.get(name, ()) if key not in data), "")


def fault(path: Path) -> str:
    """What is wrong with the entries of a run folder, which are not opened; "" if they are files and folders."""
    found = (inside.fault(path / name, folder=name in FOLDERS) for name in (*FILES, *FOLDERS))
    return next(filter(None, found), "")


def is_partial(name: str) -> bool:
    """Whether this is the temporary name of one of our files."""
    whole, _, process = name.removeprefix(".").rpartition(".")
    return name.startswith(".") and process.isdigit() and whole in FILES


def foreign(path: Path) -> list[Path]:
    """The files and folders in a run folder that ebm did not write."""
    return [entry for entry, ours in _entries(path) if not ours]


def remove(path: Path) -> None:
    """Remove the files of a run. Its folder stays if foreign files are in it."""
    entries = [entry for entry, ours in _entries(path) if ours]
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            if entry.name in OF_LOGGERS:
                shutil.rmtree(entry)
        else:
            entry.unlink()
    for folder in [*sorted((entry for entry in entries if entry.is_dir()), reverse=True), path]:
        if not any(folder.iterdir()):
            folder.rmdir()


def _entries(path: Path) -> Iterator[tuple[Path, bool]]:
    """Every entry of a run folder, and whether it has a name that ebm gives. A folder comes before its content."""
    for entry in sorted(path.iterdir()):
        name, is_folder = entry.name, entry.is_dir() and not entry.is_symlink()
        if name in OF_LOGGERS:
            yield entry, (path / "mirrors.json").exists()
        elif is_folder and name == "figures":
            yield entry, True
            yield from ((picture, picture.suffix in PICTURES and not picture.is_dir()) for picture in sorted(entry.iterdir()))
        elif is_folder and name == "checkpoints":
            yield entry, True
            for step in sorted(entry.iterdir()):
                ours = step.is_dir() and bool(STEP.fullmatch(step.name.removeprefix(".partial-")))
                yield step, ours
                yield from ((file, file.name in OF_CHECKPOINT) for file in (sorted(step.iterdir()) if ours else ()))
        elif is_folder and name == "snapshots":
            yield entry, True
            yield from ((file, bool(SNAPSHOT.fullmatch(file.name)) and not file.is_dir()) for file in sorted(entry.iterdir()))
        elif is_folder and name == "files":
            yield entry, True
            yield from ((file, not file.is_dir()) for file in sorted(entry.iterdir()))
        else:
            yield entry, not is_folder and (name in (*FILES, *FOLDERS) or is_partial(name))
