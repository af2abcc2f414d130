"""Standard streams that are closed, full, or of another encoding: where a line cannot be shown, the work goes on."""

import json
import shlex
import subprocess
import sys

import pytest
from command import LIMIT_S, LINE, Ended
from lines import last_of_each_key

DEAF = ["2>/dev/full", "2>&-", ">&-", ">/dev/full", "<&-", ">&- 2>&-", "<&- >&- 2>&-"]


def redirected(redirection, *words):
    """Run `ebm WORDS` in a shell with a redirection."""
    line = f"{shlex.join([sys.executable, '-m', 'ebm_cli', *last_of_each_key(words)])} {redirection}"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=LIMIT_S)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("redirection", DEAF)
def test_a_run_ends_as_it_would_if_its_lines_were_shown(run, redirection):
    ended = redirected(redirection, "train", *LINE, "seed=1", "metric=[]")
    assert ended.code == 0, ended
    assert "Traceback" not in ended.err
    made = next((run.parent).glob("*-s1-*"))
    assert json.loads((made / "status.json").read_text())["state"] == "finished"
    assert all(json.loads(row) for row in (made / "metrics.jsonl").read_text().splitlines())  # no message was written into a file


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&-", ">/dev/full", ">&- 2>&-"])
def test_bad_input_has_its_own_exit_code(redirection):
    ended = redirected(redirection, "train", "seed=x")
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err


def test_a_sweep_with_closed_streams_trains_every_job(run):
    ended = redirected(">&- 2>&-", "train", "-m", *LINE, "metric=[]", "seed=1,2")
    assert ended.code == 0, ended
    assert len([*run.parent.glob("*-s[12]-*/summary.json")]) == 2


def test_results_that_cannot_be_written_are_an_error_if_they_are_stored_nowhere_else(run):
    for words in (["runs"], ["list"], ["--help"], ["show", "last"]):
        ended = redirected(">/dev/full", *words)
        assert (ended.code, ended.err) == (1, "error: standard output cannot be written: No space left on device\n"), words
    ended = redirected(">/dev/full", "train", *LINE)
    assert (ended.code, "standard output cannot be written" in ended.err) == (0, True)


def test_a_closed_pipe_ends_the_command_quietly(run):
    ended = redirected("| head -1", "list")
    assert (ended.code, ended.err, len(ended.out.splitlines())) == (0, "", 1)


def test_a_comparison_on_an_ascii_stream(ebm, run):
    for seed in (0, 1):
        assert ebm("train", *LINE, "optimizer.lr=0.1", f"seed={seed}", "group=mine").code == 0
    assert ebm("train", *LINE, "seed=1").code == 0
    names = [folder.name for folder in run.parent.iterdir()]
    ended = ebm("compare", *names, PYTHONIOENCODING="ascii")
    assert (ended.code, ended.err) == (0, "")
    assert "+/- is half the 95 % t interval" in ended.out
    assert ended.out.replace("+/-", "±").split() == ebm("compare", *names, PYTHONIOENCODING="utf-8").out.split()


def test_data_are_written_in_utf_8_whatever_the_terminal_shows(ebm, run, tmp_path):
    (tmp_path / "points.csv").write_text("é,b\n1,2\n", encoding="utf-8")
    words = ("score", run, f"data={tmp_path / 'points.csv'}")
    assert ebm(*words, PYTHONIOENCODING="ascii", PYTHONUTF8="0").out.startswith("é,b,energy")
