"""Draw the figures of a config that apply to a run, each into its own file."""

from collections.abc import Mapping
from pathlib import Path

from ebm_cli import console
from ebm_cli.config import compatibility
from ebm_cli.core.figure import Figure, Scene


def save_figures(folder: Path, figures: Mapping[str, Figure], scene: Scene) -> list[Path]:
    """Write every figure that applies to the scene, into files with the names of their options."""
    folder.mkdir(parents=True, exist_ok=True)
    if not len(scene.samples):
        console.say("there are no pictures of the samples, because no sample is finite")
    saved = []
    for name, figure in figures.items():
        provides = scene.model.provides | {scene.kind} | (scene.dataset.provides if scene.dataset else frozenset())
        if compatibility.lacking(figure.requires, provides) is None and figure.applies(scene):
            path = folder / f"{name}{figure.suffix}"
            figure.save(scene, path)
            saved.append(path)
    return saved
