"""Figures of the user's own: a mistake in one of them, figures that do not apply, and figures that a finished run does not have yet."""

import json

import pytest
from command import LINE, refused

WORDS = [word for word in LINE if word != "figure=[]"]
MODULE = """from matplotlib.figure import Figure as Drawing

from ebm_cli.core.figure import Figure


class Points(Figure):
    def plot(self, scene):
        drawing = Drawing()
        drawing.subplots().plot(scene.samples)
        return drawing


class Misspelled(Points):
    def plot(self, scene):
        return super().plot(scene.smaples)  # line 15


class Never(Points):
    def lacking(self, scene):
        return "the moon is not full"
"""
CHECKED = """
class Checked(Points):
    def __init__(self, n: int):
        if n % 2:
            raise ValueError("n is odd")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of options with three figures of the package `mine`, which EBM_ALLOW allows."""
    monkeypatch.setenv("EBM_ALLOW", "mine")
    (tmp_path / "here" / "mine.py").write_text(MODULE)
    folder = tmp_path / "here" / "options" / "figure"
    folder.mkdir(parents=True)
    for name in ("points", "misspelled", "never"):
        (folder / f"{name}.yaml").write_text(f"# A figure\n# Me\n{name}:\n  _target_: mine.{name.capitalize()}\n")
    return "--config-dir=options"


@pytest.fixture
def pictures(run):
    """The names of the pictures of the run, in order."""
    return lambda: sorted(path.name for path in (run / "figures").iterdir())


def test_a_mistake_in_a_figure_costs_neither_the_results_nor_the_other_figures(ebm, tmp_path, own):
    ended = ebm("train", *WORDS, own, "figure=[misspelled,training,points]")
    assert ended.code == 0, ended
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert f"{json.loads((run / 'summary.json').read_text())['kl']:.4g}" in ended.out
    assert sorted(path.name for path in (run / "figures").iterdir()) == ["points.png", "training.png"]
    (warning,) = [line for line in ended.err.splitlines() if line.startswith("warning")]
    what = "AttributeError: 'Scene' object has no attribute 'smaples'"
    assert warning == f"warning: figure=misspelled failed: {what} (mine.py:15)"
    assert "Traceback" not in ended.err
    hint = ended.err.partition("draw it with: ebm ")[2].split()
    assert hint == ["plot", run.name.rpartition("-")[2], "figure=misspelled"]
    (tmp_path / "here" / "mine.py").write_text(MODULE.replace("scene.smaples", "scene"))
    assert ebm(*hint).code == 0
    assert (run / "figures" / "misspelled.png").exists()


def test_a_figure_that_fails_in_plot_is_named_and_the_others_are_drawn(ebm, run, own, pictures):
    ended = ebm("plot", "last", own, "figure=[misspelled,points]")
    assert (ended.code, ended.err.count("mine.py:15"), "Traceback" in ended.err) == (1, 1, False)
    assert pictures() == ["points.png"]
    assert "Traceback" in ebm("plot", "last", own, "figure=misspelled", EBM_DEBUG=1).err
    assert pictures() == ["points.png"]


def test_samples_of_an_energy_survive_a_mistake_in_a_figure(ebm, tmp_path, own):
    ended = ebm("sample", "energy=four_wells", "n_samples=20", "n_steps=4", own, "figure=[misspelled,points]")
    assert (ended.code, ended.err.count("mine.py:15")) == (0, 1)
    (folder,) = (tmp_path / "outputs" / "samples").iterdir()
    assert {"samples.npz", "summary.json"} < {path.name for path in folder.iterdir()}
    assert [path.name for path in (folder / "figures").iterdir()] == ["points.png"]


def test_a_figure_that_does_not_apply_gives_its_reason(ebm, run, own, pictures):
    refused(ebm("plot", "last", own, "figure=never"), "figure=never cannot be drawn: the moon is not full")
    refused(ebm("plot", "last", "figure=marginals"), "figure=density and figure=samples show events in the plane")
    refused(ebm("plot", "last"), "no figure")
    ended = ebm("plot", "last", own, "figure=[never,points]")
    assert (ended.code, ended.err) == (0, "note: figure=never cannot be drawn: the moon is not full\n")
    ended = ebm("train", *WORDS, own, "figure=[never,energy]", "seed=1")
    assert "note: figure=never cannot be drawn: the moon is not full\n" in ended.err
    assert pictures() == ["points.png"]


def test_figures_are_added_to_a_finished_run(ebm, run, own, pictures):
    ended = ebm("train", *WORDS, own, "figure=[points,training]")
    assert ended.code == 0, ended
    assert pictures() == ["points.png", "training.png"]
    (run / "figures" / "points.png").unlink()
    assert ebm("plot", "last", "figure=points").code == 0  # the config of the run has this option: no --config-dir is needed
    assert pictures() == ["points.png", "training.png"]
    (run / "figures" / "points.png").unlink()
    ebm("train", *WORDS, "figure=[energy]")
    assert pictures() == ["energy.png", "training.png"]
    ebm("train", *WORDS, own, "figure=[points]")
    assert pictures() == ["energy.png", "points.png", "training.png"]
    assert "note: figure=never" in ebm("train", *WORDS, own, "figure=[never]").err


def test_hints_about_options_of_the_users_own(ebm, run, own):
    for words in (["plot", "last", "figure=points"], ["evaluate", "last", "metric=xyz"]):
        refused(ebm(*words), "--config-dir DIR")
    assert ebm("plot", "last", "figure=points", "--config-dir", "options").code == 0
    refused(ebm("score", "last", "data=x.csv", own), "omit it")


def test_an_option_without_its_name_is_refused_with_the_lines_to_write(ebm, run, own, tmp_path):
    """The lines of the hint are written, and the option works."""
    path = tmp_path / "here" / "options" / "figure" / "points.yaml"
    path.write_text("# A figure\n# Me\n_target_: mine.Points\n")
    for words in (["train", *WORDS, "figure=[training,points]"], ["train", *WORDS, "figure=points"], ["plot", "last", "figure=points"]):
        ended = ebm(*words, own)
        refused(ended, "options/figure/points.yaml: ")
    path.write_text("\n".join(ended.err.split("`")[1::2]) + "\n")
    assert ebm("plot", "last", own, "figure=points").code == 0
    path.write_text("# A figure of nothing\n# Me\n")
    refused(ebm("train", *WORDS, own, "figure=points"), "options/figure/points.yaml: ")


def test_the_hint_names_the_package_to_allow(ebm, run, own):
    for allowed, hint in ((None, "EBM_ALLOW=mine allows"), ("other", "EBM_ALLOW=other,mine allows")):
        refused(ebm("plot", "last", own, "figure=points", EBM_ALLOW=allowed), hint)


def test_an_option_without_comment_lines_is_noted(ebm, own, tmp_path):
    (tmp_path / "here" / "options" / "figure" / "never.yaml").write_text("never:\n  _target_: mine.Never\n")
    ended = ebm("list", "figure", own)
    (note,) = ended.err.splitlines()
    assert note.startswith("note: options/figure/never.yaml does not begin with two comment lines")
    assert ebm("list").err == ""


def test_a_wrong_value_of_a_figure_is_found_before_training(ebm, tmp_path, own):
    (tmp_path / "here" / "mine.py").write_text(MODULE + CHECKED)
    (tmp_path / "here" / "options" / "figure" / "checked.yaml").write_text("# A figure\n# Me\nchecked:\n  _target_: mine.Checked\n  n: 3\n")
    refused(ebm("train", *WORDS, own, "figure=[points,checked]"), "figure.checked: ValueError: n is odd (mine.py:25)", "leave it out")
    assert not (tmp_path / "outputs").exists()
    assert ebm("train", *WORDS, own, "figure=[checked]", "figure.checked.n=2").code == 0
