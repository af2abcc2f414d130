"""Names and texts of files reach the terminal with their control characters escaped."""

import json
import os
import pty
import subprocess
import sys

import pytest
from command import TINY, refused

SIGNS = "\x1b[31mred\x07\u202e\x9b"  # a color, a bell, a change of the direction of writing, a control sequence of 8 bits
SHOWN = r"\x1b[31mred\x07\u202e\x9b"


def escaped(*texts):
    for text in texts:
        bad = [sign for sign in text if not sign.isprintable() and sign not in "\n\t"]
        assert not bad, (bad, text)


def edit(path, **facts):
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


VERBS = ["runs", "show last", "show last --json", "compare last last", "rm last", "sample last n_samples=9 n_steps=2"]


@pytest.mark.parametrize("words", VERBS)
def test_texts_of_a_run_folder(ebm, run, words):
    edit(run / "environment.json", differs=[SIGNS], reproduce=SIGNS)
    edit(run / "status.json", state="diverged", reason=SIGNS)
    edit(run / "summary.json", headline=[SIGNS, "kl"], **{SIGNS: 1.0})
    ended = ebm(*words.split())
    escaped(ended.out, ended.err)
    if words == "runs":
        assert SHOWN in ended.out


def test_the_name_of_a_run_folder(ebm, run):
    named = run.rename(run.with_name(f"{SIGNS}-{run.name}"))
    for words in (("runs",), ("show", named), ("plot", named, "figure=density"), ("completion", "--line", "ebm show ")):
        ended = ebm(*words)
        assert ended.code == 0, ended
        escaped(ended.out, ended.err)


def test_the_header_of_a_table(ebm, tmp_path):
    rows = "".join(f"{i % 7},{i % 11 + i / 100}\n" for i in range(60))
    (tmp_path / "table.csv").write_text(f"{SIGNS},$\\frac$b\n{rows}")
    table = ("dataset=table", f"dataset.path={tmp_path / 'table.csv'}")
    ended = ebm("train", *TINY, *table, "figure=[density]", "trainer.n_steps=2", "metric=[]")
    assert ended.code == 0, ended
    escaped(ended.out, ended.err)
    assert list((tmp_path / "outputs").glob("runs/*/figures/density.png"))
    refused(ebm("train", *TINY, *table, "dataset.columns=[x]"), SHOWN)


def test_a_word_of_the_line(ebm):
    ended = ebm("train", f"{SIGNS}=1")
    refused(ended, SHOWN)
    escaped(ended.err)


def test_tables_of_data_are_exact_in_a_file_and_escaped_on_a_terminal(ebm, run, tmp_path):
    (tmp_path / "points.csv").write_text(f"x0,x1,{SIGNS}\n0,0,1\n")
    words = ("score", "last", f"data={tmp_path / 'points.csv'}")
    header = ebm(*words).out.splitlines()[0]
    assert header.startswith(f"x0,x1,{SIGNS},energy")
    shown, terminal = pty.openpty()
    subprocess.run([sys.executable, "-m", "ebm_cli", *words], stdout=terminal, stderr=subprocess.DEVNULL, check=True)
    os.close(terminal)
    text = os.read(shown, 100_000).decode()
    assert text.startswith(f"x0,x1,{SHOWN},energy")
