"""Runs side by side. Those that differ by their seed alone are one row: the mean over its seeds, with its 95 % Student t interval.

    difference of row A from row B = mean over the seeds s that both have of (a_s - b_s), with the interval of that mean

Paired by seed, since what a seed does to both (the data it draws, say) cancels. One seed without a number leaves a row's mean without
one: a mean over those that did well would flatter. Cost: four small files of each run are read; nothing is computed with torch.
Not for what belongs to a single run, as an interval over its samples would.
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
    """Runs that differ by their seed alone."""

    entries: list[RunRecord]
    differs: dict[str, str] = field(default_factory=dict)  # the settings that tell it from the other rows
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
        """Fill `found` and `reasons`."""
        for key in keys:
            self.found[key], self.reasons[key] = {}, {}
            for entry in self.entries:
                numbers, reasons = budget.at(entry, key) if budget else entry.at_end(key)
                self.found[key] |= numbers
                self.reasons[key] |= reasons
            self.found[key] = dict(sorted(self.found[key].items()))

    def unaveraged(self, key: str) -> bool:
        """Whether it is a p-value or a standard error of several seeds: each stands for itself."""
        return len(self.found[key]) > 1 and any(key in entry.summary.get("unaveraged", ()) for entry in self.entries)

    def mean(self, key: str) -> float | None:
        """Over the seeds; None where one has no number."""
        return None if self.unaveraged(key) else student_t.mean([*self.found[key].values()])

    def interval(self, key: str) -> list[float] | None:
        return None if self.mean(key) is None else student_t.interval([*self.found[key].values()])


@dataclass(frozen=True)
class Comparison:
    """Rows, the best first, with their numbers of `metrics`; `rank` is the one that orders them, None where none ranks them."""

    rows: list[Row]
    metrics: list[str]
    rank: str | None
    best: dict[str, float]  # of each column that has a best, where two rows have a number
    notes: list[str] = field(default_factory=list)

    def is_best(self, row: Row, key: str) -> bool:
        return key in self.best and row.mean(key) == self.best[key]

    def differences(self, row: Row) -> dict[int, float] | None:
        """From the first row, for every seed that both have; None for that row itself, and where there is no mean."""
        first, key = self.rows[0], self.rank
        if row is first or key is None or row.mean(key) is None:
            return None
        return {seed: number - first.found[key][seed] for seed, number in row.found[key].items() if seed in first.found[key]}


def compare(runs: Sequence[Run], wanted: Sequence[str], budget: Budget | None = None) -> Comparison:
    """By the metrics that are wanted, else by those that head a list of the runs. Raises `InputError` where there is nothing to compare."""
    entries = [RunRecord.of(one) for one in runs]
    rows, metrics = in_rows(entries), columns(entries, wanted, budget)
    for row in rows:
        row.look_up(metrics, budget)
    wins = {key: one for entry in entries for key, one in entry.summary.get("best", {}).items()}
    if budget:
        wins[budget.cost] = "min"
    if any(key.partition(".")[0] == "objective" for row in rows for key in row.differs):
        wins.pop("test_loss", None)  # of two objectives: two scales
    means = {key: [mean for row in rows if (mean := row.mean(key)) is not None] for key in metrics if key in wins}
    best = {key: min(found, key=lambda mean, key=key: badness(mean, wins[key])) for key, found in means.items() if len(found) > 1}
    rank = next((key for key, found in means.items() if found), None)
    if rank is not None:
        rows.sort(key=lambda row: (row.mean(rank) is None, badness(row.mean(rank) or 0.0, wins[rank])))
    made = Comparison(rows, metrics, rank, best)
    made.notes.extend([*unpaired(made), *lacking(made), *stopped(rows), *unlike(rows)])
    made.notes.extend(budget.notes({row.label: row.entries for row in rows}) if budget else ())
    if metrics[-1] in ("train_seconds", "seconds") and any(len(entry.seeds) > 1 for entry in entries):
        made.notes.append(f"{metrics[-1]} of a stack of seeds are of all of them together")
    return made


def columns(entries: Sequence[RunRecord], wanted: Sequence[str], budget: Budget | None) -> list[str]:
    """The metrics, and last what it cost."""
    if not any(entry.summary for entry in entries):
        raise bad(f"none of these runs has results; {entries[0].run.path.name}: {entries[0].why_not}", "`ebm runs` shows their states")
    known = dict.fromkeys(key for entry in entries for key in (budget.known(entry) if budget else entry.known))
    if not known:
        raise bad("--budget: no run was measured while it trained", "metric=quadrature is, every trainer.evaluate_every steps")
    for key in wanted:
        if key not in known:
            when = " of the time when it trained" if budget else ""
            raise bad(f"--metric: no run has a {key!r}{when}", nearest(key, known))
    headline = [key for entry in entries for key in entry.summary.get("headline", ()) if key in known]
    return [*dict.fromkeys([*(wanted or headline), budget.cost if budget else "train_seconds"])]


def in_rows(entries: Sequence[RunRecord]) -> list[Row]:
    """The runs that differ by their seed alone together, and with each row the settings that tell it from the others."""
    rows: dict[frozenset[tuple[str, str]], Row] = {}
    for entry in entries:
        row = rows.setdefault(frozenset(entry.settings.items()), Row([]))
        for other in row.entries:
            if double := {*entry.seeds} & {*other.seeds}:
                both = f"{other.run.path} and {entry.run.path} differ by their seeds at most"
                raise bad(f"{both}: seed {min(double)} would count twice", "name one of the two")
        row.entries.append(entry)
    if len(rows) < 2:
        what = f"{len(entries)} runs that differ by their seed alone" if len(entries) > 1 else "one run"
        raise bad(
            f"a comparison needs two rows, and this is one: {what}", f"name others beside it; `ebm show {entries[0].run.id}` shows a run"
        )
    for key in dict.fromkeys(key for row in rows.values() for key in row.settings):
        alike: dict[str | None, list[Row]] = {}
        for row in rows.values():
            alike.setdefault(_option(row, key), []).append(row)
        for some in alike.values():
            if len({row.settings.get(key) for row in some}) > 1 and not all(_as_the_group(row, key) for row in some):
                for row in some:
                    row.differs |= {key: row.settings[key]} if key in row.settings else {}
    return list(rows.values())


def lacking(made: Comparison) -> list[str]:
    """Why numbers are lacking; those of one row that are lacking for one reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in made.rows:
        for key in made.metrics:
            for reason in dict.fromkeys(row.reasons[key].values()):
                seeds = [seed for seed, other in row.reasons[key].items() if other == reason]
                found.setdefault((at(row, seeds), reason), []).append(key)
    return [f"no {', '.join(keys)} of {whose}: {reason}" for (whose, reason), keys in found.items()]


def stopped(rows: Sequence[Row]) -> list[str]:
    """Which runs were measured before their end."""
    return [f"{at(row, entry.seeds)}: {where}" for row in rows for entry in row.entries if (where := entry.stopped)]


def unlike(rows: Sequence[Row]) -> list[str]:
    """Settings of metrics that are not the same in all runs that have them."""
    ways: dict[str, dict[str, dict[int, list[int]]]] = {}  # by the key, its value, and the row: the seeds
    for i, row in enumerate(rows):
        for entry in row.entries:
            for key, value in (flat(entry.measured["metric"], "metric") if entry.summary else {}).items():
                ways.setdefault(key, {}).setdefault(value, {}).setdefault(i, []).extend(entry.seeds)
    return [
        f"{key}: " + ", ".join(f"{value} for {'; '.join(at(rows[i], seeds) for i, seeds in of.items())}" for value, of in values.items())
        for key, values in ways.items()
        if len(values) > 1
    ]


def at(row: Row, seeds: Iterable[int]) -> str:
    """A row, and which of its seeds."""
    return f"{row.label} at seed {', '.join(map(str, sorted(seeds)))}" if len(row.seeds) > 1 else row.label


def unpaired(made: Comparison) -> list[str]:
    """Which differences are of fewer seeds than their row has."""
    found = []
    for row in made.rows:
        pairs = made.differences(row)
        if pairs is not None and len(pairs) < len(row.found[made.rank]):
            common = f"over seed {', '.join(map(str, pairs))} alone, which both have" if pairs else "no seed is in both"
            found.append(f"{made.rank} - best of {row.label}: {common}")
    return found


def _option(row: Row, key: str) -> str | None:
    """What rows must share for a key to tell them apart: a group's option, since the keys of two options are not the same keys."""
    group, dot, _ = key.partition(".")
    return row.settings.get(group) if dot else None


def _as_the_group(row: Row, key: str) -> bool:
    """Whether the objective's own sampler says what the group's does, which stands for both."""
    return key.startswith("objective.sampler.") and row.settings.get(key) in (None, row.settings.get(key.removeprefix("objective.")))
