"""Folders of options of the user's own: their names, damaged files, and names that are taken."""

import tempfile
from pathlib import Path

import pytest
from command import LINE, refused

MINE = "# @package _global_\nseed: 77\n"
# (the content of an option, parts of the message)
DAMAGED = [
    (b"# @package _global_\nseed: [1\nx: 2\n", "mine.yaml, line 3, column 2: "),
    (b"# @package _global_\nseed: !!python/name:os.getpid\n", "mine.yaml, line 2, column 7: "),
    (b"# @package _global_\n\tseed: 1\n", "mine.yaml, line 2, column 1: "),
    (b"# @package _global_\nseed: 1\nseed: 2\n", "mine.yaml, line 3, column 1: "),
    (b"# @package _global_\nname: \xff\n", "mine.yaml is not text in UTF-8"),
    (b"# @package _global_\ndefaults: sampler\n", "mine.yaml: "),
    (b"# @package _global_\n1: 2\n", "mine.yaml: an option is a group of keys"),
    (b"- 1\n", "mine.yaml: an option is a group of keys"),
    (b"seed: 1\n", "mine.yaml: the first line of an experiment"),
    (b"# A description\n# @package _global_\nseed: 1\n", "mine.yaml: the first line of an experiment"),
    (b"", "mine.yaml: the first line of an experiment"),
]


def option(folder, content, place="experiment/mine.yaml"):
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("flags", [(), ("-m", "optimizer.lr=0.1,0.2")])
@pytest.mark.parametrize(("content", "part"), DAMAGED)
def test_a_damaged_option_is_named_with_its_place(ebm, tmp_path, content, part, flags):
    refused(ebm("train", "--config-dir", option(tmp_path / "opts", content), *LINE, "experiment=mine", *flags), part, "hint: ")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("content", [DAMAGED[0][0], DAMAGED[4][0]])
def test_a_damaged_option_that_is_not_chosen_stops_nothing(ebm, tmp_path, content):
    folder = option(option(tmp_path / "opts", content), content, "energy/mine.yaml")
    for words in (["list"], ["train", "--help"], ["train", *LINE, "--cfg", "job"]):
        ended = ebm(*words, "--config-dir", folder)
        assert ended.code == 0, ended
    refused(ebm("train", "--config-dir", folder, "objective=nce", "energy=score_mlp"), "needs an energy", "energy=fourier_mlp")


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_a_damaged_option_is_named_by_verbs_that_take_a_run(ebm, run, tmp_path, verb):
    folder = option(tmp_path / "opts", DAMAGED[0][0], "sampler/mine.yaml")
    refused(ebm(verb, run, "sampler=mine", "--config-dir", folder), "mine.yaml, line 3, column 2: ")


@pytest.mark.parametrize("place", ["experiment/smoke.yaml", "sampler/mala.yaml", "hydra/launcher/gpu.yaml", "train.yaml"])
def test_a_name_that_is_taken_is_refused_with_both_files(ebm, tmp_path, place):
    folder = option(tmp_path / "opts", MINE, place)
    refused(ebm("train", "--config-dir", folder, *LINE), f"opts/{place} has the name of another option", f"conf/{place}")
    refused(ebm("list", "--config-dir", folder), f"opts/{place} has the name of another option")


def test_the_same_name_in_two_folders_is_refused(ebm, tmp_path):
    folders = [option(tmp_path / name, MINE) for name in ("a", "b")]
    refused(ebm("train", *(f"--config-dir={folder}" for folder in folders), *LINE), "a/experiment/mine.yaml", "b/experiment/mine.yaml")
    assert ebm("list", f"--config-dir={folders[0]}", f"--config-dir={folders[0]}").code == 0


@pytest.mark.parametrize("name", ["a é", "a,b", "a=b", "it's", 'q"q', "a(b", "a[b", "a{b", "a${seed}b", "a#b", "a%20b", "a\\b"])
def test_a_folder_can_have_any_name(ebm, tmp_path, name):
    ended = ebm("train", "--config-dir", option(tmp_path / name, MINE), "experiment=mine", "--cfg", "job")
    assert ended.code == 0, ended
    assert "seed: 77\n" in ended.out


def test_a_sweep_with_a_folder_of_any_name_and_a_temporary_folder_of_any_name(ebm, tmp_path):
    folder = option(tmp_path / "it's, {é}", MINE)
    words = ("train", "-m", "--config-dir", folder, *LINE, "metric=[]", "experiment=mine", "optimizer.lr=0.1,0.2")
    with tempfile.TemporaryDirectory(prefix="it's ${seed}") as temporary:  # beside other temporary folders: sockets need short paths
        ended = ebm(*words, TMPDIR=temporary)
        assert ended.code == 0, ended
        assert not [*Path(temporary).iterdir()]
    assert len([*(tmp_path / "outputs" / "runs").glob("*-s77-*/summary.json")]) == 2


def test_a_group_can_be_set_to_null(ebm, tmp_path):
    """Also if a preset chooses an option of the group."""
    preset = "# @package _global_\ndefaults:\n  - override /logger: tensorboard\nseed: 77\n"
    folder = option(tmp_path / "opts", preset)
    line = ("train", "--config-dir", folder, *LINE, "metric=[]", "experiment=mine", "logger=null")
    assert "TensorBoard" in ebm(*line[:-1], "--cfg", "job").out
    assert ebm(*line).code == 0
    assert ebm(*line, "-m", "optimizer.lr=0.1,0.2").code == 0
    assert not [*tmp_path.rglob("*tfevents*")]
    refused(ebm("train", *LINE, "sampler=null"), "the group sampler takes one option")


def test_keys_that_are_nested_by_mistake_are_named(ebm, tmp_path):
    """Options of `metric` and `figure` are nested under their names; those of the other groups are not."""
    (tmp_path / "options" / "objective").mkdir(parents=True)
    (tmp_path / "options" / "objective" / "mine.yaml").write_text(
        "# A\n# B\nmine:\n  _target_: ebm_cli.objectives.ism.ImplicitScoreMatching\n"
    )
    words = (f"--config-dir={tmp_path / 'options'}", "objective=mine")
    refused(ebm("train", *LINE, *words), "objective: ", "has no _target_", "hint: its keys are nested under 'mine'")
