"""Draw the figures of a config that apply to a run, each into its own file."""

import os
import traceback
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ebm_cli import console
from ebm_cli.config import compatibility
from ebm_cli.config.option_files import train_defaults
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.errors import bad, place
from ebm_cli.io import inside


class Pictures(NamedTuple):
    """The pictures of a scene that were drawn, and the reasons why figures were not drawn, by option."""

    saved: list[Path]
    lacking: dict[str, str]  # the scene lacks something that the figure needs
    failed: dict[str, str]  # the figure raised an exception


def save_figures(folder: Path, figures: Mapping[str, Figure], scene: Scene, named: Collection[str] = ()) -> Pictures:
    """Draw every figure that applies to the scene, into files with the names of their options.

    An exception of a figure is shown as a warning, and the other figures are drawn. For the figures in `named`, a note gives the reason if
    they do not apply.
    """
    inside.make_folder(folder.parent, folder)
    if not len(scene.samples):
        console.say("there are no pictures of the samples, because there are no finite samples")
    pictures = Pictures([], {}, {})
    for name, figure in figures.items():
        path, partial = folder / f"{name}{figure.suffix}", folder / f".{os.getpid()}.{name}{figure.suffix}"
        if path.name != f"{name}{figure.suffix}" or path.parent != folder:
            raise bad(f"figure: {name!r} is not a valid name of a figure")
        if wrong := inside.fault(path):
            raise bad(f"{folder}: {wrong}", inside.HINT)
        try:
            if reason := lacking(figure, scene):
                pictures.lacking[name] = reason
                if name in named:
                    console.say(f"note: figure={name} cannot be drawn: {reason}")
                continue
            partial.unlink(missing_ok=True)  # a folder from somebody else may have a link of this name
            figure.save(scene, partial)
            partial.replace(path)
            pictures.saved.append(path)
        except (Exception, SystemExit) as error:  # a mistake in a figure must not cost the results of the run
            pictures.failed[name] = f"{type(error).__name__}: {error}{place(error)}"
            console.say(f"warning: figure={name} failed: {pictures.failed[name]}")
            if os.environ.get("EBM_DEBUG"):
                for line in "".join(traceback.format_exception(error)).splitlines():
                    console.say(line)
        finally:
            partial.unlink(missing_ok=True)
    return pictures


def lacking(figure: Figure, scene: Scene) -> str | None:
    """The reason why a figure cannot be drawn for a scene; None if it can be drawn."""
    provides = scene.model.provides | {scene.kind} | (scene.dataset.provides if scene.dataset else frozenset())
    return compatibility.lacking(figure.requires, provides) or figure.lacking(scene)


def chosen(figures: Iterable[str]) -> set[str]:
    """The figures that were chosen by name. Those of conf/train.yaml, if all are there, were not: they are drawn where they apply."""
    names, usual = set(figures), set(train_defaults()["figure"])
    return names - usual if usual <= names else names
