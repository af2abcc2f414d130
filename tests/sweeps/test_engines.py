"""Sweeps on other machines, where the packages for them are not installed. Where they are: tests/cluster."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from ebm_cli.config import hydra_section
from ebm_cli.sweeps import progress, remote
from ebm_cli.sweeps.jobs import Job

LAUNCHERS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@pytest.mark.parametrize(("launcher", "extra"), LAUNCHERS.items())
def test_without_its_package_a_launcher_says_how_to_get_it(ebm, monkeypatch, tmp_path, launcher, extra):
    found = hydra_section.find_spec
    monkeypatch.setattr(hydra_section, "find_spec", lambda name: None if name in ("submitit", "ray") else found(name))
    code, _, err = ebm("train", "-m", "seed=0,1", f"hydra/launcher={launcher}")
    assert code == 2
    assert err == f"error: hydra/launcher={launcher} needs a package that is not installed\nhint: pip install 'ebm-cli[{extra}]'\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("package", ["submitit", "ray"])
def test_no_start_imports(package):
    code = f"import sys; from ebm_cli.__main__ import main; main(['train', '--cfg', 'job']); sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class Forked:
    """An engine that forks a process for each parcel, here."""

    name = "a fork"

    def __init__(self):
        self._live = {}

    def start(self, parcels):
        context = multiprocessing.get_context("fork")
        for number, parcel in parcels.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=self._work, args=(parcel, theirs))
            process.start()
            self._live[number] = ours, process

    @staticmethod
    def _work(parcel, pipe):
        pipe.send(parcel())
        os._exit(0)

    def ended(self):
        for number, (pipe, process) in list(self._live.items()):
            if pipe.poll():
                process.join()
                del self._live[number]
                yield number, pipe.recv()

    def cancel(self):
        for _, process in self._live.values():
            process.kill()


def test_what_happens_elsewhere_is_seen_here(monkeypatch, tmp_path):
    """Where each job is, its steps, its KL; nothing that was told is left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "TICK_S", 0.01)
    seen = []
    note = progress.SweepProgress._note
    monkeypatch.setattr(
        progress.SweepProgress, "_note", lambda self, row, event, now: (seen.append((row.label, dict(event))), note(self, row, event, now))
    )
    words = ("experiment=smoke", "trainer.n_steps=30", "trainer.log_every=10", "trainer.evaluate_every=20", "device=cpu")
    outcomes = remote.launch(Job((), "abc", "abc"), [(*words, "seed=0"), (*words, "seed=1")], 0, Forked())
    assert [one.state for one in outcomes] == ["finished"] * 2
    for label in ("seed=0", "seed=1"):
        launched, started, *rows, ended = [event for one, event in seen if one == label]
        assert (launched["event"], launched["slot"]) == ("launched", os.uname().nodename)
        assert (started["event"], started["n_steps"], started["step"]) == ("started", 30, 0)
        assert [(one["step"], one["kl"] is None) for one in rows] == [(10, True), (20, False), (30, False)]
        assert ended["result"].state == "finished"
    assert list((tmp_path / "outputs/sweeps/abc").iterdir()) == []


def test_what_was_told_is_read_once_and_in_whole_lines(tmp_path):
    away = remote.Away(tmp_path / "events")
    assert away.news() == []
    with open(away.path, "a", buffering=1) as file:
        for text, news in [('{"a": 1}\n{"a": 2}\n{"a"', [{"a": 1}, {"a": 2}]), ("", []), (": 3}", []), ("\n", [{"a": 3}]), ("", [])]:
            file.write(text)
            file.flush()
            assert away.news() == news
    away.forget()
    assert away.news() == []
