"""Pictures of a group of runs: curves over the course of training, a heat map over two settings, parallel coordinates over more."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ebm_cli.comparison import curves
from ebm_cli.comparison.compare import Comparison, Row
from ebm_cli.core import style
from ebm_cli.io import inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

MOST = 10  # curves of at most so many rows are drawn: the best ones
DASHES = ("-", "--", ":")  # the line styles of rows, which change when the colors have been used

Picture = Callable[[Comparison, str, str, str], "Drawing"]


def lacking(made: Comparison, key: str) -> dict[str, str | None]:
    """For each picture the reason why it cannot be drawn for these rows; None if it can be drawn."""
    measured = any(key in measured for row in made.rows for entry in row.entries for measured in entry.evaluated)
    settings = curves.swept(made.rows)
    means = sum(row.mean(key) is not None for row in made.rows)
    least = f"only {means} of {len(made.rows)} rows have a mean of {key}" if means < 2 else None
    return {
        "curves": None if measured else f"no run measured {key} during training",
        "heat_map": least or (None if len(settings) == 2 else f"the runs differ in {len(settings)} settings, not in two"),
        "parallel": least or (None if len(settings) > 2 else f"the runs differ in {len(settings)} settings, not in three or more"),
    }


def save(folder: Path, made: Comparison, key: str, title: str, unit: str, names: Sequence[str]) -> list[Path]:
    """Draw the named pictures into NAME.png. Returns their paths."""
    draw: Mapping[str, Picture] = {"curves": curves_of, "heat_map": heat_map, "parallel": parallel}
    folder.parent.mkdir(parents=True, exist_ok=True)
    inside.make_folder(folder.parent, folder)
    paths = []
    for name in names:
        path, partial = folder / f"{name}.png", folder / f".{os.getpid()}.{name}.png"
        with style.applied():
            draw[name](made, key, title, unit).savefig(partial, dpi=style.DPI, bbox_inches="tight")
        partial.replace(path)
        paths.append(path)
    return paths


def curves_of(made: Comparison, key: str, title: str, unit: str) -> "Drawing":
    """The metric against the costs, with 95 % intervals over the seeds."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.ticker import EngFormatter, MaxNLocator

    rows = [row for row in made.rows if any(key in measured for entry in row.entries for measured in entry.evaluated)][:MOST]
    drawing = Drawing(figsize=(style.WIDTH + 1.4, 4 + 0.24 * len(rows)), layout="constrained")
    axes = drawing.subplots(1, len(curves.COSTS), sharey=True)
    more = f"; the {len(rows)} best of {len(made.rows)} rows" if len(rows) < len(made.rows) else ""
    n_seeds = sorted({len(row.seeds) for row in rows})
    drawing.suptitle(f"{title}: mean over seeds, n = {', '.join(map(str, n_seeds))}, with 95 % t interval{more}")
    for axis, (cost, label) in zip(axes, curves.COSTS.items(), strict=True):
        for k, row in enumerate(rows):
            curve = curves.of_row(row, key, cost)
            color, dashes = style.CYCLE[k % len(style.CYCLE)], DASHES[k // len(style.CYCLE) % len(DASHES)]
            axis.plot(curve.cost, curve.mean, dashes, color=color, label=shown(curve.label), linewidth=1.5, marker="o", markersize=2.5)
            axis.fill_between(curve.cost, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[0].set_ylabel(with_unit(key, unit))
    means = np.concatenate([line.get_ydata() for line in axes[0].lines])
    means = means[np.isfinite(means)]
    if len(means) and means.min() > 0 and means.max() > 5 * means.min():
        axes[0].set_yscale("log")
        axes[0].set_ylim(means.min() / 1.5, means.max() * 1.5)  # wide intervals of few seeds would hide the means
    elif len(means):
        room = 0.3 * np.ptp(means) or 1.0
        axes[0].set_ylim(means.min() - room, means.max() + room)
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1 if len(rows) < 4 else 2)
    return drawing


def heat_map(made: Comparison, key: str, title: str, unit: str) -> "Drawing":
    """The mean of the metric for each pair of values of two settings. A frame marks the best mean; empty cells have none."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.patches import Rectangle

    (down, rows), (across, columns) = curves.swept(made.rows).items()
    values, cells = np.full((len(rows), len(columns)), np.nan), {}
    for row in made.rows:
        if down in row.differs and across in row.differs:
            place = rows.index(row.differs[down]), columns.index(row.differs[across])
            values[place] = np.nan if row.mean(key) is None else row.mean(key)
            cells[place] = row
    drawing = Drawing(figsize=(2.6 + 1.25 * len(columns), 1.8 + 0.75 * len(rows)), layout="constrained")
    axis = drawing.subplots()
    drawing.suptitle(f"{title}: {with_unit(key, unit)}, mean over seeds")
    axis.set_facecolor("lightgrey")
    mesh = axis.imshow(np.ma.masked_invalid(values), cmap=style.ENERGY, aspect="auto")
    middle = np.nanmean([np.nanmin(values), np.nanmax(values)])
    for (i, j), row in cells.items():
        interval = row.interval(key)
        half = f"\n\u00b1 {(interval[1] - interval[0]) / 2:.2g}" if interval else ""
        text = "no mean" if np.isnan(values[i, j]) else f"{values[i, j]:.4g}{half}"
        axis.text(j, i, text, ha="center", va="center", color="white" if values[i, j] > middle else "black")
        if made.is_best(row, key):
            axis.add_patch(Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, fill=False, edgecolor=style.ORANGE, linewidth=3))
    axis.set_xticks(range(len(columns)), [shown(value, 16) for value in columns])
    axis.set_yticks(range(len(rows)), [shown(value, 16) for value in rows])
    axis.set(xlabel=shown(across), ylabel=shown(down))
    drawing.colorbar(mesh, ax=axis, label=with_unit(key, unit))
    return drawing


def parallel(made: Comparison, key: str, title: str, unit: str) -> "Drawing":
    """A line for each row: its values of the settings, at evenly spaced places, and at the right the mean of the metric."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure as Drawing

    settings = curves.swept(made.rows)
    rows = [row for row in made.rows if row.mean(key) is not None]
    means = np.array([row.mean(key) for row in rows])
    logarithmic = means.min() > 0 and means.max() > 30 * means.min()
    scale = (LogNorm if logarithmic else Normalize)(means.min(), means.max() if means.max() > means.min() else means.min() + 1)
    drawing = Drawing(figsize=(max(6.0, 1.9 * (len(settings) + 1)), 4.6), layout="constrained")
    axis = drawing.subplots()
    drawing.suptitle(f"{title}: {len(rows)} rows, colored by the mean over seeds of {with_unit(key, unit)}")
    for k, row in sorted(enumerate(rows), reverse=True):  # the best row is drawn last
        heights = [place_of(row, name, values) for name, values in settings.items()]
        heights = [height if height is None else height + 0.05 * (k / max(len(rows) - 1, 1) - 0.5) for height in heights]
        line = [np.nan if height is None else height for height in heights] + [float(scale(means[k]))]
        axis.plot(range(len(line)), line, color=colormaps[style.ENERGY](float(scale(means[k]))), linewidth=3 if k == 0 else 1.2)
    for x, (_, values) in enumerate(settings.items()):
        axis.axvline(x, color="black", linewidth=0.8)
        for value in values:
            look = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
            axis.text(x + 0.03, height_of(value, values), shown(value, 16), va="center", bbox=look)
    ends_of(axis, len(settings), means, scale)
    axis.set_xticks(range(len(settings) + 1), [*(shown(name, 22).replace(".", ".\n", 1) for name in settings), with_unit(key, unit)])
    axis.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.1, len(settings) + 0.35))
    for side in ("top", "left", "right"):
        axis.spines[side].set_visible(False)
    return drawing


def ends_of(axis: "Axes", x: int, means: np.ndarray, scale: Callable[[float], float]) -> None:
    """The axis of the metric, with its smallest and largest mean."""
    axis.axvline(x, color="black", linewidth=0.8)
    for value in {means.min(), means.max()}:
        axis.text(x + 0.03, float(scale(value)), f"{value:.4g}", va="center")


def place_of(row: Row, name: str, values: Sequence[str]) -> float | None:
    """The height at which a row crosses the axis of a setting; None if the row does not have it."""
    return height_of(row.differs[name], values) if name in row.differs else None


def height_of(value: str, values: Sequence[str]) -> float:
    """The height of a value on its axis, between 0 and 1."""
    return values.index(value) / (len(values) - 1) if len(values) > 1 else 0.5


def with_unit(key: str, unit: str) -> str:
    """A metric with its unit."""
    return shown(f"{key}, {unit}" if unit else key)


def shown(text: str, most: int = 60) -> str:
    """A text as matplotlib shows it literally, of at most `most` letters."""
    text = text if len(text) <= most else f"{text[: most - 1]}\u2026"
    return text.replace("$", r"\$")
