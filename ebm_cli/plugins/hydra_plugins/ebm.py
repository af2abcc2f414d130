"""What Hydra finds of ours: the launchers `gpu`, `submitit_slurm`, `submitit_local` and `ray`, the sweepers `grid` and `optuna`.

Read at every start, so imports are light.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class GpuLauncher(Launcher):
    """One process per job, one GPU slot (or core) per process."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.job = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        outcomes = self.outcomes(job_overrides, initial_job_idx)
        return [JobReturn(overrides=list(one.words), status=JobStatus.COMPLETED, _return_value=one) for one in outcomes]

    def outcomes(self, lines: Sequence[Sequence[str]], first: int) -> list[Any]:
        return self.job.launch(lines, self.settings, first)


class SubmititLauncher(GpuLauncher):
    """Submitit's processes on this machine."""

    cluster = "local"

    def outcomes(self, lines: Sequence[Sequence[str]], first: int) -> list[Any]:
        from omegaconf import OmegaConf

        from ebm_cli.sweeps import remote
        from ebm_cli.sweeps.slurm import Submitit

        settings = OmegaConf.to_container(OmegaConf.create(self.settings), resolve=True)
        return remote.launch(self.job, lines, first, Submitit(self.cluster, settings, self.job.id))


class SlurmLauncher(SubmititLauncher):
    """Slurm's array jobs, one task per job."""

    cluster = "slurm"


class RayLauncher(GpuLauncher):
    """Ray's tasks, one per job."""

    def outcomes(self, lines: Sequence[Sequence[str]], first: int) -> list[Any]:
        from omegaconf import OmegaConf

        from ebm_cli.sweeps import remote
        from ebm_cli.sweeps.ray import Ray

        return remote.launch(self.job, lines, first, Ray(OmegaConf.to_container(self.settings["ray"], resolve=True)))


class GridSweeper(BasicSweeper):
    """Every combination of the values, all in one batch."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.job = task_function

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Every value was checked before Hydra saw it."""

    def sweep(self, arguments: list[str]) -> None:
        from ebm_cli.config.hydra_section import with_params

        self.params, arguments = {}, with_params(self.params, arguments)
        for batch in super().sweep(arguments):
            self.job.outcomes += [returned.return_value for returned in batch]


class OptunaSweeper(Sweeper):
    """Batch after batch, each chosen by what those before it gave."""

    def __init__(self, params: Any, **settings: Any) -> None:
        self.params, self.settings = params, settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from hydra.core.plugins import Plugins

        plugins = Plugins.instance()
        self.launcher = plugins.instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)
        self.job, self.config = task_function, config

    def sweep(self, arguments: list[str]) -> None:
        from omegaconf import OmegaConf

        from ebm_cli.config import compose, hydra_section
        from ebm_cli.sweeps import search

        def launch(lines: Sequence[Sequence[str]], first: int) -> list[Any]:
            return [returned.return_value for returned in self.launcher.launch(lines, first)]

        plain = OmegaConf.to_container(self.config)
        words = hydra_section.with_params(self.params, arguments)
        space = compose.space(words, self.job.dirs, plain)
        search.Search(**search.settings(self.settings, [])).run(words, space, self.job, launch)
