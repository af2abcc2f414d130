"""`ebm rm` removes runs, and nothing else."""

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
from command import refused, tree


def answer(text, *words):
    """Run `ebm WORDS` on a terminal and type an answer with its end: a new line, or Ctrl-D. Returns what it shows."""
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "ebm_cli", *map(str, words)]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        os.write(shown, text.encode())
        return process.communicate(timeout=60)[0]


def test_a_run_is_removed_completely(ebm, run):
    ended = ebm("rm", run, "--yes")
    assert (ended.code, ended.out, ended.err) == (0, f"removed {run}\n", "")
    assert list(run.parent.iterdir()) == []


@pytest.mark.parametrize("typed", ["\n", "no\n", "\x04"], ids=["return", "no", "Ctrl-D"])
def test_without_a_yes_nothing_is_removed(run, typed):
    assert answer(typed, "rm", run).splitlines()[-1].endswith("nothing was removed")
    assert run.is_dir()


def test_a_folder_that_is_no_run_is_refused(ebm, run, tmp_path):
    """It has the files of a run, but its id is not the hash of its config."""
    for name in ("project", "project-0123456789"):
        project = tmp_path / name
        project.mkdir()
        shutil.copy(run / "environment.json", project)
        (project / "config.yaml").write_text("seed: 1\n")
        before = tree(tmp_path)
        refused(ebm("rm", project, "--yes"), "is not known as a run")
        assert tree(tmp_path) == before


def test_a_run_is_known_by_its_marks_wherever_it_is(ebm, run, tmp_path):
    moved = shutil.move(run, tmp_path / run.name)
    renamed = shutil.copytree(moved, tmp_path / "best")
    refused(ebm("rm", renamed, "--yes"), "is not known as a run")
    assert ebm("rm", moved, "--yes").out == f"removed {moved}\n"


def test_foreign_files_are_named_and_kept(ebm, run):
    (run / "notes.txt").write_text("mine")
    (run / ".notes.2024").write_text("mine")
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / "thesis.tex").write_text("mine")
    (run / "checkpoints" / "best").mkdir()
    (run / "wandb").mkdir()
    (run / "wandb" / "mine").write_text("mine")
    shown = answer("n\n", "rm", run)
    for name in ("notes.txt", ".notes.2024", "figures/thesis.tex", "checkpoints/best", "wandb"):
        assert f"not written by ebm: {name}" in shown
    assert "nothing was removed" in shown
    ended = ebm("rm", run, "--yes")
    assert "files that ebm did not write are kept in it" in ended.out
    kept = {name for name in tree(run) if not (run / name).is_dir()}
    assert kept == {"notes.txt", ".notes.2024", "figures/thesis.tex", "wandb/mine"}


def test_foreign_files_are_removed_after_a_confirmation(run):
    (run / "notes.txt").write_text("mine")
    assert f"removed {run}" in answer("y\n", "rm", run)
    assert not run.exists()


@pytest.mark.parametrize("name", ["environment.json", "config.yaml", "status.json"])
def test_a_damaged_run_is_removed_after_its_reason_is_shown(ebm, run, name):
    (run / name).write_text("{")
    if name != "config.yaml":
        assert f"damaged: {name} is damaged" in answer("n\n", "rm", run.name)
    assert ebm("rm", run.name, "--yes").out == f"removed {run}\n"
    assert not run.exists()


def test_of_a_link_only_the_link_is_removed(ebm, run, tmp_path):
    kept = shutil.move(run, tmp_path / run.name)
    run.symlink_to(kept)
    before = tree(kept)
    assert ebm("rm", run, "--yes").out == f"removed the link {run}\n"
    assert tree(kept) == before
    assert not run.is_symlink()


def test_links_in_a_run_are_not_followed(ebm, run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "density.png").write_text("mine")
    shutil.rmtree(run / "figures", ignore_errors=True)
    (run / "figures").symlink_to(tmp_path / "mine")
    assert ebm("rm", run.name, "--yes").code == 0
    assert not run.exists()
    assert tree(tmp_path / "mine") == {"density.png": b"mine"}


def test_temporary_files_of_others_stay_when_a_run_is_measured(ebm, run):
    (run / ".notes.2024").write_text("mine")
    assert ebm("evaluate", run).code == 0
    assert (run / ".notes.2024").read_text() == "mine"
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
