"""The pictures of groups: curves, heat maps and parallel coordinates, on run folders that the tests write. Expected values are by hand."""

import math

import numpy as np
import pytest
from test_compare import T2, make  # noqa: F401 - a fixture

from ebm_cli.comparison import curves, pictures
from ebm_cli.comparison.compare import compare
from ebm_cli.runs import catalog


def row(step, kl, seconds):
    return {"step": step, "kl": kl, "seconds": seconds, "loss": 0.1}


@pytest.fixture
def made(make):  # noqa: F811
    """`made()` compares the runs that `made.make` has written into the group "mine"."""

    def call(least=1):
        return compare(catalog.groups()["mine"], ["kl"], least=least)

    call.make = make
    return call


def test_a_curve_is_the_mean_of_the_seeds_with_its_interval(made):
    """1, 2 and 6: mean 3, variance 7; seconds 4, 5 and 6. At step 20 one seed has no number, and at step 30 two seeds have no row."""
    for seed, kl in enumerate([1.0, 2.0, 6.0]):
        rows = [row(10, kl, 4.0 + seed), row(20, None if seed == 1 else kl, 9.0)] + [row(30, kl, 12.0)] * (seed == 2)
        made.make("nce", seed, kl=kl, group="mine", rows=rows)
    (found,) = made().rows
    curve = curves.of_row(found, "kl", "seconds")
    half = T2 * math.sqrt(7 / 3)
    assert curve.cost.tolist() == [5, 9]
    np.testing.assert_allclose([curve.mean[0], curve.low[0], curve.high[0]], [3, 3 - half, 3 + half])
    assert np.isnan([curve.mean[1], curve.low[1], curve.high[1]]).all()
    assert curves.of_row(found, "kl", "step").cost.tolist() == [10, 20]


def test_the_costs_are_per_seed(made):
    """A stack of two seeds: 8 seconds for both, and counts per seed. 1000 + 500 evaluations in 100 steps are 150 in 10 steps."""
    made.make("nce", 0, kl=[1.0, 3.0], group="mine", rows=[row(10, [1.0, 3.0], 8.0)], counts=(1000, 500, 0))
    (found,) = made().rows
    assert [curves.of_row(found, "kl", cost).cost.tolist() for cost in curves.COSTS] == [[10], [4], [150]]
    assert curves.of_row(found, "kl", "step").mean.tolist() == [2]


def test_the_lines_of_the_picture_are_the_curves(made):
    for name, kl in (("nce", 1.0), ("ssm", 4.0)):
        made.make(name, 0, kl=kl, group="mine", rows=[row(10, 2 * kl, 1.0), row(20, kl, 2.0)])
    drawing = pictures.curves_of(made(), "kl", "mine", "nats")
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawing.axes[0].lines}
    assert lines == {"objective=nce": [[10, 2], [20, 1]], "objective=ssm": [[10, 8], [20, 4]]}
    assert [line.get_xdata().tolist() for line in drawing.axes[2].lines] == [[100, 200]] * 2
    assert drawing.axes[0].get_ylabel() == "kl, nats"


def test_a_heat_map_has_the_mean_of_each_pair_of_values(made):
    for name, lr, kl in (("nce", 0.01, 1.0), ("nce", 0.002, 2.0), ("ssm", 0.01, 4.0)):
        made.make(name, 0, lr=lr, kl=kl, group="mine")
    drawing = pictures.heat_map(made(), "kl", "mine", "nats")
    image = drawing.axes[0].images[0].get_array()
    down = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    across = [label.get_text() for label in drawing.axes[0].get_xticklabels()]
    if across == ["nce", "ssm"]:
        image, down, across = image.T, across, down
    assert (down, across) == (["nce", "ssm"], ["0.002", "0.01"])
    assert image.filled(-1).tolist() == [[2, 1], [-1, 4]]
    (frame,) = drawing.axes[0].patches
    x, y = (frame.get_xy() + np.array([frame.get_width(), frame.get_height()]) / 2).round().tolist()
    assert drawing.axes[0].images[0].get_array()[int(y), int(x)] == 1  # the best mean is framed


def test_parallel_coordinates_end_at_the_metric(made):
    for name, lr, noise, kl in (("nce", 0.01, 0.1, 1.0), ("nce", 0.002, 0.2, 2.0), ("ssm", 0.01, 0.1, 3.0)):
        made.make(name, 0, lr=lr, kl=kl, group="mine", changed={"dataset.noise": noise})
    drawing = pictures.parallel(made(), "kl", "mine", "nats")
    lines = [line for line in drawing.axes[0].lines if len(line.get_xdata()) == 4]
    assert sorted(line.get_ydata()[-1] for line in lines) == [0, 0.5, 1]
    assert {text.get_text() for text in drawing.axes[0].texts} >= {"nce", "ssm", "0.002", "0.01", "0.1", "0.2", "1", "3"}


def test_the_values_of_settings_are_in_the_order_of_numbers():
    assert curves.in_order(["1e-3", "0.01", "2"]) == ["1e-3", "0.01", "2"]
    assert curves.in_order(["10", "9"]) == ["9", "10"]
    assert curves.in_order(["mala", "10"]) == ["10", "mala"]


def test_the_command_draws_what_applies_and_says_what_does_not(made, ebm, tmp_path):
    for name, lr in (("nce", 0.01), ("nce", 0.002), ("ssm", 0.01)):
        made.make(name, 0, lr=lr, kl=lr, group="mine", rows=[row(10, 1.0, 1.0)])
    code, out, err = ebm("plot", "mine")
    folder = next(tmp_path.rglob("curves.png")).parent
    assert code == 0, err
    assert sorted(path.name for path in folder.iterdir()) == ["curves.png", "heat_map.png"]
    assert [line.rpartition("/")[2] for line in out.splitlines()] == ["curves.png", "heat_map.png"]
    code, _, err = ebm("plot", "mine", "figure=parallel")
    assert (code, "differ in 2 settings, not in three or more" in err) == (2, True)
    assert "did you mean heat_map?" in ebm("plot", "mine", "figure=heatmap")[2]
    assert "a group has no key 'model'" in ebm("plot", "mine", "model=1")[2]


def test_a_group_without_evaluations_during_training_has_no_curves(made, ebm):
    made.make("nce", 0, kl=1.0, group="mine")
    made.make("nce", 1, kl=2.0, group="mine")
    code, _, err = ebm("plot", "mine")
    assert code == 2
    assert "figure=curves cannot be drawn: no run measured kl during training" in err


def test_names_are_shown_literally():
    assert pictures.shown("$x$") == r"\$x\$"
    assert pictures.shown("a" * 70) == "a" * 59 + "\u2026"
