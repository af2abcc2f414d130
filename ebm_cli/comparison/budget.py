"""Runs at equal cost, rather than each at its end: the numbers of the last evaluation that a budget still pays for.

Seconds stand in every row of metrics.jsonl. Evaluations of the energy, of its score and of Hessian-vector products are as many in every
step: at step s of S they are s/S of the whole. What is found is a point in the middle of a curve: the schedule of the learning rate has
not ended there, and a run whose trainer.n_steps is made for the budget may well do better. A number that a run does not have at its end
(it diverged; the energy turns out not to be normalisable) it does not have before. Not for metrics that wait for the end of training.
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
    """At most `most` of `cost`, for each run: seconds of a stack are of all its seeds together, counts are of each."""

    cost: str
    most: float

    @classmethod
    def of(cls, word: str) -> "Budget":
        """As it is typed, KEY=VALUE."""
        cost, given, value = word.partition("=")
        if not given and cost not in KEYS:
            raise bad(f"--budget {word}: what of?", f"--budget seconds=45; there is {', '.join(sorted(KEYS))}")
        if cost not in KEYS:
            raise bad(f"--budget: there is no {cost!r} to spend", nearest(cost, KEYS))
        try:
            most = float(value)
        except ValueError:
            most = math.nan
        if not 0 < most < math.inf:
            raise bad(f"--budget {word}: a positive number is needed", f"--budget {cost}=1000")
        return cls(cost, most)

    def spent(self, entry: RunRecord, row: Mapping[str, Any]) -> float:
        """What a run had cost at a row."""
        if self.cost == "seconds":
            return row["seconds"]
        if self.cost == "n_steps":
            return row["step"]
        measured_at = entry.summary["n_steps"]  # 0: it was interrupted before its first checkpoint, and what a step costs is not known
        return entry.summary[self.cost] * row["step"] / measured_at if measured_at else math.inf

    def last(self, entry: RunRecord) -> dict[str, Any] | None:
        """The last evaluation within the budget."""
        return max((row for row in entry.evaluated if self.spent(entry, row) <= self.most), key=lambda row: row["step"], default=None)

    def known(self, entry: RunRecord) -> list[str]:
        """What was measured while a run trained."""
        return [key for key in entry.summary.get("units", ()) if any(key in row for row in entry.evaluated)]

    def at(self, entry: RunRecord, key: str) -> tuple[Numbers, Reasons]:
        """A number of every seed, and the reason of each that lacks one."""
        if not entry.summary:
            return entry.nothing(entry.why_not)
        row = self.last(entry)
        if row is None:
            first = (
                f", at {self.spent(entry, entry.evaluated[0]):.4g} {self.cost}, is beyond the budget" if entry.evaluated else " is missing"
            )
            return entry.nothing(f"the first evaluation{first}")
        if key == self.cost:
            return {entry.seeds[0]: self.spent(entry, row)}, {}
        found, (_, withheld) = row.get(key), entry.at_end(key)
        numbers = dict(zip(entry.seeds, found, strict=True)) if isinstance(found, list) else dict.fromkeys(entry.seeds, found)
        numbers |= dict.fromkeys(withheld)
        lacking = [seed for seed, number in numbers.items() if number is None]
        return numbers, dict.fromkeys(lacking, f"it could not be measured at step {row['step']}") | withheld

    def notes(self, rows: Mapping[str, Sequence[RunRecord]]) -> list[str]:
        """Which rows are read in the middle of a run, and which at an end that costs less than the budget."""
        middle, end = [], []
        for label, entries in rows.items():
            last = [(row["step"], entry.config["trainer"]["n_steps"]) for entry in entries if entry.summary and (row := self.last(entry))]
            middle += [label] if any(step < n_steps for step, n_steps in last) else []
            end += [label] if any(step == n_steps for step, n_steps in last) else []
        notes = [f"at the last evaluation within {self.cost}={self.most:g}"]
        if middle:
            notes.append(f"not annealed, since the learning rate's schedule had not ended: {'; '.join(middle)}")
        if end:
            notes.append(f"at the end of the run, within the budget: {'; '.join(end)}")
        return notes
