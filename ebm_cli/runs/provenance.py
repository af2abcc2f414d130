"""The environment in which a run is trained: code, packages, device and threads."""

import platform
import subprocess
import sys
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

PACKAGES = ("ebm-cli", "torch", "numpy", "hydra-core", "omegaconf", "safetensors")


def facts(device: torch.device) -> dict[str, Any]:
    """The description of the machine and the code in environment.json."""
    return {
        "git": git(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }


def sources(packages: Iterable[str]) -> dict[str, str]:
    """A hash of the code of each imported package or module. It tells whether the code has changed since a run was trained."""
    return {name: sha256(b"".join(file.read_bytes() for file in _files(sys.modules[name]))).hexdigest()[:10] for name in sorted(packages)}


def _files(module: ModuleType) -> list[Path]:
    """The file of a module, or the files of all modules of a package."""
    folders = getattr(module, "__path__", None)
    return [Path(module.__file__)] if folders is None else sorted(file for folder in folders for file in Path(folder).rglob("*.py"))


def git() -> dict[str, Any]:
    """The commit of the checkout that contains the code, and whether code or configs differ from it; {} for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        commit, changes = (_git(root, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "ebm_cli", "conf")))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": bool(changes)}


def _git(root: Path, *words: str) -> str:
    """The output of a git command."""
    return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def _version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
