"""The slots in which the jobs of a sweep run: a slot is a GPU, a share of a GPU, or a CPU core."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ebm_cli.errors import Problem, bad, nearest
from ebm_cli.types import Count, Natural

NO_GPU = ("", "-1")  # entries of CUDA_VISIBLE_DEVICES that hide the GPU and all after it


@dataclass(frozen=True)
class Slot:
    """A place in which one job runs at a time."""

    gpu: str  # the value of CUDA_VISIBLE_DEVICES for the job: an index or a UUID; "" for a core
    n_threads: int

    def __str__(self) -> str:
        return f"GPU {self.gpu}" if self.gpu else "CPU"


@dataclass(frozen=True)
class Gpu:
    """A GPU or a MIG device, under its name in CUDA_VISIBLE_DEVICES."""

    name: str
    uuid: str

    def is_called(self, name: str) -> bool:
        """Whether `name` is the index of this GPU, its UUID or, as CUDA allows, a prefix of its UUID."""
        return name == self.name or (name.startswith(("GPU-", "MIG-")) and self.uuid.startswith(name))


def plan(gpus: Literal["auto"] | Natural | list[Natural | str], jobs_per_gpu: Count, cpu_jobs: Count | None) -> list[Slot]:
    """The slots of this machine, alternating between GPUs. Without GPUs: `cpu_jobs` slots, or one per core, with one thread each.

    gpus: `auto`, a number of GPUs, or a list of GPUs (ids of nvidia-smi or UUIDs). Raises `InputError` if a requested GPU does not exist.
    """
    chosen = choose(gpus, visible())
    if not chosen:
        return [Slot("", 1)] * (cpu_jobs or n_cores())
    threads = max(1, n_cores() // (len(chosen) * jobs_per_gpu))
    return [Slot(gpu.name, threads) for _ in range(jobs_per_gpu) for gpu in chosen]


def choose(gpus: str | int | list, available: list[Gpu], *, key: str = "hydra.launcher.gpus") -> list[Gpu]:
    """The requested GPUs among the visible ones. `key` is the config key of the request, for messages."""
    names = ", ".join(gpu.name for gpu in available) or "none"
    if isinstance(gpus, int):
        if gpus > len(available):
            raise bad(
                f"{key}: GPUs requested: {gpus}, visible: {len(available)}",
                f"{key}={len(available)} uses all visible GPUs" if available else f"{key}=0 runs the jobs on CPU cores",
            )
        return available[:gpus]
    if gpus == "auto":
        return available
    chosen = []
    for name in map(str, gpus):
        found = [gpu for gpu in available if gpu.is_called(name)]
        if len(found) != 1:
            limit = f" (CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']})" if "CUDA_VISIBLE_DEVICES" in os.environ else ""
            fault = f"{name} names {len(found)} GPUs" if found else f"there is no GPU {name}"
            message = f"hydra.launcher.gpus: {fault}; visible GPUs: {names}{limit}"
            raise bad(message, nearest(name, [gpu.name for gpu in available]))
        if found[0] in chosen:
            raise bad(f"hydra.launcher.gpus: GPU {name} is listed twice", "hydra.launcher.jobs_per_gpu=2 runs two jobs on each GPU")
        chosen += found
    return chosen


def hidden(device: str, launcher: Mapping[str, Any]) -> Problem | None:
    """The problem of a device that a job of this launcher does not see, such as `cuda:1` if it has one GPU; None if there is none."""
    kind, _, index = device.partition(":")
    target, one_each = str(launcher.get("_target_")).rpartition(".")[2], "device=cuda is the GPU of the job"
    n_gpus, hint = {
        "GpuLauncher": (1, f"device=cuda hydra.launcher.gpus=[{index}]"),
        "SubmititLauncher": (launcher.get("gpus_per_node") or 1, one_each),
        "SlurmLauncher": (None if launcher.get("gres") else launcher.get("gpus_per_node") or launcher.get("gpus_per_task") or 1, one_each),
        "RayLauncher": ((launcher.get("ray") or {}).get("remote", {}).get("num_gpus") or 1, one_each),
    }.get(target, (None, ""))
    if kind != "cuda" or not index.isdigit() or not isinstance(n_gpus, int | float) or int(index) < n_gpus:
        return None
    sees = "only its own GPU" if n_gpus <= 1 else f"only its own {n_gpus:g} GPUs"
    return Problem(f"device={device}: a job of this sweep sees {sees}", hint)


def visible() -> list[Gpu]:
    """The GPUs that CUDA would see: all GPUs of the machine, or those named by CUDA_VISIBLE_DEVICES."""
    machine, limit = on_machine(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if limit is None:
        return machine
    named: list[Gpu] = []
    for name in (part.strip() for part in limit.split(",")):
        if name in NO_GPU:  # CUDA ignores the rest of the list
            break
        found = next((gpu for gpu in machine if gpu.is_called(name)), Gpu("", ""))
        named.append(Gpu(name, found.uuid or name) if name.startswith(("GPU-", "MIG-")) else Gpu(name, found.uuid))
    return named


def on_machine() -> list[Gpu]:
    """The GPUs listed by `nvidia-smi -L`. The MIG devices of a partitioned GPU take the place of the GPU.

    Without nvidia-smi they are the GPUs that torch sees; those of AMD have other tools.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        import torch

        return [Gpu(str(index), "") for index in range(torch.cuda.device_count())]
    found: list[Gpu] = []
    for line in listed.stdout.splitlines() if listed.returncode == 0 else ():
        if gpu := re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line):
            found.append(Gpu(*gpu.groups()))
        elif mig := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line):
            if found and not found[-1].name.startswith("MIG-"):
                found.pop()
            found.append(Gpu(mig[1], mig[1]))
    return found


def n_cores() -> int:
    """The number of cores that this process may use: the smaller of its affinity and the quota of its container, rounded down."""
    quota = cgroup_quota()
    return affinity() if quota is None else min(affinity(), max(1, int(quota)))


def affinity() -> int:
    """The number of cores on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_quota() -> float | None:
    """The CPU quota of the container in cores, or None if there is no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
