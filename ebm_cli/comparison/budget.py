"""Compare runs at equal cost: each run is represented by its last evaluation within a budget instead of its final results.

Every row of metrics.jsonl records the seconds. The numbers of evaluations of the energy, of its score and of Hessian-vector products are
the same in every step, so the count at step s of S is s/S of the total. The last evaluation within a budget is usually in the middle of
training, before the learning-rate schedule has ended. A run whose trainer.n_steps fits the budget may do better. If a number is missing
at the end of a run (the run diverged, or the energy may not be normalizable), its earlier values are not used either. A budget does not
apply to metrics that are computed only at the end of training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ebm_cli.comparison.record import Numbers, Reasons, RunRecord
from ebm_cli.errors import bad, nearest

KEYS = ("seconds", "n_steps", "n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations")


@dataclass(frozen=True)
class Budget:
    """At most `most` units of `cost` for each run. The seconds of a stack are those of all its seeds together; its counts are per seed."""

    cost: str
    most: float

    @classmethod
    def of(cls, word: str) -> "Budget":
        """Parse a budget in the form KEY=VALUE. Raises `InputError`."""
        cost, given, value = word.partition("=")
        if not given and cost not in KEYS:
            raise bad(f"--budget {word}: name the cost, for example seconds=45", f"the costs are {', '.join(sorted(KEYS))}")
        if cost not in KEYS:
            raise bad(f"--budget: there is no cost {cost!r}", nearest(cost, KEYS))
        try:
            most = float(value)
        except ValueError:
            most = math.nan
        if not 0 < most < math.inf:
            raise bad(f"--budget {word}: the value must be a positive number", f"for example --budget {cost}=1000")
        return cls(cost, most)

    def spent(self, entry: RunRecord, row: Mapping[str, Any]) -> float:
        """The cost of a run up to a row."""
        if self.cost == "seconds":
            return row["seconds"]
        if self.cost == "n_steps":
            return row["step"]
        measured_at = entry.summary["n_steps"]  # 0 if the run was interrupted before its first checkpoint: the cost per step is unknown
        return entry.summary[self.cost] * row["step"] / measured_at if measured_at else math.inf

    def last(self, entry: RunRecord) -> dict[str, Any] | None:
        """The row of the last evaluation within the budget; None if there is none."""
        return max((row for row in entry.evaluated if self.spent(entry, row) <= self.most), key=lambda row: row["step"], default=None)

    def known(self, entry: RunRecord) -> list[str]:
        """The keys of the numbers that were measured during training."""
        return [key for key in entry.summary.get("units", ()) if any(key in row for row in entry.evaluated)]

    def at(self, entry: RunRecord, key: str) -> tuple[Numbers, Reasons]:
        """The number of every seed, and the reason for each seed without a number."""
        if not entry.summary:
            return entry.nothing(entry.why_not)
        row = self.last(entry)
        if row is None:
            if not entry.evaluated:
                return entry.nothing("it was not measured during training")
            cost = f"{self.spent(entry, entry.evaluated[0]):.4g} {self.cost}"
            return entry.nothing(f"the first evaluation, at {cost}, exceeds the budget")
        if key == self.cost:
            return {entry.seeds[0]: self.spent(entry, row)}, {}
        found, (_, withheld) = row.get(key), entry.at_end(key)
        numbers = dict(zip(entry.seeds, found, strict=True)) if isinstance(found, list) else dict.fromkeys(entry.seeds, found)
        numbers |= dict.fromkeys(withheld)
        lacking = [seed for seed, number in numbers.items() if number is None]
        return numbers, dict.fromkeys(lacking, f"it could not be measured at step {row['step']}") | withheld

    def notes(self, rows: Mapping[str, Sequence[RunRecord]]) -> list[str]:
        """Notes on which rows are read in the middle of training, and which at the end because the whole run costs less than the budget."""
        middle, end = [], []
        for label, entries in rows.items():
            last = [(row["step"], entry.config["trainer"]["n_steps"]) for entry in entries if entry.summary and (row := self.last(entry))]
            middle += [label] if any(step < n_steps for step, n_steps in last) else []
            end += [label] if any(step == n_steps for step, n_steps in last) else []
        notes = [f"the numbers are those of the last evaluation within {self.cost}={self.most:g}"]
        if middle:
            notes.append(f"measured before the learning-rate schedule had ended: {'; '.join(middle)}")
        if end:
            notes.append(f"the whole run is within the budget: {'; '.join(end)}")
        return notes
