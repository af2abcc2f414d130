"""Files that an energy reads, such as the couplings of an Ising model: their hashes, and the copies that a run keeps.

The copies are in the folder `files` of the run, named KEY.TYPE after the key of the config, so that a run can be moved and loaded without
the original. environment.json has their sha256, by key, from which the id of the run is computed.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ebm_cli.config import compatibility
from ebm_cli.errors import bad
from ebm_cli.io import hashes, inside
from ebm_cli.runs.run import RUN_AGAIN, Run

FOLDER = "files"


def paths_of(node: Mapping[str, Any]) -> dict[str, str]:
    """The files that the node of an energy names, by key."""
    keys = getattr(compatibility.class_of(node, "energy"), "files", ())
    return {key: node[key] for key in keys if node.get(key) is not None}


def hashes_of(node: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of each of these files."""
    return {key: hashes.of_file(path, f"energy.{key}", "an existing file") for key, path in paths_of(node).items()}


def store(run: Run, node: Mapping[str, Any]) -> dict[str, str]:
    """Copy the files into the folder of the run. Returns their sha256."""
    found = hashes_of(node)
    for key, path in paths_of(node).items():
        content = Path(path).expanduser().read_bytes()
        if sha256(content).hexdigest() != found[key]:
            raise bad(f"energy.{key}: {path} is being changed by another program", "wait until it is complete")
        inside.make_folder(run.path, run.path / FOLDER)
        with inside.replacing(run.path, copy_of(run, key, path)) as file:
            file.write(content)
    return found


def own(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run with its own copies in place of the files. A copy that was changed is refused."""
    known, energy = run.read("environment.json").get("files", {}), dict(config["energy"])
    for key, path in paths_of(energy).items():
        copy = copy_of(run, key, path)
        try:
            content = inside.read(run.path, copy)
        except OSError as error:
            raise bad(f"{copy} cannot be read: {error.strerror}", f"put the file back, or {RUN_AGAIN}") from None
        if sha256(content).hexdigest() != known.get(key):
            raise bad(f"{copy} is not the file that the run was trained with", f"put the original file back, or {RUN_AGAIN}")
        energy[key] = str(copy)
    return {**config, "energy": energy}


def copy_of(run: Run, key: str, path: str) -> Path:
    """The copy of a file in the folder of a run. It keeps the suffixes, which say what the file holds."""
    suffixes = "".join(suffix for suffix in Path(path).suffixes[-2:] if suffix.lstrip(".").isalnum())
    return run.path / FOLDER / f"{key}{suffixes}"
