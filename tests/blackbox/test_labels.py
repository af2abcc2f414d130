"""The labels of a finished run: its command typed again with other labels changes them, and trains nothing."""

import yaml
from command import LINE


def test_labels_of_a_finished_run_are_changed(ebm, run):
    before = (run / "metrics.jsonl").read_bytes()
    ended = ebm("train", *LINE, "name=second", "group=trials", "tags=[a]")
    assert ended.code == 0, ended
    assert "the run now has name=second, group=trials, tags=['a']" in ended.err
    assert (run / "metrics.jsonl").read_bytes() == before
    ended = ebm("train", *LINE, "name=third")  # labels that are not given stay
    assert "the run now has name=third\n" in ended.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["name"], config["group"], config["tags"]) == ("third", "trials", ["a"])
    assert run.name in ebm("runs", "--group", "trials").out
    assert "the run now has" not in ebm("train", *LINE, "name=third").err


def test_a_sweep_labels_finished_runs(ebm, run):
    ended = ebm("train", "-m", *LINE, "seed=0", "group=sweep")
    assert ended.code == 0, ended
    assert yaml.safe_load((run / "config.yaml").read_text())["group"] == "sweep"
