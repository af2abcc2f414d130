"""A search: a sweep whose next runs are chosen by what those before them gave. Optuna chooses; it is asked in batches, told in order.

Nothing of it is stored. Started again it asks for the same runs, those that are finished answer at once, and it goes on from there.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ebm_cli import console
from ebm_cli.comparison.compare import badness
from ebm_cli.config.overrides import Choices, Interval
from ebm_cli.config.schema import check_signature
from ebm_cli.errors import Problem, RunFailed
from ebm_cli.sweeps import jobs, sweep
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.types import Count, Natural

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

TARGET = "hydra_plugins.ebm.OptunaSweeper"
GRIDS = ("hydra_plugins.ebm.GridSweeper", "hydra._internal.core_plugins.basic_sweeper.BasicSweeper")
GOOD = (*jobs.GOOD, "diverged")  # how a job of a search may end: divergence is an answer
DIGITS = 4  # of a value of an interval, below the interval's width: words that can be read, and typed again

Space = Mapping[str, tuple[str, Choices | Interval]]  # a word of the line: the key that it sets, and to what
Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Outcome]]  # (lines, number of the first): how they ended, in their order


@dataclass(frozen=True)
class Search:
    """The settings of `hydra/sweeper=optuna`."""

    n_trials: Count
    n_jobs: Count
    sampler: Literal["tpe", "random"]
    n_startup_trials: Natural
    seed: Natural

    def run(self, words: Sequence[str], space: Space, job: Job, launch: Launch) -> None:
        """Every trial, `n_jobs` at a time. How they ended is in `job.outcomes`: one of each, trials that are alike are one job."""
        from optuna.trial import TrialState

        study, distributions = self.study(), {key: distribution(values) for key, values in space.values()}
        known: dict[tuple[str, ...], Outcome] = {}
        told: list[float] = []
        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(distributions) for _ in range(min(self.n_jobs, self.n_trials - first))]
            lines = [line(words, space, trial.params) for trial in trials]
            if new := [one for one in dict.fromkeys(lines) if one not in known]:
                best = min(told, key=lambda number: badness(number, job.best), default=None)
                so_far = "" if best is None else f"; best {job.metric} so far: {console.text(best)}"
                console.say(f"trials {first + 1} to {first + len(trials)} of {self.n_trials}{so_far}")
                outcomes = launch(new, len(job.outcomes))
                job.outcomes += outcomes
                known |= zip(new, outcomes, strict=True)
                check_metric(job.metric, job.outcomes)
            for trial, one in zip(trials, lines, strict=True):
                found = value(known[one], job.metric)
                bad = None if found is None else badness(found, job.best) if math.isfinite(found) else math.inf
                study.tell(trial, bad, state=TrialState.FAIL if bad is None else TrialState.COMPLETE)
                told += [] if found is None or math.isinf(found) else [found]

    def study(self) -> "Study":
        """What is asked and told. The same answers lead to the same questions."""
        import optuna
        from optuna.samplers import RandomSampler, TPESampler

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = RandomSampler(self.seed)
            if self.sampler == "tpe":  # the liar keeps the trials of a batch apart
                sampler = TPESampler(seed=self.seed, n_startup_trials=self.n_startup_trials, multivariate=True, constant_liar=True)
        return optuna.create_study(sampler=sampler, direction="minimize")


def settings(sweeper: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Of a `Search`, typed. What is wrong with them is added to `problems`."""
    given = {name: one for name, one in sweeper.items() if name not in ("_target_", "params")}
    return check_signature(Search, given, "hydra.sweeper", problems)


def problems(sweeper: Mapping[str, Any], space: Space) -> list[Problem]:
    """What is wrong with a search, its settings and what it is to choose from; or with a grid that only a search could walk."""
    found: list[Problem] = []
    intervals = {word: values for word, (_, values) in space.items() if isinstance(values, Interval)}
    if sweeper.get("_target_") in GRIDS:
        found += [Problem(f"{word}: an interval is for a search", "add hydra/sweeper=optuna") for word in intervals]
    if sweeper.get("_target_") != TARGET:
        return found
    settings(sweeper, found)
    if not space:
        found.append(Problem("there is nothing to search", "optimizer.lr=interval(1e-4,1e-1), or experiment=search_lr"))
    for word, (key, _) in space.items():
        if key == "seed":
            found.append(Problem(f"{word}: a search would choose the luckiest seed", "seeds=3 searches by the mean of three"))
    for word, values in intervals.items():
        if not -math.inf < values.low < values.high < math.inf:
            found.append(Problem(f"{word}: an interval has two ends, the lower one first"))
        elif values.log and values.low <= 0:
            found.append(Problem(f"{word}: a logarithmic interval lies above 0"))
    return found


def distribution(values: Choices | Interval) -> "BaseDistribution":
    """As Optuna has it; of what is ordered, the place in the order."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Choices):
        return IntDistribution(0, len(values.values) - 1) if values.ordered else CategoricalDistribution(values.values)
    return (IntDistribution if isinstance(values.low, int) else FloatDistribution)(values.low, values.high, log=values.log)


def line(words: Sequence[str], space: Space, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a trial."""

    def of(word: str) -> str:
        key, values = space[word]
        return f"{key}={written(values, chosen[key])}"

    return tuple(of(word) if word in space else word for word in words)


def written(values: Choices | Interval, chosen: Any) -> str:
    """A value as a word has it; of an interval, to a ten-thousandth of its width or finer."""
    if isinstance(values, Choices):
        return values.values[chosen] if values.ordered else chosen
    if isinstance(chosen, int):
        return str(chosen)
    width = chosen * math.log(values.high / values.low) if values.log else values.high - values.low
    return str(min(max(round(chosen, DIGITS - math.floor(math.log10(width))), values.low), values.high))


def value(outcome: Outcome, metric: str) -> float | None:
    """What a trial gave, infinity where it diverged; None where it says nothing about the values that were chosen."""
    if outcome.state == "diverged":
        return math.inf
    found = outcome.summary.get(metric) if outcome.state in jobs.GOOD else None
    return found if isinstance(found, (int, float)) else None


def check_metric(metric: str, outcomes: Sequence[Outcome]) -> None:
    """Raise `RunFailed` where runs have finished and none has the number that is searched for."""
    summaries = [one.summary for one in outcomes if one.state == "finished"]
    if summaries and not any(isinstance(one.get(metric), (int, float)) for one in summaries):
        reason = summaries[0].get("reasons", {}).get(metric)
        reason = next(filter(None, reason)) if isinstance(reason, list) else reason
        message = f"sweep.metric={metric}: no run has it" + (f" ({reason})" if reason else "")
        raise RunFailed(message, f"there is {', '.join(sweep.numbers(outcomes))}")
