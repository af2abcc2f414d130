"""Remote engines without their packages: tests with real submitit and Ray are in tests/cluster."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from ebm_cli.config import hydra_section
from ebm_cli.errors import InputError, Interrupted, bad
from ebm_cli.sweeps import progress, remote
from ebm_cli.sweeps.dispatch import BUSY, Died, dispatch
from ebm_cli.sweeps.jobs import Job, SweepTask

LAUNCHERS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@pytest.mark.parametrize(("launcher", "extra"), LAUNCHERS.items())
def test_a_launcher_without_its_package_names_the_command_that_installs_it(ebm, monkeypatch, tmp_path, launcher, extra):
    found = hydra_section.find_spec
    monkeypatch.setattr(hydra_section, "find_spec", lambda name: None if name in ("submitit", "ray") else found(name))
    code, _, err = ebm("train", "-m", "seed=0,1", f"hydra/launcher={launcher}")
    assert code == 2
    assert err == f"error: hydra/launcher={launcher} needs a package that is not installed\nhint: pip install 'ebm-cli[{extra}]'\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("package", ["submitit", "ray"])
def test_the_command_does_not_import_cluster_packages(package):
    code = f"import sys; from ebm_cli.__main__ import main; main(['train', '--cfg', 'job']); sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class Forked(remote.RemoteEngine):
    """An engine that forks a local process for each job."""

    name = "a fork"

    def __init__(self):
        super().__init__()
        self._live = {}

    def submit(self, jobs):
        context = multiprocessing.get_context("fork")
        for number, job in jobs.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=self._work, args=(job, theirs))
            process.start()
            self._live[number] = ours, process

    @staticmethod
    def _work(job, pipe):
        pipe.send(job())
        os._exit(0)

    def ended(self):
        for number, (pipe, process) in list(self._live.items()):
            if pipe.poll():
                process.join()
                del self._live[number]
                yield number, pipe.recv()

    def end_all(self):
        for _, process in self._live.values():
            process.kill()


def test_the_progress_of_remote_jobs_is_shown(monkeypatch, tmp_path):
    """The host, the steps and the KL of each job are shown, and the files of events are removed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "TICK_S", 0.01)
    seen = []
    update = progress.SweepProgress._update

    def recorded(self, row, event, now):
        seen.append((row.label, dict(event)))
        update(self, row, event, now)

    monkeypatch.setattr(progress.SweepProgress, "_update", recorded)
    words = ("experiment=smoke", "trainer.n_steps=30", "trainer.log_every=10", "trainer.evaluate_every=20", "device=cpu")
    outcomes = Job((), "abc", "abc").launch([(*words, "seed=0"), (*words, "seed=1")], 0, Forked())
    assert [outcome.state for outcome in outcomes] == ["finished"] * 2
    for label in ("seed=0", "seed=1"):
        launched, started, *rows, ended = [event for name, event in seen if name == label]
        assert (launched["event"], launched["slot"]) == ("launched", os.uname().nodename)
        assert (started["event"], started["n_steps"], started["step"]) == ("started", 30, 0)
        assert [(row["step"], row["shown"][:3]) for row in rows] == [(10, ""), (20, "kl "), (30, "kl ")]
        assert ended["result"].state == "finished"
    assert list((tmp_path / "outputs/sweeps/abc").iterdir()) == []


def test_reports_are_read_once_and_in_complete_lines(tmp_path):
    reports = remote.Reports(tmp_path / "events")
    assert reports.news() == []
    with open(reports.path, "a", buffering=1) as file:
        for text, news in [('{"a": 1}\n{"a": 2}\n{"a"', [{"a": 1}, {"a": 2}]), ("", []), (": 3}", []), ("\n", [{"a": 3}]), ("", [])]:
            file.write(text)
            file.flush()
            assert reports.news() == news
    reports.remove()
    assert reports.news() == []


class Scripted(remote.RemoteEngine):
    """An engine whose jobs follow a script. Each poll takes an entry, a list of (job, events that it reports, its result)."""

    name = "a script"

    def __init__(self, *script):
        super().__init__()
        self.script, self.jobs, self.n_submitted, self.n_cancelled = list(script), {}, [], 0

    def submit(self, jobs):
        self.jobs |= jobs
        self.n_submitted.append(len(jobs))

    def ended(self):
        for number, events, result in self.script.pop(0) if self.script else ():
            for event in events:
                self.jobs[number].tell(event)
            if result is not STILL_RUNNING:
                yield number, result

    def end_all(self):
        self.n_cancelled += 1


STILL_RUNNING = object()


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """`scripted(engine, n)` dispatches n tasks to a scripted engine and returns (results, events)."""
    monkeypatch.setattr(remote, "TICK_S", 0.01)

    def run(engine, n, known=lambda number: None, events=None):
        tasks, results, events = (
            [SweepTask(None, (), tmp_path / f"{number}.log") for number in range(n)],
            {},
            [] if events is None else events,
        )
        dispatch(tasks, engine, lambda number, event: number < 0 or events.append((number, event["event"])), results, known)
        return results, events

    return run


def test_the_last_reports_of_a_job_are_read_before_its_end(scripted, tmp_path):
    """The job reports and ends after its reports were read in the same poll."""
    engine = Scripted([(0, [{"event": "started"}, {"event": "row"}], Died("killed")), (1, [{"event": "row"}], "well")])
    assert scripted(engine, 2) == ({0: Died("killed"), 1: "well"}, [(0, "started"), (0, "row"), (0, "ended"), (1, "row"), (1, "ended")])
    assert engine.n_submitted == [2]  # both in one submission
    assert list(tmp_path.glob("*.jsonl")) == []


def test_busy_and_known_tasks_are_not_submitted(scripted):
    """The loop waits between two polls even if no task has been submitted."""
    answers, began = {0: ["known"], 1: [BUSY] * 20 + ["known"], 2: [BUSY] * 20 + [None]}, time.monotonic()
    engine = Scripted(*[()] * 20, [(2, [], "run")])
    results, _ = scripted(engine, 3, lambda number: answers[number].pop(0))
    assert results == {0: "known", 1: "known", 2: "run"}
    assert engine.n_submitted == [1]
    assert time.monotonic() - began > 20 * 0.01


def test_the_variables_of_ebm_and_wandb_are_sent_without_the_api_key(monkeypatch, tmp_path):
    for name in ("EBM_ALLOW", "WANDB_PROJECT", "WANDB_API_KEY", "OTHER"):
        monkeypatch.setenv(name, "value")
    engine = Scripted()
    engine.start([(0, SweepTask(None, (), tmp_path / "0.log"))])
    sent = engine.jobs[0].environment
    assert {"EBM_ALLOW", "WANDB_PROJECT"} <= sent.keys()
    assert {"WANDB_API_KEY", "OTHER"}.isdisjoint(sent)


def test_a_refused_submission_ends_the_sweep(scripted, tmp_path):
    class Refusing(Scripted):
        def submit(self, jobs):
            raise bad("no such partition")

    with pytest.raises(InputError, match="no such partition"):
        scripted(Refusing(), 2)
    assert list(tmp_path.glob("*.jsonl")) == []


class Signalled(Scripted):
    """A scripted engine that receives SIGTERM during its first poll."""

    def ended(self):
        if not self.n_cancelled:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().ended()


def test_a_signal_cancels_the_jobs_and_reads_their_reports(scripted, tmp_path):
    """One job ends at once. The engine does not wait for the other, and removes its file of events."""
    engine = Signalled([(0, [{"event": "started"}], STILL_RUNNING), (1, [{"event": "row"}], STILL_RUNNING)], [(0, [], "saved")])
    events = []
    with pytest.raises(Interrupted) as stopped:
        scripted(engine, 2, events=events)
    assert stopped.value.hint == "asked to save their state and stop: 1"
    assert engine.n_cancelled == 1
    assert events == [(0, "started"), (1, "row"), (0, "ended")]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_an_interrupted_sweep_counts_the_remote_jobs_that_are_still_ending(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "TICK_S", 0.01)
    words = ("experiment=smoke", "trainer.n_steps=30", "device=cpu")
    engine = Signalled([], [(0, [], Died("cancelled", "interrupted"))])
    with pytest.raises(Interrupted) as stopped:
        Job((), "abc", "abc").launch([(*words, f"seed={seed}") for seed in range(3)], 0, engine)
    ending = "asked to save their state and stop: 2"
    assert stopped.value.hint == f"0 of 3 jobs are done; {ending}; the same command continues the others"


def test_a_signal_before_the_first_submission_submits_nothing(scripted):
    engine = Scripted()
    with pytest.raises(Interrupted) as stopped:
        scripted(engine, 2, lambda number: os.kill(os.getpid(), signal.SIGINT) if number else None)
    assert (engine.n_submitted, engine.n_cancelled, stopped.value.hint) == ([], 0, "")
