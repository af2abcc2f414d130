"""Ray (https://docs.ray.io): each job of a sweep is a Ray task, on an existing cluster or on one started for the sweep.

A task that died is not retried by default, since it may die again. Running the same command again continues it from its checkpoint.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # must precede the import: disables Ray's usage reports
import ray
import torch

from ebm_cli.config.schema import check_signature
from ebm_cli.console import say
from ebm_cli.errors import InputError, Interrupted, Problem, bad
from ebm_cli.sweeps.dispatch import Died
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.remote import RemoteEngine, RemoteJob
from ebm_cli.types import Count, Natural, NonNegative, Positive

GRACE_S = 20  # seconds that cancelled tasks have to save their state; the sweep then ends and kills those that are left
REACH_S = 10  # seconds that a cluster has to accept a connection
CAUSES = {
    ray.exceptions.WorkerCrashedError: "killed, perhaps out of memory",
    ray.exceptions.OutOfMemoryError: "killed by Ray: out of memory",
}


def init(*, address: str | None, num_cpus: Natural | None, num_gpus: Natural | None) -> None:
    """The settings in `hydra.launcher.ray.init`, written as a signature."""


def remote(
    *, num_gpus: NonNegative, num_cpus: NonNegative, memory: Count | None, resources: dict[str, Positive], max_retries: Natural
) -> None:
    """The settings in `hydra.launcher.ray.remote`, written as a signature."""


def work(job: RemoteJob, n_gpus: float, n_threads: int) -> Outcome | None:
    """The body of a Ray task, which runs in its own process."""
    if not n_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray does not set it for a task without GPUs, which would see all of them
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    torch.set_num_threads(n_threads)
    try:
        return job()
    except Interrupted as stop:
        return job.stopped(stop.signal)


def reach(address: str) -> None:
    """Raise `InputError` if the cluster does not answer. Ray itself would retry for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:  # local, auto, ray://...
        return
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        message = f"hydra.launcher.ray.init.address: {address} does not answer: {error.strerror or error}"
        raise bad(message, "hydra.launcher.ray.init.address=local starts Ray on this machine") from None


class Ray(RemoteEngine):
    """Runs the jobs of a sweep as Ray tasks."""

    name = "Ray"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        problems: list[Problem] = []
        cluster, self._task = (
            check_signature(section, settings[section.__name__], f"hydra.launcher.ray.{section.__name__}", problems)
            for section in (init, remote)
        )
        if problems:
            raise InputError(*problems)
        address = cluster["address"] or os.environ.get("RAY_ADDRESS", "local")
        if not ray.is_initialized():
            reach(address)
            try:
                ray.init(**cluster, include_dashboard=False, log_to_driver=False, logging_level="error")
            except ray.exceptions.AuthenticationError as error:
                message = f"hydra.launcher.ray.init: Ray has no valid token: {str(error).partition('. ')[0]}"
                raise bad(message, "set RAY_AUTH_TOKEN_PATH to a file that holds the token of the cluster, or unset it") from None
            except (ConnectionError, ValueError) as error:
                hint = "hydra.launcher.ray.init.address=local starts Ray on this machine; a cluster with a token needs RAY_AUTH_MODE=token"
                raise bad(f"hydra.launcher.ray.init: {str(error).partition('. ')[0]}", hint) from None
        self._refs: dict[ray.ObjectRef, int] = {}
        available, requested = ray.cluster_resources().get("GPU", 0), self._task["num_gpus"]
        if available < requested:
            message = f"each job requests {requested:g} GPU, but Ray has {available:g}"
            hint = "hydra.launcher.ray.remote.num_gpus=0 runs the jobs on CPU cores"
            if address == "local":
                raise bad(f"hydra.launcher.ray.remote.num_gpus: {message}", hint)
            say(f"warning: {message}: waiting for the cluster to grow; {hint}")

    def submit(self, jobs: Mapping[int, RemoteJob]) -> None:
        task = ray.remote(**self._task, max_calls=1)(work)  # max_calls=1: a new process for each task
        n_gpus, n_threads = self._task["num_gpus"], max(1, int(self._task["num_cpus"]))
        self._refs |= {task.remote(job, n_gpus, n_threads): number for number, job in jobs.items()}

    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        ready, _ = ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0) if self._refs else ((), ())
        for ref in ready:
            try:
                result = ray.get(ref)
            except ray.exceptions.RayError as error:
                cause = next((text for kind, text in CAUSES.items() if isinstance(error, kind)), "")
                last = str(error).strip().splitlines()[-1]
                result = Died("\n".join([cause or last, str(error)]))
            yield self._refs.pop(ref), result

    def end_all(self) -> None:
        for ref in self._refs:
            ray.cancel(ref)  # raises KeyboardInterrupt in the process of the task, as Ctrl-C does
        if self._refs:
            ray.wait(list(self._refs), num_returns=len(self._refs), timeout=GRACE_S)
