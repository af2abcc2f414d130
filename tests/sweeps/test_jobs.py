"""What is known about a line before its job starts, and about a job after it has ended."""

import os
from pathlib import Path

import pytest

from ebm_cli.errors import Interrupted
from ebm_cli.runs import catalog
from ebm_cli.sweeps.dispatch import BUSY, Died
from ebm_cli.sweeps.jobs import EventReporter, Job, Outcome, SweepTask, known

WORDS = ("experiment=smoke", "trainer.n_steps=4", "device=cpu", "figure=[]")
JOB = Job((), "abc", "abc")
DATASET = """from ebm_cli.datasets.moons import Moons


class Broken(Moons):
    def __init__(self, noise: float, scale: float, n_train: int | None) -> None:
        raise ValueError("a mistake of the user")
"""


@pytest.fixture
def task(tmp_path):
    """`task(*words)` is the task of a line with these additional words."""
    return lambda *words: SweepTask(JOB, (*WORDS, *words), tmp_path / "logs" / "0.log")


@pytest.fixture
def finished(ebm):
    """A run that has finished."""
    assert ebm("train", *WORDS)[0] == 0
    (run,) = catalog.every()
    return run


def test_a_new_run_is_not_known_but_its_folder_is(task):
    new = task()
    assert known(JOB, new) is None
    assert new.path.parent == Path(os.environ["EBM_OUTPUTS"]) / "runs"
    assert not new.path.exists()


def test_a_finished_run_is_known_unless_something_is_left_to_do(task, finished, ebm):
    assert known(JOB, task()) == Outcome(task().words, "finished", "", str(finished.path))
    assert known(JOB, task("metric=[quadrature]")).state == "finished"  # the run was measured with this metric and others
    for words in (("force=true",), ("logger=tensorboard",), ("draws.n_steps=7",), ("sampler=langevin",), ("metric=c2st",)):
        assert known(JOB, task(*words)) is None
    assert ebm("evaluate", finished.id, "sampler=langevin")[0] == 0
    assert known(JOB, task()) is None  # its numbers now come from other draws
    assert known(JOB, task("sampler=langevin")).state == "finished"


def test_a_run_is_busy_while_another_process_trains_it(task, finished):
    waiting = task()
    for _ in range(2):  # the second call finds the folder in the task
        with finished.lock(wait=False):
            finished.set_status("running")
            assert known(JOB, waiting) is BUSY
    assert known(JOB, waiting) is None  # the process was killed


def test_the_problems_of_a_refused_line_are_in_its_log(task):
    wrong = task("trainer.batch_size=0", "optimizer.lr=-1")
    outcome = known(JOB, wrong)
    assert (outcome.state, outcome.path) == ("refused", "")
    assert wrong.log.read_text().startswith("error: ")
    assert wrong.log.read_text().count("error: ") == 2
    assert outcome.where(wrong.log) == str(wrong.log)


def test_a_component_that_raises_fails_in_the_process_of_its_job(task, monkeypatch):
    Path("broken.py").write_text(DATASET)
    monkeypatch.setenv("EBM_ALLOW", "broken")
    monkeypatch.syspath_prepend(os.getcwd())
    wrong = task("dataset._target_=broken.Broken")
    assert known(JOB, wrong) is None
    outcome = wrong(lambda event: None)
    assert (outcome.state, outcome.reason) == ("failed", "ValueError: a mistake of the user")


def test_the_run_of_a_dead_job_records_the_reason(task, finished):
    finished.set_status("running")
    died = task()
    died.path, died.started = finished.path, True
    died.log.parent.mkdir()
    died.log.write_text("what it printed")
    assert JOB.outcome_of(died, Died("killed\nwith more")) == Outcome(died.words, "failed", "killed\nwith more", str(finished.path))
    assert finished.read("status.json")["reason"] == "killed\nwith more"
    assert not died.log.exists()  # the output is in the folder of the run


@pytest.mark.parametrize("before", ["", "what it printed\n"])
def test_the_log_of_a_job_that_died_before_its_run_started_records_the_reason(task, before):
    died = task()
    died.path = Path("a run that is not there")
    if before:
        died.log.parent.mkdir()
        died.log.write_text(before)
    assert JOB.outcome_of(died, Died("killed")) == Outcome(died.words, "failed", "killed")
    assert died.log.read_text() == f"{before}killed\n"


def test_a_job_that_was_stopped_before_it_started_leaves_no_files(task, tmp_path):
    assert JOB.outcome_of(task(), Died("ended by SIGTERM", "interrupted")).state == "interrupted"
    assert not task().log.parent.exists()


def test_a_job_that_failed_before_its_run_started_keeps_its_log(task):
    failed = task()
    failed.log.parent.mkdir()
    failed.log.write_text("Traceback")
    outcome = JOB.outcome_of(failed, Outcome(failed.words, "failed", "a mistake", "runs/abc"))
    assert (outcome.path, failed.log.read_text()) == ("runs/abc", "Traceback")
    JOB.outcome_of(failed, Outcome(failed.words, "finished", "", "runs/abc"))
    assert not failed.log.exists()


def test_a_run_continues_when_its_launcher_is_gone(tmp_path):
    def gone(event):
        raise BrokenPipeError

    EventReporter(gone, tmp_path / "0.log", {}).row({"step": 1})


def test_a_task_stopped_by_a_signal_returns_an_outcome(task, monkeypatch):
    def stop(*_, **__):
        raise Interrupted(15)

    monkeypatch.setattr(Job, "run", stop)
    assert task()(print) == Outcome(task().words, "interrupted", "signal 15")
