"""Slurm, by submitit (https://github.com/facebookincubator/submitit): the jobs of a sweep as one array. Also submitit on this machine.

What Slurm sends to a task, and what becomes of it:

    SIGUSR2           its time is up, or it is preempted: the state is saved at the step, submitit requeues the task, which goes on there
    SIGTERM           cancelled or preempted, which is not said: the state is saved at the step, and what follows decides
    SIGTERM, SIGKILL  cancelled; or preempted, and then Slurm requeues it by itself
    SIGKILL           out of memory, a lost node: the task has no result, and the others go on
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import which
from typing import Any, Literal

import submitit
import torch
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from ebm_cli.config.schema import check_signature
from ebm_cli.errors import InputError, Interrupted, Problem, bad
from ebm_cli.runs import run
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.processes import Died
from ebm_cli.sweeps.remote import RemoteJob
from ebm_cli.training.signals import Stop
from ebm_cli.types import Count, Natural

RESULT_S = 15.0  # that a shared disk may take to show what another machine has written
MOST_LINES = 20  # of the output of a task that died
ERROR = re.compile(r"\w[\w.]*: |Job not requeued")  # the line of a traceback that says what it was
GENERIC = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "name", "stderr_to_stdout")  # what submitit has no prefix for


def local(
    *,
    submitit_folder: str | None,
    timeout_min: Count,
    cpus_per_task: Count | None,
    gpus_per_node: Natural | None,
    mem_gb: Count | None,
    name: str,
    stderr_to_stdout: bool,
) -> None:
    """The settings of `hydra/launcher=submitit_local`, as a signature."""


def slurm(
    *,
    submitit_folder: str | None,
    timeout_min: Count,
    cpus_per_task: Count | None,
    gpus_per_node: Natural | None,
    mem_gb: Count | None,
    name: str,
    stderr_to_stdout: bool,
    partition: str | None,
    qos: str | None,
    account: str | None,
    constraint: str | None,
    exclude: str | None,
    comment: str | None,
    gres: str | None,
    gpus_per_task: Natural | None,
    cpus_per_gpu: Count | None,
    mem_per_gpu: str | None,
    mem_per_cpu: str | None,
    signal_delay_s: Count,
    max_num_timeout: Natural,
    array_parallelism: Count,
    setup: list[str] | None,
    additional_parameters: dict[str, Any],
) -> None:
    """The settings of `hydra/launcher=submitit_slurm`, as a signature."""


@dataclass(frozen=True)
class Task:
    """A parcel as submitit runs it, in a process of its own."""

    parcel: RemoteJob

    def __call__(self) -> Outcome | None:
        environment = submitit.JobEnvironment()
        preemption = signal.Signals[f"SIG{environment.USR_SIG}"]
        requeue = signal.getsignal(preemption)  # submitit's, which knows nothing of a step or of a state
        Stop.ends |= {preemption}
        if environment.cluster == "slurm":
            Stop.saves = frozenset({signal.SIGTERM}) - {preemption}
            Stop.ends -= Stop.saves
        os.environ["OMP_NUM_THREADS"] = threads = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        torch.set_num_threads(int(threads))
        try:
            with Stop().listening():
                return self.parcel()
        except Interrupted as stop:
            if stop.signal == preemption:
                requeue(preemption, None)  # and exits
            return self.parcel.stopped(stop.signal)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit requeues: the same. Where to go on from is in the run's folder."""
        return submitit.helpers.DelayedSubmission(self)


class Submitit:
    """The jobs of a sweep as submitit's. `cluster`: slurm or local."""

    def __init__(self, cluster: Literal["slurm", "local"], settings: Mapping[str, Any], sweep: str) -> None:
        problems: list[Problem] = []
        typed = check_signature({"slurm": slurm, "local": local}[cluster], dict(settings), "hydra.launcher", problems)
        if problems:
            raise InputError(*problems)
        if cluster == "slurm" and not (which("sbatch") and which("srun")):
            raise bad("hydra/launcher=submitit_slurm: there is no sbatch here", "type it where `sbatch` works: on the cluster's login node")
        now = time.strftime("%Y%m%d-%H%M%S")  # ids come again, and a result that is there must be of this launch
        folder = typed.pop("submitit_folder") or run.outputs() / "sweeps" / sweep / "submitit" / now
        specific = {f"{cluster}_{key}": value for key, value in typed.items() if key not in GENERIC}
        timeouts = {key: specific.pop(key) for key in ("slurm_max_num_timeout",) if key in specific}
        if cluster == "slurm" and typed["cpus_per_task"]:  # since Slurm 22.05 srun no longer takes it over from sbatch
            specific["slurm_srun_args"] = [f"--cpus-per-task={typed['cpus_per_task']}"]
        self.name, self._cluster, self._jobs, self._gone = {"slurm": "Slurm", "local": "submitit"}[cluster], cluster, {}, {}
        self._executor = submitit.AutoExecutor(folder, cluster=cluster, **timeouts)
        self._executor.update_parameters(**{key: typed[key] for key in GENERIC}, **specific)

    def start(self, parcels: Mapping[int, RemoteJob]) -> None:
        try:
            with submitit.helpers.clean_env(), _deaf():  # this may be typed inside a job of Slurm's
                jobs = self._executor.submit_array([Task(parcel) for parcel in parcels.values()])
        except (FailedJobError, FailedSubmissionError) as error:
            hint = "hydra.launcher.partition, .account, .qos and the like say what to ask for"
            raise bad(str(error).splitlines()[-1], hint) from None
        self._jobs |= dict(zip(parcels, jobs, strict=True))

    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        for number, job in list(self._jobs.items()):
            if not job.done():
                continue
            there = job.paths.result_pickle.exists()
            if not there and time.monotonic() - self._gone.setdefault(number, time.monotonic()) < RESULT_S:
                continue
            del self._jobs[number]
            self._gone.pop(number, None)
            yield number, _result(job) if there else _no_result(job)

    def cancel(self) -> None:
        if self._cluster == "slurm":
            subprocess.run(["scancel", *{job.job_id.partition("_")[0] for job in self._jobs.values()}])
        else:
            for job in self._jobs.values():
                job.cancel()


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started here does not hear the terminal's Ctrl-C: submitit's own processes would answer with a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _result(job: submitit.Job) -> Outcome | Died | None:
    try:
        return job.result()
    except UncompletedJobError as error:  # it went wrong outside the run: the environment there, its time
        lines = [line for line in str(error).splitlines() if line.strip(" -")]
        return Died("\n".join([next((line for line in reversed(lines) if ERROR.match(line)), lines[0]), *lines]))


def _no_result(job: submitit.Job) -> Died:
    output = (job.stderr() or job.stdout() or "").splitlines()[-MOST_LINES:]
    state = "interrupted" if job.state.startswith("CANCELLED") else "failed"
    return Died("\n".join([f"ended without a result: {job.state}", *output, f"(the end of {job.paths.stdout})"]), state)
