"""Draw the figures of a run: those of its config that apply, each into a file of its own."""

from collections.abc import Mapping
from pathlib import Path

from ebm_cli import console
from ebm_cli.config import compatibility
from ebm_cli.core.figure import Figure, Scene


def save_figures(folder: Path, figures: Mapping[str, Figure], scene: Scene) -> list[Path]:
    """Write every figure that applies to the scene, named as its option is."""
    folder.mkdir(parents=True, exist_ok=True)
    if not len(scene.samples):
        console.say("no pictures of the samples: none of them is finite")
    saved = []
    for name, figure in figures.items():
        provides = scene.model.provides | {scene.kind} | (scene.dataset.provides if scene.dataset else frozenset())
        if compatibility.lacking(figure.requires, provides) is None and figure.applies(scene):
            path = folder / f"{name}{figure.suffix}"
            figure.save(scene, path)
            saved.append(path)
    return saved
