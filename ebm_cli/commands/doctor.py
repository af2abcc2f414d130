"""usage: ebm doctor [--json]

What works here and what does not: versions, devices, cores, the outputs folder, wandb, a compiler, extras; with what would mend it.

  --json   the same as JSON

ok: as it should be; absent: not needed, not there; problem: works, but maybe not as you expect; broken: ebm needs it. Exit code 1
where something is broken."""

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

EXTRAS = {"parquet": "pyarrow", "optuna": "optuna", "slurm": "submitit", "ray": "ray", "tensorboard": "tensorboard"}
WANDB_MODES = ("online", "offline", "disabled", "shared")
LEAST_FREE = 1.0  # GB on the disk of the outputs folder
PATIENCE = 20  # seconds that nvidia-smi may take; on a busy machine it takes some


class Finding(NamedTuple):
    """A line of the report."""

    check: str
    state: str  # ok, absent, problem or broken
    found: str
    mend: str = ""


def main(words: Sequence[str]) -> int:
    flags, rest = words_of(words, ["--json"])
    if rest:
        raise bad(f"ebm doctor takes no {rest[0]!r}", __doc__.splitlines()[0])
    findings = [finding for check in (versions, devices, cores, outputs, wandb, compiler, extras) for finding in check()]
    broken = any(finding.state == "broken" for finding in findings)
    if "--json" in flags:
        print(json.dumps({"ok": not broken, "checks": [finding._asdict() for finding in findings]}, indent=1))
    else:
        console.table(["check", "state", "found", "mend"], findings)
    return int(broken)


def versions() -> Iterator[Finding]:
    """This package, Python and all that the package requires, each against the range that was tested."""
    try:
        yield Finding("ebm", "ok", metadata.version("ebm-cli"))
    except metadata.PackageNotFoundError:
        yield Finding("ebm", "broken", "not installed: its ranges of versions are unknown", "pip install ebm-cli, or `make` in a checkout")
        return
    needed = metadata.metadata("ebm-cli")["Requires-Python"]
    yield in_range("python", platform.python_version(), needed, "broken", "build the environment with another Python")
    for name, wanted in required("").items():
        yield package(name, wanted, "broken", f"pip install '{name}{wanted}'")


def required(extra: str) -> dict[str, str]:
    """The ranges of the packages that this one requires, or that one of its extras does, as installed."""
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
    """A package by its version, without importing it."""
    try:
        return in_range(name, metadata.version(name), wanted, otherwise, mend)
    except metadata.PackageNotFoundError:
        return Finding(name, otherwise, "not installed", mend)


def in_range(name: str, version: str, wanted: str, otherwise: str, mend: str) -> Finding:
    try:
        from packaging.specifiers import SpecifierSet

        inside = SpecifierSet(wanted).contains(version, prereleases=True)
    except ImportError:  # Hydra and matplotlib bring it: those are broken too
        return Finding(name, "problem", f"{version}, not compared with {wanted}", "pip install packaging")
    return Finding(name, "ok", version) if inside else Finding(name, otherwise, f"{version}, outside {wanted}", mend)


def devices() -> Iterator[Finding]:
    """What torch computes on, and whether a GPU that is there is seen."""
    gpus, smi = nvidia_smi()
    yield smi
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = visible is not None and visible.strip() in ("", "-1")
    yield Finding(
        "CUDA_VISIBLE_DEVICES",
        "problem" if hidden and gpus else "ok",
        "not set: every GPU" if visible is None else f"{visible!r}",
        "it hides every GPU: unset CUDA_VISIBLE_DEVICES" if hidden and gpus else "",
    )
    try:
        import torch

        from ebm_cli.core.device import pick_device

        yield Finding("cpu", "ok", f"{torch.get_num_threads()} threads of torch")
        seen = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        for i in seen:
            facts = torch.cuda.get_device_properties(i)
            yield Finding(f"cuda:{i}", "ok", f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")
        if not seen:
            build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            lost = gpus and not hidden
            mend = "a driver for that CUDA, or a torch for this driver" if torch.version.cuda else "a torch with CUDA: https://pytorch.org"
            yield Finding("cuda", "problem" if lost else "absent", f"none seen by torch, which is {build}", mend if lost else "")
        mps = torch.backends.mps.is_available()
        yield Finding("mps", "ok" if mps else "absent", "there" if mps else "none: it is Apple's")
        yield Finding("device=auto", "ok", f"takes {pick_device('auto')}")
    except Exception as error:  # a broken torch fails in many ways, and it is this command's to say so
        mend = "pip install --force-reinstall torch; the message says what is missing"
        yield Finding("devices", "broken", f"{type(error).__name__}: {' '.join(str(error).split())}", mend)


def nvidia_smi() -> tuple[int, Finding]:
    """The number of GPUs that the driver knows, and what is said of it."""
    if not shutil.which("nvidia-smi"):
        return 0, Finding("nvidia-smi", "absent", "not there: no NVIDIA driver")
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    mend = "the driver does not answer: see what `nvidia-smi` says"
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 0, Finding("nvidia-smi", "problem", f"no answer in {PATIENCE} s", mend)
    except OSError as error:
        return 0, Finding("nvidia-smi", "problem", f"cannot be started: {error.strerror}", mend)
    lines = (answer.stdout if answer.returncode == 0 else answer.stdout + answer.stderr).strip().splitlines()
    if answer.returncode or not lines:
        return 0, Finding("nvidia-smi", "problem", f"exit code {answer.returncode}: {lines[0] if lines else 'nothing said'}", mend)
    return len(lines), Finding("nvidia-smi", "ok", "; ".join(lines))


def cores() -> Iterator[Finding]:
    """The cores that this process may use, and how many threads torch is told to start."""
    n_cores, quota = slots.affinity(), slots.cgroup_quota()
    limit = "" if quota is None or quota >= n_cores else f", of which a container gets the time of {quota:g}"
    yield Finding("cores", "ok", f"{n_cores} of {os.cpu_count()}{limit}")
    usable = slots.n_cores()
    threads = os.environ.get("OMP_NUM_THREADS")
    wrong = threads is not None and not (threads.isdigit() and 1 <= int(threads) <= usable)
    if wrong or (threads is None and n_cores > usable):
        found = f"not set: torch takes {n_cores}" if threads is None else f"{threads!r}, where {usable} can be used"
        yield Finding("OMP_NUM_THREADS", "problem", found, f"export OMP_NUM_THREADS={usable}")
    else:
        yield Finding("OMP_NUM_THREADS", "ok", threads or f"not set: torch takes {n_cores}")


def outputs() -> Iterator[Finding]:
    """Whether a run can be written, tried with a file that leaves no trace (permissions say little to root and on network disks)."""
    folder = run.outputs().absolute()
    mend = "EBM_OUTPUTS names another place for results"
    try:
        there = next(path for path in ((folder / "runs"), *(folder / "runs").parents) if os.path.lexists(path))
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        yield Finding("outputs", "broken", f"{folder} cannot be written: {error.strerror}", mend)
        return
    full = free < LEAST_FREE
    yield Finding("outputs", "problem" if full else "ok", f"{folder}, {free:.1f} GB free", f"make room, or {mend}" if full else "")


def wandb() -> Iterator[Finding]:
    """Whether a key is there; of the key itself nothing is said, nor of the file that holds it."""
    file, mode = os.path.expanduser(os.environ.get("NETRC") or "~/.netrc"), os.environ.get("WANDB_MODE", "")
    try:
        host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or "api.wandb.ai"
        if os.environ.get("WANDB_API_KEY"):
            yield Finding("wandb key", "ok", "WANDB_API_KEY is set")
        elif os.path.isfile(file) and netrc.netrc(file).authenticators(host):
            yield Finding("wandb key", "ok", f"for {host} in {file}")
        else:
            mend = "" if mode in ("offline", "disabled") else "`wandb login` stores one; WANDB_MODE=offline needs none"
            yield Finding("wandb key", "absent", f"neither in WANDB_API_KEY nor for {host} in {file}", mend)
    except (OSError, ValueError, netrc.NetrcParseError):  # whose messages would quote the file
        yield Finding("wandb key", "problem", f"{file} or WANDB_BASE_URL cannot be read", "mend it, or set WANDB_API_KEY")
    if mode and mode not in WANDB_MODES:
        yield Finding("WANDB_MODE", "problem", "set to a mode that wandb does not have", f"one of {', '.join(WANDB_MODES)}")
    else:
        yield Finding("WANDB_MODE", "ok", mode or "not set: online")


def compiler() -> Iterator[Finding]:
    """What torch.compile needs on a CPU: a C++ compiler and Python's headers."""
    named = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # as torch chooses
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
    """The optional packages, found without importing them."""
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
