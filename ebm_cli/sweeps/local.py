"""The local launcher, `hydra/launcher=gpu`: creates an engine from its settings."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ebm_cli.config.schema import check_signature
from ebm_cli.errors import InputError, Problem
from ebm_cli.sweeps.processes import LocalProcesses
from ebm_cli.sweeps.slots import plan
from ebm_cli.types import Count, Natural, Positive


def settings(gpus: Literal["auto"] | Natural | list[Natural | str], jobs_per_gpu: Count, cpu_jobs: Count | None, grace_s: Positive) -> None:
    """The settings of `hydra/launcher=gpu`, written as a signature."""


def engine(given: Mapping[str, Any], lines: Sequence[Sequence[str]]) -> LocalProcesses:
    """An engine with the slots of this machine. Raises `InputError` for invalid settings and for GPUs that do not exist."""
    problems: list[Problem] = []
    typed = check_signature(settings, dict(given), "hydra.launcher", problems)
    if problems:
        raise InputError(*problems)
    if typed["gpus"] == "auto" and all("device=cpu" in words for words in lines):
        typed["gpus"] = 0
    grace_s = typed.pop("grace_s")
    return LocalProcesses(plan(**typed), grace_s=grace_s)
