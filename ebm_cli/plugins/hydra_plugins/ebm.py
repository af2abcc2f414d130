"""The Hydra plugins of this package: launchers `gpu`, `submitit_slurm`, `submitit_local` and `ray`, sweepers `grid` and `optuna`, and the
search path of the user's options.

Hydra imports this module at every start, so it must not import anything slow.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper


class OwnFolders(SearchPathPlugin):
    """Adds the user's folders of options to the places that Hydra searches, after our own folder."""

    def manipulate_search_path(self, search_path: Any) -> None:
        from ebm_cli.config.compose import FOLDERS

        for folder in FOLDERS.get():
            search_path.append("ebm", f"file://{folder}")


class GpuLauncher(Launcher):
    """Runs one process per job and one slot (a GPU or a core) per process."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.job = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        outcomes = self.job.launch(job_overrides, initial_job_idx, self.engine(job_overrides))
        return [JobReturn(overrides=list(outcome.words), status=JobStatus.COMPLETED, _return_value=outcome) for outcome in outcomes]

    def engine(self, lines: Sequence[Sequence[str]]) -> Any:
        from ebm_cli.sweeps import local

        return local.engine(self.settings, lines)

    def plain(self, settings: Any) -> Any:
        """The settings as plain data."""
        from omegaconf import OmegaConf

        return OmegaConf.to_container(OmegaConf.create(settings), resolve=True)


class SubmititLauncher(GpuLauncher):
    """Runs the jobs as processes of submitit on this machine."""

    cluster = "local"

    def engine(self, lines: Sequence[Sequence[str]]) -> Any:
        from ebm_cli.sweeps.slurm import Submitit

        return Submitit(self.cluster, self.plain(self.settings), self.job.id)


class SlurmLauncher(SubmititLauncher):
    """Runs the jobs as one Slurm array, one task per job."""

    cluster = "slurm"


class RayLauncher(GpuLauncher):
    """Runs the jobs as Ray tasks, one task per job."""

    def engine(self, lines: Sequence[Sequence[str]]) -> Any:
        from ebm_cli.sweeps.ray import Ray

        return Ray(self.plain(self.settings["ray"]))


class GridSweeper(BasicSweeper):
    """Runs every combination of the values, all in one batch."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.job = task_function

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Does nothing: every value has been checked before Hydra starts."""

    def sweep(self, arguments: list[str]) -> None:
        from ebm_cli.config.hydra_section import with_params

        self.params, arguments = {}, with_params(self.params, arguments)
        for batch in super().sweep(arguments):
            self.job.outcomes += [returned.return_value for returned in batch]


class OptunaSweeper(Sweeper):
    """Runs batches of trials, each chosen by the results of the earlier ones."""

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

        words = hydra_section.with_params(self.params, arguments)
        space = compose.sweep_space(words, self.job.dirs, OmegaConf.to_container(self.config))
        search.Search(**search.settings(self.settings, [])).run(words, space, self.job, launch)
