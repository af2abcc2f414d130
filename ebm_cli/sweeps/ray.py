"""Ray (https://docs.ray.io): each job of a sweep a task, on a cluster that is there or on one started here for the sweep.

A task is never run again by itself: what killed it may do so again, and the same line typed again goes on from its checkpoint.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import; else Ray reports its use to its makers
import ray
import torch

from ebm_cli.config.schema import check_signature
from ebm_cli.console import say
from ebm_cli.errors import InputError, Interrupted, Problem, bad
from ebm_cli.sweeps.jobs import Outcome
from ebm_cli.sweeps.processes import Died
from ebm_cli.sweeps.remote import RemoteJob
from ebm_cli.types import Count, Natural, NonNegative, Positive

GRACE_S = 20  # from the order to end to the end of the sweep, which takes what is left with it
REACH_S = 10  # for a cluster to answer
CAUSES = {
    ray.exceptions.WorkerCrashedError: "killed, perhaps out of memory",
    ray.exceptions.OutOfMemoryError: "killed by Ray: out of memory",
}


def init(*, address: str | None, num_cpus: Natural | None, num_gpus: Natural | None) -> None:
    """The settings in `hydra.launcher.ray.init`, as a signature."""


def remote(
    *, num_gpus: NonNegative, num_cpus: NonNegative, memory: Count | None, resources: dict[str, Positive], max_retries: Natural
) -> None:
    """The settings in `hydra.launcher.ray.remote`, as a signature."""


def work(parcel: RemoteJob, n_gpus: float, n_threads: int) -> Outcome | None:
    """What a task does, in a process of its own."""
    if not n_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it as it is, and every task would see every GPU
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    torch.set_num_threads(n_threads)
    try:
        return parcel()
    except Interrupted as stop:
        return parcel.stopped(stop.signal)


def reach(address: str) -> None:
    """Refuse a cluster that does not answer; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:  # local, auto, ray://...
        return
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        message = f"hydra.launcher.ray.init.address: {address} does not answer: {error.strerror or error}"
        raise bad(message, "address=local starts Ray here") from None


class Ray:
    """The jobs of a sweep as Ray's tasks."""

    name = "Ray"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        problems: list[Problem] = []
        cluster, self._task = (
            check_signature(one, settings[one.__name__], f"hydra.launcher.ray.{one.__name__}", problems) for one in (init, remote)
        )
        if problems:
            raise InputError(*problems)
        address = cluster["address"] or os.environ.get("RAY_ADDRESS", "local")
        if not ray.is_initialized():
            reach(address)
            try:
                ray.init(**cluster, include_dashboard=False, log_to_driver=False, logging_level="error")
            except (ConnectionError, ValueError) as error:
                hint = "address=local starts Ray here; a cluster with a token wants RAY_AUTH_MODE=token"
                raise bad(f"hydra.launcher.ray.init: {str(error).partition('. ')[0]}", hint) from None
        self._refs: dict[ray.ObjectRef, int] = {}
        there, asked = ray.cluster_resources().get("GPU", 0), self._task["num_gpus"]
        if there < asked:
            found, cure = (
                f"each job asks for {asked:g} GPU, and Ray has {there:g}",
                "hydra.launcher.ray.remote.num_gpus=0 runs the jobs on cores",
            )
            if address == "local":
                raise bad(f"hydra.launcher.ray.remote.num_gpus: {found}", cure)
            say(f"warning: {found}: waiting for the cluster to grow; {cure}")

    def start(self, parcels: Mapping[int, RemoteJob]) -> None:
        task = ray.remote(**self._task, max_calls=1)(work)  # a process for each
        n_gpus, n_threads = self._task["num_gpus"], max(1, int(self._task["num_cpus"]))
        self._refs |= {task.remote(parcel, n_gpus, n_threads): number for number, parcel in parcels.items()}

    def ended(self) -> Iterator[tuple[int, Outcome | Died | None]]:
        ready, _ = ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0) if self._refs else ((), ())
        for ref in ready:
            try:
                result = ray.get(ref)
            except ray.exceptions.RayError as error:
                what = next((text for kind, text in CAUSES.items() if isinstance(error, kind)), "")
                last = str(error).strip().splitlines()[-1]
                result = Died("\n".join([what or last, str(error)]))
            yield self._refs.pop(ref), result

    def cancel(self) -> None:
        for ref in self._refs:
            ray.cancel(ref)  # Ctrl-C, as its process sees it
        if self._refs:
            ray.wait(list(self._refs), num_returns=len(self._refs), timeout=GRACE_S)
