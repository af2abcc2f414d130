"""Links and special files in a run folder: no command follows a link or opens a pipe."""

import os
import shutil

import pytest
from command import LINE, refused, tree

DRAWS = ("n_samples=8", "n_chains=8", "n_steps=2")
VERBS = [("sample", "RUN", *DRAWS), ("evaluate", "RUN"), ("plot", "RUN", "figure=density"), ("show", "RUN")]
LINES = [("train", *LINE), ("train", *LINE, "force=true")]


@pytest.mark.parametrize("name", ["train.log", "samples.npz", "summary.json", "figures", "checkpoints", ".lock", "config.yaml"])
@pytest.mark.parametrize("words", [*VERBS, *LINES], ids=lambda words: f"{words[0]} {words[-1]}")
def test_links_are_refused_and_their_targets_keep_their_content(ebm, run, tmp_path, words, name):
    (tmp_path / "mine").mkdir()
    shutil.move(run / name, tmp_path / "mine" / name)
    (run / name).symlink_to(tmp_path / "mine" / name)
    before = tree(tmp_path / "mine")
    refused(ebm(*(run if word == "RUN" else word for word in words)), f"{name} is a link")
    assert tree(tmp_path / "mine") == before


@pytest.mark.parametrize("name", ["density.png", "checkpoints/00000004", "checkpoints/00000004/state.safetensors"])
def test_links_deeper_in_the_folder(ebm, run, tmp_path, name):
    """A linked checkpoint is damaged, so the one before it is used."""
    inside = run / ("figures/density.png" if name == "density.png" else name)
    inside.parent.mkdir(exist_ok=True)
    if inside.exists():
        shutil.move(inside, tmp_path / "mine")
    else:
        (tmp_path / "mine").write_text("mine")
    inside.symlink_to(tmp_path / "mine")
    before = tree(tmp_path / "mine") if (tmp_path / "mine").is_dir() else (tmp_path / "mine").read_bytes()
    ended = ebm("plot", run, "figure=[density,training]")
    if name == "density.png":
        refused(ended, "density.png is a link")
    else:
        assert ended.code == 0, ended
        assert name.endswith("00000004") or "checkpoint 00000004 is damaged" in ended.err
    assert (tree(tmp_path / "mine") if (tmp_path / "mine").is_dir() else (tmp_path / "mine").read_bytes()) == before


@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl", "output.log", ".lock", "samples.npz", "config.yaml", "status.json"])
def test_a_file_with_a_second_name_is_not_written_through(ebm, run, tmp_path, name):
    """A run folder may hold hard links, for example after `cp -al` or from an archive. The command works, and the other file stays."""
    (run / name).touch()
    (tmp_path / "other").write_bytes((run / name).read_bytes() + (b"mine" if name == ".lock" else b""))
    (run / name).unlink()
    (run / name).hardlink_to(tmp_path / "other")
    before = (tmp_path / "other").read_bytes()
    for words in (("evaluate", run), ("train", *LINE, "group=other"), ("train", "-m", *LINE, "force=true")):
        ended = ebm(*words)
        assert ended.code == 0, ended
        assert (tmp_path / "other").read_bytes() == before


@pytest.mark.parametrize("name", ["config.yaml", "status.json", "metrics.jsonl", "samples.npz", ".lock"])
def test_special_files_are_refused_without_being_opened(ebm, run, name):
    """To open a pipe that nobody writes to would wait forever."""
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    refused(ebm("show", run), f"{name} is not a regular file")
    assert "damaged" in ebm("runs").out
