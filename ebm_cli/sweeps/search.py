"""A search: a sweep in which Optuna chooses the next runs by the results of the earlier ones, batch by batch.

The study is not stored. A search that is started again asks for the same runs; those that have finished return at once, and the search
continues from there.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ebm_cli import console
from ebm_cli.config.overrides import Choices, Interval
from ebm_cli.config.schema import check_signature
from ebm_cli.core.ranking import badness
from ebm_cli.errors import Problem, RunFailed
from ebm_cli.sweeps import jobs, sweep
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.types import Count, Natural

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

TARGET = "hydra_plugins.ebm.OptunaSweeper"
GRIDS = ("hydra_plugins.ebm.GridSweeper", "hydra._internal.core_plugins.basic_sweeper.BasicSweeper")
GOOD = (*jobs.GOOD, "diverged")  # the states of a job of a search that are not failures
DIGITS = 4  # values are rounded to this many digits below the width of their interval, so that a line can be read and typed

Space = Mapping[str, tuple[str, Choices | Interval]]  # from a word of the line to the key that it sets and the values to choose from
Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Outcome]]  # from lines and the number of the first to outcomes, in order


@dataclass(frozen=True)
class Search:
    """The settings of `hydra/sweeper=optuna`."""

    n_trials: Count
    n_jobs: Count
    sampler: Literal["tpe", "random"]
    n_startup_trials: Natural
    seed: Natural

    def run(self, words: Sequence[str], space: Space, job: Job, launch: Launch) -> None:
        """Run every trial, `n_jobs` at a time, and append the outcomes to `job.outcomes`. Identical trials share one job."""
        from optuna.trial import TrialState

        study, distributions = self.study(), {key: distribution(values) for key, values in space.values()}
        known: dict[tuple[str, ...], Outcome] = {}
        told: list[float] = []
        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(distributions) for _ in range(min(self.n_jobs, self.n_trials - first))]
            lines = [line(words, space, trial.params) for trial in trials]
            if new := [chosen for chosen in dict.fromkeys(lines) if chosen not in known]:
                best = min(told, key=lambda number: badness(number, job.best), default=None)
                so_far = "" if best is None else f"; best {job.metric} so far: {console.text(best)}"
                console.say(f"trials {first + 1} to {first + len(trials)} of {self.n_trials}{so_far}")
                outcomes = launch(new, len(job.outcomes))
                job.outcomes += outcomes
                known |= zip(new, outcomes, strict=True)
                check_metric(job.metric, job.outcomes)
            for trial, chosen in zip(trials, lines, strict=True):
                found = value(known[chosen], job.metric)
                loss = None if found is None else badness(found, job.best) if math.isfinite(found) else math.inf
                study.tell(trial, loss, state=TrialState.FAIL if loss is None else TrialState.COMPLETE)
                told += [] if found is None or math.isinf(found) else [found]

    def study(self) -> "Study":
        """The Optuna study. It is deterministic: the same results lead to the same trials."""
        import optuna
        from optuna.samplers import RandomSampler, TPESampler

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = RandomSampler(self.seed)
            if self.sampler == "tpe":  # constant_liar keeps the trials of a batch from being nearly identical
                sampler = TPESampler(seed=self.seed, n_startup_trials=self.n_startup_trials, multivariate=True, constant_liar=True)
        return optuna.create_study(sampler=sampler, direction="minimize")


def settings(sweeper: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The typed settings of a `Search`. Problems are appended to `problems`."""
    given = {name: setting for name, setting in sweeper.items() if name not in ("_target_", "params")}
    return check_signature(Search, given, "hydra.sweeper", problems)


def problems(sweeper: Mapping[str, Any], space: Space) -> list[Problem]:
    """The problems of a search (its settings and search space), or of a grid that contains an interval."""
    found: list[Problem] = []
    intervals = {word: values for word, (_, values) in space.items() if isinstance(values, Interval)}
    if sweeper.get("_target_") in GRIDS:
        found += [Problem(f"{word}: only a search can choose from an interval", "add hydra/sweeper=optuna") for word in intervals]
    if sweeper.get("_target_") != TARGET:
        return found
    settings(sweeper, found)
    if not space:
        hint = "add for example optimizer.lr=interval(1e-4,1e-1) or experiment=search_lr"
        found.append(Problem("hydra/sweeper=optuna: there is nothing to search over", hint))
    for word, (key, _) in space.items():
        if key == "seed":
            found.append(
                Problem(f"{word}: a search over seeds would select the luckiest seed", "seeds=3 compares trials by the mean of three")
            )
    for word, values in intervals.items():
        if not -math.inf < values.low < values.high < math.inf:
            found.append(Problem(f"{word}: an interval needs two finite ends, the lower one first"))
        elif values.log and values.low <= 0:
            found.append(Problem(f"{word}: both ends of a logarithmic interval must be greater than 0"))
    return found


def distribution(values: Choices | Interval) -> "BaseDistribution":
    """The values as a distribution of Optuna. An ordered choice is represented by its index."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Choices):
        return IntDistribution(0, len(values.values) - 1) if values.ordered else CategoricalDistribution(values.values)
    return (IntDistribution if isinstance(values.low, int) else FloatDistribution)(values.low, values.high, log=values.log)


def line(words: Sequence[str], space: Space, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a trial with the chosen values filled in."""

    def filled(word: str) -> str:
        key, values = space[word]
        return f"{key}={written(values, chosen[key])}"

    return tuple(filled(word) if word in space else word for word in words)


def written(values: Choices | Interval, chosen: Any) -> str:
    """A value as text. A value of an interval is rounded to a ten-thousandth of its width or finer."""
    if isinstance(values, Choices):
        return values.values[chosen] if values.ordered else chosen
    if isinstance(chosen, int):
        return str(chosen)
    width = chosen * math.log(values.high / values.low) if values.log else values.high - values.low
    return str(min(max(round(chosen, DIGITS - math.floor(math.log10(width))), values.low), values.high))


def value(outcome: Outcome, metric: str) -> float | None:
    """The value of the metric, infinity if the run diverged, or None if the trial says nothing about the chosen values."""
    if outcome.state == "diverged":
        return math.inf
    found = outcome.summary.get(metric) if outcome.state in jobs.GOOD else None
    return found if isinstance(found, (int, float)) else None


def check_metric(metric: str, outcomes: Sequence[Outcome]) -> None:
    """Raise `RunFailed` if runs have finished and none of them has the metric of the search."""
    summaries = [outcome.summary for outcome in outcomes if outcome.state == "finished"]
    if summaries and not any(isinstance(summary.get(metric), (int, float)) for summary in summaries):
        reason = summaries[0].get("reasons", {}).get(metric)
        reason = next(filter(None, reason)) if isinstance(reason, list) else reason
        message = f"sweep.metric={metric}: no run has this metric" + (f" ({reason})" if reason else "")
        raise RunFailed(message, f"the runs have {', '.join(sweep.numbers(outcomes))}")
