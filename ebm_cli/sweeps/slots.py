"""Where the jobs of a sweep run: a slot is one GPU, or a share of one, or one core."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ebm_cli.errors import bad, nearest
from ebm_cli.types import Count, Natural

NO_GPU = ("", "-1")  # what CUDA_VISIBLE_DEVICES holds where nothing is to be seen


@dataclass(frozen=True)
class Slot:
    """Where one job at a time runs."""

    gpu: str  # what CUDA_VISIBLE_DEVICES will hold: an index or a UUID; "" for a core
    n_threads: int

    def __str__(self) -> str:
        return f"GPU {self.gpu}" if self.gpu else "CPU"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG device, as CUDA_VISIBLE_DEVICES names it."""

    name: str
    uuid: str

    def is_called(self, name: str) -> bool:
        """By its index, its UUID or, as CUDA has it, a beginning of that."""
        return name == self.name or (name.startswith(("GPU-", "MIG-")) and self.uuid.startswith(name))


def plan(gpus: Literal["auto"] | Natural | list[Natural | str], jobs_per_gpu: Count, cpu_jobs: Count | None) -> list[Slot]:
    """The slots of this machine, those of different GPUs first. Without GPUs one per core, or `cpu_jobs`, of one thread each.

    gpus: `auto`, how many, or which (ids of nvidia-smi or UUIDs). Raises `InputError` where more is asked for than there is.
    """
    chosen = choose(gpus, visible())
    if not chosen:
        return [Slot("", 1)] * (cpu_jobs or n_cores())
    threads = max(1, n_cores() // (len(chosen) * jobs_per_gpu))
    return [Slot(gpu.name, threads) for _ in range(jobs_per_gpu) for gpu in chosen]


def choose(gpus: str | int | list, there: list[Gpu]) -> list[Gpu]:
    """Those of the visible GPUs that were asked for."""
    names = ", ".join(gpu.name for gpu in there) or "none"
    if isinstance(gpus, int):
        if gpus > len(there):
            raise bad(
                f"hydra.launcher.gpus: {gpus} GPUs were asked for, but {len(there)} can be seen",
                "hydra.launcher.gpus=auto takes them" if there else "hydra.launcher.gpus=0 takes the cores",
            )
        return there[:gpus]
    if gpus == "auto":
        return there
    chosen = []
    for name in map(str, gpus):
        found = [gpu for gpu in there if gpu.is_called(name)]
        if len(found) != 1:
            limit = f" (CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']})" if "CUDA_VISIBLE_DEVICES" in os.environ else ""
            raise bad(
                f"hydra.launcher.gpus: there is no GPU {name}; can be seen: {names}{limit}", nearest(name, [gpu.name for gpu in there])
            )
        if found[0] in chosen:
            raise bad(f"hydra.launcher.gpus: GPU {name} is named twice", "hydra.launcher.jobs_per_gpu=2 runs two jobs on each GPU")
        chosen += found
    return chosen


def visible() -> list[Gpu]:
    """The GPUs that CUDA would see: those of the machine or, of these, the ones that CUDA_VISIBLE_DEVICES names."""
    machine, limit = on_machine(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if limit is None:
        return machine
    named: list[Gpu] = []
    for name in (part.strip() for part in limit.split(",")):
        if name in NO_GPU:  # CUDA reads no further
            break
        found = next((gpu for gpu in machine if gpu.is_called(name)), Gpu("", ""))
        named.append(Gpu(name, found.uuid or name) if name.startswith(("GPU-", "MIG-")) else Gpu(name, found.uuid))
    return named


def on_machine() -> list[Gpu]:
    """What `nvidia-smi -L` lists; of a GPU that is cut into MIG devices, these in its place."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
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
    """Cores that this process may use: its affinity, and the quota of its container."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        n = min(n, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit
        pass
    return n
