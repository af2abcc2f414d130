"""What Hydra finds of ours: the launcher `gpu`, the sweepers `grid` and `optuna`. Read at every start, so imports are light."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher


class GpuLauncher(Launcher):
    """One process per job, one GPU slot (or core) per process."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.job = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        outcomes = self.job.launch(job_overrides, self.settings, initial_job_idx)
        return [JobReturn(overrides=list(one.words), status=JobStatus.COMPLETED, _return_value=one) for one in outcomes]


class GridSweeper(BasicSweeper):
    """Every combination of the values, all in one batch."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.job = task_function

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Every value was checked before Hydra saw it."""

    def sweep(self, arguments: list[str]) -> None:
        for batch in super().sweep(arguments):
            self.job.outcomes += [returned.return_value for returned in batch]
