"""Compare runs side by side. Runs that differ only in their seed form one row: the mean over the seeds, with a 95 % Student t interval.

    difference between rows A and B = mean of (a_s - b_s) over the seeds s that both rows have, with the interval of that mean

Differences are paired by seed, so effects that a seed has on both rows (through the data that it draws, for example) cancel. If a seed has
no number, its row has no mean, since a mean over the successful seeds alone would be biased. Four small files of each run are read, and
torch is not used. The intervals describe the variation between seeds. They do not cover the Monte Carlo error of a single run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ebm_cli.comparison.budget import Budget
from ebm_cli.comparison.record import Numbers, Reasons, RunRecord, flat
from ebm_cli.core import student_t
from ebm_cli.core.ranking import badness
from ebm_cli.errors import bad, nearest
from ebm_cli.runs.run import Run


@dataclass
class Row:
    """Runs that differ only in their seed."""

    entries: list[RunRecord]
    differs: dict[str, str] = field(default_factory=dict)  # the settings that distinguish this row from the others
    found: dict[str, Numbers] = field(default_factory=dict)
    reasons: dict[str, Reasons] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        return self.entries[0].settings

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.differs.items()) or self.entries[0].run.path.name

    @property
    def seeds(self) -> list[int]:
        return sorted(seed for entry in self.entries for seed in entry.seeds)

    def look_up(self, keys: Sequence[str], budget: Budget | None) -> None:
        """Fill `found` and `reasons` with the numbers of these keys."""
        for key in keys:
            self.found[key], self.reasons[key] = {}, {}
            for entry in self.entries:
                numbers, reasons = budget.at(entry, key) if budget else entry.at_end(key)
                self.found[key] |= numbers
                self.reasons[key] |= reasons
            self.found[key] = dict(sorted(self.found[key].items()))

    def unaveraged(self, key: str) -> bool:
        """Whether this is a number of several seeds that has no meaningful mean, such as a p-value or a standard error."""
        return len(self.found[key]) > 1 and any(key in entry.summary.get("unaveraged", ()) for entry in self.entries)

    def mean(self, key: str) -> float | None:
        """The mean over the seeds; None if a seed has no number."""
        return None if self.unaveraged(key) else student_t.mean([*self.found[key].values()])

    def interval(self, key: str) -> list[float] | None:
        return None if self.mean(key) is None else student_t.interval([*self.found[key].values()])


@dataclass(frozen=True)
class Comparison:
    """Rows with the numbers of `metrics`, the best row first. `rank` is the metric that orders them; None if no metric ranks models."""

    rows: list[Row]
    metrics: list[str]
    rank: str | None
    best: dict[str, float]  # the best mean of each metric that has a best value and a mean in at least two rows
    notes: list[str] = field(default_factory=list)

    def is_best(self, row: Row, key: str) -> bool:
        return key in self.best and row.mean(key) == self.best[key]

    def differences(self, row: Row) -> dict[int, float] | None:
        """The differences from the first row, for every seed that both rows have; None for the first row and for a row without a mean."""
        first, key = self.rows[0], self.rank
        if row is first or key is None or row.mean(key) is None:
            return None
        return {seed: number - first.found[key][seed] for seed, number in row.found[key].items() if seed in first.found[key]}


def compare(runs: Sequence[Run], wanted: Sequence[str], budget: Budget | None = None, *, least: int = 2) -> Comparison:
    """Compare runs by the metrics `wanted`, by default the headline metrics of the runs. Raises `InputError` for less than `least` rows."""
    entries = [RunRecord.of(run) for run in runs]
    rows, metrics = in_rows(entries, least), columns(entries, wanted, budget)
    for row in rows:
        row.look_up(metrics, budget)
    wins = {key: value for entry in entries for key, value in entry.summary.get("best", {}).items()}
    if budget:
        wins[budget.cost] = "min"
    if any(key.partition(".")[0] == "objective" for row in rows for key in row.differs):
        wins.pop("test_loss", None)  # the losses of different objectives have different scales
    if mixed := not same_data(rows):
        wins = {}
    means = {key: [mean for row in rows if (mean := row.mean(key)) is not None] for key in metrics if key in wins}
    best = {key: min(found, key=lambda mean, key=key: badness(mean, wins[key])) for key, found in means.items() if len(found) > 1}
    rank = next((key for key, found in means.items() if found), None)
    if rank is not None:
        rows.sort(key=lambda row: (row.mean(rank) is None, badness(row.mean(rank) or 0.0, wins[rank])))
    made = Comparison(rows, metrics, rank, best)
    if mixed:
        made.notes.append("the rows have different data, so none is the best; compare the runs of one dataset to rank them")
    made.notes.extend([*unpaired(made), *lacking(made), *stopped(rows), *unlike(rows)])
    made.notes.extend(budget.notes({row.label: row.entries for row in rows}) if budget else ())
    if metrics[-1] in ("train_seconds", "seconds") and any(len(entry.seeds) > 1 for entry in entries):
        made.notes.append(f"{metrics[-1]} of a stack is the total over its seeds")
    return made


def columns(entries: Sequence[RunRecord], wanted: Sequence[str], budget: Budget | None) -> list[str]:
    """The keys of the columns: the metrics, then the cost. Raises `InputError` for an unknown metric."""
    if not any(entry.summary for entry in entries):
        raise bad(f"none of these runs has results; {entries[0].run.path.name}: {entries[0].why_not}", "`ebm runs` shows their states")
    known = dict.fromkeys(key for entry in entries for key in (budget.known(entry) if budget else entry.known))
    if not known:
        hint = "train with metric=quadrature, which is evaluated every trainer.evaluate_every steps"
        raise bad("--budget: no run was measured during training", hint)
    for key in wanted:
        if key not in known:
            fault = f"no run measured {key!r} during training" if budget else f"no run has the metric {key!r}"
            raise bad(f"--metric: {fault}", nearest(key, known))
    headline = [key for entry in entries for key in entry.summary.get("headline", ()) if key in known]
    return [*dict.fromkeys([*(wanted or headline), budget.cost if budget else "train_seconds"])]


def in_rows(entries: Sequence[RunRecord], least: int = 2) -> list[Row]:
    """Group runs that differ only in their seed into rows, and find the settings that distinguish each row from the others."""
    rows: dict[frozenset[tuple[str, str]], Row] = {}
    for entry in entries:
        row = rows.setdefault(frozenset(entry.settings.items()), Row([]))
        for other in row.entries:
            if double := {*entry.seeds} & {*other.seeds}:
                both = f"{other.run.path} and {entry.run.path} have the same settings"
                raise bad(f"{both}: seed {min(double)} would count twice", "name only one of the two")
        row.entries.append(entry)
    if len(rows) < least:
        what = f"{len(entries)} runs that differ only in their seed" if len(entries) > 1 else "one run"
        raise bad(
            f"a comparison needs at least two rows, but there is only one: {what}",
            f"name other runs as well, or use `ebm show {entries[0].run.id}` to see a single run",
        )
    for key in dict.fromkeys(key for row in rows.values() for key in row.settings):
        alike: dict[str | None, list[Row]] = {}
        for row in rows.values():
            alike.setdefault(_option(row, key), []).append(row)
        for members in alike.values():
            if len({row.settings.get(key) for row in members}) > 1 and not all(_as_the_group(row, key) for row in members):
                for row in members:
                    row.differs |= {key: row.settings[key]} if key in row.settings else {}
    return list(rows.values())


def same_data(rows: Sequence[Row]) -> bool:
    """Whether all rows have the same data, except for the number of training points. Numbers of different data do not rank models."""
    return len({frozenset(item for item in row.settings.items() if is_data(item[0])) for row in rows}) == 1


def is_data(key: str) -> bool:
    """Whether a setting chooses the data on which runs are measured."""
    return key.partition(".")[0] == "dataset" and key != "dataset.n_train"


def lacking(made: Comparison) -> list[str]:
    """Notes on missing numbers, with the reasons. Numbers of a row that are missing for the same reason share a note."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in made.rows:
        for key in made.metrics:
            for reason in dict.fromkeys(row.reasons[key].values()):
                seeds = [seed for seed, other in row.reasons[key].items() if other == reason]
                found.setdefault((at(row, seeds), reason), []).append(key)
    return [f"no {', '.join(keys)} of {whose}: {reason}" for (whose, reason), keys in found.items()]


def stopped(rows: Sequence[Row]) -> list[str]:
    """Notes on runs that were measured before the end of training."""
    return [f"{at(row, entry.seeds)}: {where}" for row in rows for entry in row.entries if (where := entry.stopped)]


def unlike(rows: Sequence[Row]) -> list[str]:
    """Notes on settings of metrics that differ between the runs that have them."""
    ways: dict[str, dict[str, dict[int, list[int]]]] = {}  # the seeds, by key, value and row
    for i, row in enumerate(rows):
        for entry in row.entries:
            for key, value in (flat(entry.measured["metric"], "metric") if entry.summary else {}).items():
                ways.setdefault(key, {}).setdefault(value, {}).setdefault(i, []).extend(entry.seeds)
    return [
        f"{key}: "
        + ", ".join(f"{value} for {'; '.join(at(rows[i], seeds) for i, seeds in by_row.items())}" for value, by_row in values.items())
        for key, values in ways.items()
        if len(values) > 1
    ]


def at(row: Row, seeds: Iterable[int]) -> str:
    """The label of a row, with these seeds if the row has several."""
    return f"{row.label} at {named(sorted(seeds))}" if len(row.seeds) > 1 else row.label


def named(seeds: Sequence[int]) -> str:
    """Seeds as a note names them: "seed 1", or "seeds 1, 2"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def unpaired(made: Comparison) -> list[str]:
    """Notes on differences that cover fewer seeds than their row has."""
    found = []
    for row in made.rows:
        pairs = made.differences(row)
        if pairs is not None and len(pairs) < len(row.found[made.rank]):
            common = f"only over {named([*pairs])}, which both rows have" if pairs else "the two rows have no seed in common"
            found.append(f"{made.rank} - best of {row.label}: {common}")
    return found


def _option(row: Row, key: str) -> str | None:
    """The option of the group of a key. A key distinguishes only rows with the same option, since other options have other keys."""
    group, dot, _ = key.partition(".")
    return row.settings.get(group) if dot else None


def _as_the_group(row: Row, key: str) -> bool:
    """Whether a key of the objective's sampler has the value of the group's sampler, so that the key of the group covers both."""
    return key.startswith("objective.sampler.") and row.settings.get(key) in (None, row.settings.get(key.removeprefix("objective.")))
