"""usage: ebm doctor [--json]

Check the installation and say how to repair it: versions, devices, cores, the outputs folder, wandb, a compiler and extras.

  --json   print JSON

The states are `ok`, `absent` (optional and not present), `problem` (usable, but perhaps not as you expect) and `broken` (required, and
not usable). The exit code is 1 if something is broken."""

import json
import netrc
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ebm_cli import console
from ebm_cli.commands._words import words_of
from ebm_cli.errors import bad
from ebm_cli.runs import run
from ebm_cli.sweeps import slots

EXTRAS = {
    **{"flow": "zuko", "parquet": "pyarrow", "optuna": "optuna", "slurm": "submitit", "ray": "ray", "tensorboard": "tensorboard"},
    "video": "imageio_ffmpeg",
}
WANDB_MODES = ("online", "offline", "disabled", "shared")
LEAST_FREE = 1.0  # GB that should be free on the disk of the outputs folder
PATIENCE = 20  # seconds that nvidia-smi may take; it is slow on a busy machine


class Finding(NamedTuple):
    """A line of the report."""

    check: str
    state: str  # ok, absent, problem or broken
    found: str
    mend: str = ""


def main(words: Sequence[str]) -> int:
    flags, rest = words_of(words, ["--json"])
    if rest:
        raise bad(f"ebm doctor takes no argument {rest[0]!r}", __doc__.splitlines()[0])
    findings = [finding for check in (versions, devices, cores, outputs, wandb, compiler, extras) for finding in check()]
    broken = any(finding.state == "broken" for finding in findings)
    if "--json" in flags:
        console.show(json.dumps({"ok": not broken, "checks": [finding._asdict() for finding in findings]}, indent=1))
    else:
        console.table(["check", "state", "found", "how to repair it"], findings)
    return int(broken)


def versions() -> Iterator[Finding]:
    """The versions of this package, of Python and of all required packages, compared with the ranges that the package declares."""
    try:
        yield Finding("ebm", "ok", metadata.version("ebm-cli"))
    except metadata.PackageNotFoundError:
        yield Finding("ebm", "broken", "not installed, so the version ranges are unknown", "pip install ebm-cli, or `make` in a checkout")
        return
    needed = metadata.metadata("ebm-cli")["Requires-Python"]
    yield in_range("python", platform.python_version(), needed, "broken", "create the environment with another Python")
    for name, wanted in required("").items():
        yield package(name, wanted, "broken", f"pip install '{name}{wanted}'")


def required(extra: str) -> dict[str, str]:
    """The version ranges of the packages that this package requires, or that one of its extras requires."""
    found = {}
    try:
        lines = metadata.requires("ebm-cli") or ()
    except metadata.PackageNotFoundError:
        lines = ()
    for line in lines:
        wanted, _, marker = line.partition(";")
        if (f'extra == "{extra}"' in marker.replace("'", '"')) if extra else ("extra ==" not in marker):
            name, bounds = re.match(r"([\w.-]+)\s*(?:\[.*?\])?\s*(.*)", wanted.strip()).groups()
            found[name] = bounds
    return found


def package(name: str, wanted: str, otherwise: str, mend: str) -> Finding:
    """Check the version of a package without importing it."""
    try:
        return in_range(name, metadata.version(name), wanted, otherwise, mend)
    except metadata.PackageNotFoundError:
        return Finding(name, otherwise, "not installed", mend)


def in_range(name: str, version: str, wanted: str, otherwise: str, mend: str) -> Finding:
    """Compare a version with the wanted range. `otherwise` is the state outside the range."""
    try:
        from packaging.specifiers import SpecifierSet

        inside = SpecifierSet(wanted).contains(version, prereleases=True)
    except ImportError:  # Hydra and matplotlib depend on it, so they are broken too
        return Finding(name, "problem", f"{version}, not compared with {wanted}", "pip install packaging")
    return Finding(name, "ok", version) if inside else Finding(name, otherwise, f"{version}, outside {wanted}", mend)


def devices() -> Iterator[Finding]:
    """The devices that torch can use, and whether it sees the GPUs of this machine."""
    gpus, smi = nvidia_smi()
    yield smi
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.strip() in ("", "-1")
    yield Finding(
        "CUDA_VISIBLE_DEVICES",
        "problem" if hidden and gpus else "ok",
        "not set: every GPU is visible" if visible is None else f"{visible!r}",
        "it hides every GPU: run `unset CUDA_VISIBLE_DEVICES`" if hidden and gpus else "",
    )
    try:
        import torch

        from ebm_cli.core.device import pick_device

        yield Finding("cpu", "ok", f"torch uses {torch.get_num_threads()} threads")
        seen = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        for i in seen:
            facts = torch.cuda.get_device_properties(i)
            yield Finding(f"cuda:{i}", "ok", f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")
        if not seen:
            build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            lost = gpus and not hidden
            driver, package = (
                "install a driver for this CUDA version, or a torch for this driver",
                "install a torch with CUDA: https://pytorch.org",
            )
            mend = driver if torch.version.cuda else package
            yield Finding("cuda", "problem" if lost else "absent", f"torch, {build}, sees no GPU", mend if lost else "")
        mps = torch.backends.mps.is_available()
        yield Finding("mps", "ok" if mps else "absent", "available" if mps else "not available: only Apple hardware has it")
        yield Finding("device=auto", "ok", f"uses {pick_device('auto')}")
    except Exception as error:  # a broken torch can raise any error, and this command must report it
        mend = "pip install --force-reinstall torch, if the message does not name another cause"
        yield Finding("devices", "broken", f"{type(error).__name__}: {' '.join(str(error).split())}", mend)


def nvidia_smi() -> tuple[int, Finding]:
    """The number of GPUs that the driver reports, and the finding about it."""
    if not shutil.which("nvidia-smi"):
        return 0, Finding("nvidia-smi", "absent", "not found: there is no NVIDIA driver, or nvidia-smi is not on PATH")
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    mend = "run `nvidia-smi`: its message says whether the driver works"
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 0, Finding("nvidia-smi", "problem", f"no answer in {PATIENCE} s", mend)
    except OSError as error:
        return 0, Finding("nvidia-smi", "problem", f"cannot be started: {error.strerror}", mend)
    lines = (answer.stdout if answer.returncode == 0 else answer.stdout + answer.stderr).strip().splitlines()
    if answer.returncode or not lines:
        return 0, Finding("nvidia-smi", "problem", f"exit code {answer.returncode}: {lines[0] if lines else 'no output'}", mend)
    return len(lines), Finding("nvidia-smi", "ok", "; ".join(lines))


def cores() -> Iterator[Finding]:
    """The number of cores that this process may use, and the number of threads that torch starts."""
    n_cores, quota = slots.affinity(), slots.cgroup_quota()
    limit = "" if quota is None or quota >= n_cores else f", limited by the container to a CPU quota of {quota:g}"
    yield Finding("cores", "ok", f"{n_cores} of {os.cpu_count()}{limit}")
    usable = slots.n_cores()
    threads = os.environ.get("OMP_NUM_THREADS")
    wrong = threads is not None and not (threads.isdigit() and 1 <= int(threads) <= usable)
    if wrong or (threads is None and n_cores > usable):
        found = f"not set: torch starts {n_cores} threads" if threads is None else f"{threads!r}, but {usable} cores can be used"
        yield Finding("OMP_NUM_THREADS", "problem", found, f"export OMP_NUM_THREADS={usable}")
    else:
        yield Finding("OMP_NUM_THREADS", "ok", threads or f"not set: torch starts {n_cores} threads")


def outputs() -> Iterator[Finding]:
    """Whether runs can be written. A temporary file tests it: permissions say little for root and on network disks."""
    folder = run.outputs().absolute()
    mend = "set EBM_OUTPUTS to another folder"
    try:
        there = next(path for path in ((folder / "runs"), *(folder / "runs").parents) if os.path.lexists(path))
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        yield Finding("outputs", "broken", f"{folder} cannot be written: {error.strerror}", mend)
        return
    full = free < LEAST_FREE
    yield Finding("outputs", "problem" if full else "ok", f"{folder}, {free:.1f} GB free", f"free some space, or {mend}" if full else "")


def wandb() -> Iterator[Finding]:
    """Whether there is an API key. Neither the key nor any content of the file that holds it is printed."""
    file, mode = os.path.expanduser(os.environ.get("NETRC") or "~/.netrc"), os.environ.get("WANDB_MODE", "")
    try:
        host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or "api.wandb.ai"
        if os.environ.get("WANDB_API_KEY"):
            yield Finding("wandb key", "ok", "WANDB_API_KEY is set")
        elif os.path.isfile(file) and netrc.netrc(file).authenticators(host):
            yield Finding("wandb key", "ok", f"for {host} in {file}")
        else:
            mend = "" if mode in ("offline", "disabled") else "run `wandb login`, or set WANDB_MODE=offline, which needs no key"
            yield Finding("wandb key", "absent", f"there is neither WANDB_API_KEY nor a key for {host} in {file}", mend)
    except (OSError, ValueError, netrc.NetrcParseError):  # their messages would quote the file
        yield Finding("wandb key", "problem", f"{file} or WANDB_BASE_URL cannot be read", "correct it, or set WANDB_API_KEY")
    if mode and mode not in WANDB_MODES:
        yield Finding("WANDB_MODE", "problem", "set to an unknown mode", f"choose one of {', '.join(WANDB_MODES)}")
    else:
        yield Finding("WANDB_MODE", "ok", mode or "not set: wandb is online")


def compiler() -> Iterator[Finding]:
    """The requirements of torch.compile on a CPU: a C++ compiler and the headers of Python."""
    named = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # the choice of torch
    path = shutil.which(named)
    headers = Path(sysconfig.get_path("include"), "Python.h")
    why = "for trainer.compile=true on a CPU:"
    if path is None:
        other = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
        yield Finding("C++ compiler", "absent", f"no {named}", f"{why} {f'export CXX={other}' if other else 'apt-get install g++'}")
    elif not headers.is_file():
        yield Finding("C++ compiler", "absent", f"{path}, but no {headers}", f"{why} apt-get install python3-dev")
    else:
        yield Finding("C++ compiler", "ok", path)


def extras() -> Iterator[Finding]:
    """The optional packages. They are found without being imported."""
    for extra, name in EXTRAS.items():
        mend = f"pip install 'ebm-cli[{extra}]'"
        try:
            there = find_spec(name) is not None
        except (ImportError, ValueError):
            there = False
        if there:
            yield package(name, required(extra).get(name, ""), "problem", mend)
        else:
            yield Finding(name, "absent", "not installed", mend)
