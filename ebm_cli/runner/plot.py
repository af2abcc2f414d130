"""Draw the figures of a config that apply to a run, each into its own file."""

import os
from collections.abc import Mapping
from pathlib import Path

from ebm_cli import console
from ebm_cli.config import compatibility
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.errors import bad
from ebm_cli.io import inside


def save_figures(folder: Path, figures: Mapping[str, Figure], scene: Scene) -> list[Path]:
    """Write every figure that applies to the scene, into files with the names of their options."""
    inside.make_folder(folder.parent, folder)
    if not len(scene.samples):
        console.say("there are no pictures of the samples, because no sample is finite")
    saved = []
    for name, figure in figures.items():
        provides = scene.model.provides | {scene.kind} | (scene.dataset.provides if scene.dataset else frozenset())
        if compatibility.lacking(figure.requires, provides) is None and figure.applies(scene):
            path, partial = folder / f"{name}{figure.suffix}", folder / f".{os.getpid()}.{name}{figure.suffix}"
            if path.name != f"{name}{figure.suffix}" or path.parent != folder:
                raise bad(f"figure: {name!r} is no name of a picture")
            if wrong := inside.fault(path):
                raise bad(f"{folder}: {wrong}", inside.HINT)
            try:
                figure.save(scene, partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            saved.append(path)
    return saved
