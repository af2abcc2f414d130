"""Slurm through submitit (https://github.com/facebookincubator/submitit), with the jobs of a sweep as one array; submitit without Slurm.

Signals that a task receives from Slurm, and their effects:

    SIGUSR2           timeout or preemption: the task saves its state at the current step, and submitit requeues it to continue there
    SIGTERM           cancellation or preemption (Slurm does not say which): the task saves its state and continues to train
    SIGTERM, SIGKILL  cancellation, or preemption after which Slurm itself requeues the task
    SIGKILL           out of memory or a lost node: the task has no result; the other tasks continue
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
from ebm_cli.sweeps.dispatch import Died
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.remote import RemoteEngine, RemoteJob
from ebm_cli.sweeps.slots import choose, visible
from ebm_cli.training.signals import Stop
from ebm_cli.types import Count, Natural

RESULT_S = 15.0  # seconds until a file written by another machine is visible on a shared disk
MOST_LINES = 20  # lines of the output of a dead task that are quoted
ERROR = re.compile(r"\w[\w.]*: |Job not requeued")  # the line of a traceback that names the error
GENERIC = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "name", "stderr_to_stdout")  # submitit takes these without a prefix


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
    """The settings of `hydra/launcher=submitit_local`, written as a signature."""


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
    """The settings of `hydra/launcher=submitit_slurm`, written as a signature."""


@dataclass(frozen=True)
class Task:
    """A job as a callable for submitit, which runs it in its own process."""

    job: RemoteJob
    gpus: str | None  # the value of CUDA_VISIBLE_DEVICES in the job; None leaves it as it is

    def __call__(self) -> Outcome | None:
        environment = submitit.JobEnvironment()
        preemption = signal.Signals[f"SIG{environment.USR_SIG}"]
        requeue = signal.getsignal(preemption)  # the handler of submitit, which does not save the state of the run
        Stop.ends |= {preemption}
        if environment.cluster == "slurm":
            Stop.saves = frozenset({signal.SIGTERM}) - {preemption}
            Stop.ends -= Stop.saves
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        os.environ["OMP_NUM_THREADS"] = threads = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        torch.set_num_threads(int(threads))
        try:
            with Stop().listening():
                return self.job()
        except Interrupted as stop:
            if stop.signal == preemption:
                requeue(preemption, None)  # exits the process
            return self.job.stopped(stop.signal)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called by submitit to requeue: the same job again, which continues from the checkpoint in the run's folder."""
        return submitit.helpers.DelayedSubmission(self)


class Submitit(RemoteEngine):
    """Runs the jobs of a sweep through submitit. `cluster`: slurm or local."""

    def __init__(self, cluster: Literal["slurm", "local"], settings: Mapping[str, Any], sweep: str) -> None:
        super().__init__()
        problems: list[Problem] = []
        typed = check_signature({"slurm": slurm, "local": local}[cluster], dict(settings), "hydra.launcher", problems)
        if problems:
            raise InputError(*problems)
        if cluster == "slurm" and not (which("sbatch") and which("srun")):
            message = "hydra/launcher=submitit_slurm: the Slurm commands sbatch and srun were not found"
            raise bad(message, "run this command on the login node of the cluster")
        now = time.strftime("%Y%m%d-%H%M%S")  # job ids can be reused: the results of this launch need their own folder
        folder = typed.pop("submitit_folder") or run.outputs() / "sweeps" / sweep / "submitit" / now
        specific = {f"{cluster}_{key}": value for key, value in typed.items() if key not in GENERIC}
        timeouts = {key: specific.pop(key) for key in ("slurm_max_num_timeout",) if key in specific}
        if cluster == "slurm" and typed["cpus_per_task"]:  # since Slurm 22.05 srun does not inherit it from sbatch
            specific["slurm_srun_args"] = [f"--cpus-per-task={typed['cpus_per_task']}"]
        # submitit itself numbers the GPUs of local jobs from 0, whatever CUDA_VISIBLE_DEVICES of this command says
        own = choose(typed["gpus_per_node"] or 0, visible(), key="hydra.launcher.gpus_per_node") if cluster == "local" else []
        self._gpus = ",".join(gpu.name for gpu in own) if cluster == "local" else None
        self.name, self._cluster, self._jobs, self._gone = {"slurm": "Slurm", "local": "submitit"}[cluster], cluster, {}, {}
        self._executor = submitit.AutoExecutor(folder, cluster=cluster, **timeouts)
        self._executor.update_parameters(**{key: typed[key] for key in GENERIC}, **specific)

    def submit(self, jobs: Mapping[int, RemoteJob]) -> None:
        try:
            with submitit.helpers.clean_env(), _without_sigint():  # clean_env: the command may itself run inside a Slurm job
                submitted = self._executor.submit_array([Task(job, self._gpus) for job in jobs.values()])
        except (FailedJobError, FailedSubmissionError) as error:
            hint = "check hydra.launcher.partition, .account, .qos and the requested resources"
            raise bad(str(error).splitlines()[-1], hint) from None
        self._jobs |= dict(zip(jobs, submitted, strict=True))

    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        for number, job in list(self._jobs.items()):
            if not job.done():
                continue
            has_result = job.paths.result_pickle.exists()
            if not has_result and time.monotonic() - self._gone.setdefault(number, time.monotonic()) < RESULT_S:
                continue
            del self._jobs[number]
            self._gone.pop(number, None)
            yield number, _result(job) if has_result else _no_result(job)

    def end_all(self) -> None:
        if self._cluster == "slurm":
            subprocess.run(["scancel", *{job.job_id.partition("_")[0] for job in self._jobs.values()}])
        else:
            for job in self._jobs.values():
                job.cancel()


@contextmanager
def _without_sigint() -> Iterator[None]:
    """Start processes that ignore SIGINT. At Ctrl-C the processes of submitit would otherwise print tracebacks."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _result(job: submitit.Job) -> Outcome | Died | None:
    try:
        return job.result()
    except UncompletedJobError as error:  # an error outside the run, for example in its environment, or too many timeouts
        lines = [line for line in str(error).splitlines() if line.strip(" -")]
        return Died("\n".join([next((line for line in reversed(lines) if ERROR.match(line)), lines[0]), *lines]))


def _no_result(job: submitit.Job) -> Died:
    output = (job.stderr() or job.stdout() or "").splitlines()[-MOST_LINES:]
    state = "interrupted" if job.state.startswith("CANCELLED") else "failed"
    return Died("\n".join([f"ended without a result: {job.state}", *output, f"(the end of {job.paths.stdout})"]), state)
