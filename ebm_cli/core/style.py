"""The style of all pictures: colors, color maps and sizes. `Figure.save` applies it, so figures of the user's own have it as well.

The colors are those of Okabe & Ito 2008 (Color Universal Design), which people with a color vision deficiency can tell apart. The color
maps are uniform in lightness (magma, viridis) or symmetric around white (RdBu). Pictures are saved with 130 dots per inch; at the width
of a README, about 830 pixels, the letters of a picture of 9.6 inches are 12 pixels high.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6e6e6e"
SAMPLES, DATA, HELD_OUT, REFERENCE = BLUE, ORANGE, PINK, GREEN  # the colors of these sets of points in every picture
DENSITY, ENERGY, SIGNED = "magma", "viridis_r", "RdBu_r"  # color maps: of densities, of energies, and of numbers around zero
WIDTH = 9.6  # inches, the width of a picture with panels beside each other
DPI = 130
SIZE = 10  # points, of all text

RC: dict[str, Any] = {
    **{f"{key}.labelsize": SIZE for key in ("axes", "xtick", "ytick")},
    **{"font.size": SIZE, "axes.titlesize": SIZE, "figure.titlesize": SIZE, "figure.labelsize": SIZE, "legend.fontsize": SIZE},
    **{"legend.framealpha": 0.85, "axes.grid": False, "grid.alpha": 0.3, "savefig.dpi": DPI},
}
CYCLE = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY)  # the colors of lines, in order


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style. Settings of matplotlib that a figure changes itself keep their values."""
    from cycler import cycler
    from matplotlib import rc_context

    with rc_context(RC | {"axes.prop_cycle": cycler(color=CYCLE)}):
        yield
