"""usage: ebm compare RUN|NAME ... [--metric METRIC] [--budget BUDGET] [--json] [--csv] [--markdown]

Compare runs side by side, the best first. Runs that differ only in their seed are one row. A row shows the settings in which it differs
from the others, the mean over its seeds, and its difference from the best row, paired by seed, each with a 95 % Student t interval.

  RUN              an id, a unique prefix, a path, or `last`
  NAME             a group or the id of a sweep; it stands for all its runs
  --metric METRIC  a number of the summaries; may be repeated. The rows are sorted by the first one for which a best value is defined
  --budget BUDGET  seconds=45 or n_score_evaluations=1e6: compare the last evaluations within this cost instead of the final ones. The
                   other costs are n_steps, n_energy_evaluations and n_hvp_evaluations
  --json           print JSON, with the numbers of every seed
  --csv            print CSV, with all digits
  --markdown       print a Markdown table"""

import csv
import json
import math
from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._flags import split
from ebm_cli.comparison.budget import Budget
from ebm_cli.comparison.compare import Comparison, compare
from ebm_cli.core.student_t import interval
from ebm_cli.errors import bad
from ebm_cli.io import streams
from ebm_cli.runner import marks
from ebm_cli.runs import catalog, run

FLAGS = {"--metric": True, "--budget": True, "--json": False, "--csv": False, "--markdown": False}


def main(words: Sequence[str]) -> int:
    flags, names = split(words, FLAGS)
    if not names:
        raise bad("runs are needed: ids, unique prefixes, paths, `last`, groups or ids of sweeps", __doc__.splitlines()[0])
    forms = {"--json": as_json, "--csv": as_csv, "--markdown": as_markdown}
    chosen = [flag for flag in forms if flag in flags]
    if len(chosen) > 1:
        raise bad(f"{' and '.join(chosen)} exclude each other", f"use {chosen[0]} alone")
    budget = Budget.of(flags["--budget"][-1]) if "--budget" in flags else None
    made = compare(runs_of(names), flags.get("--metric", []), budget)
    (forms[chosen[0]] if chosen else as_text)(made)
    return 0


def runs_of(names: Sequence[str]) -> list[run.Run]:
    """The named runs and the runs of the named groups, each once."""
    groups, found = catalog.groups(), []
    for name in names:
        if name in groups:
            whole = []
            for member in groups[name]:
                if damage := member.damage():
                    console.say(f"warning: {member.path.name} is damaged and is left out: {damage.message}")
                else:
                    member.check_schema()
                    marks.check(member)
                    whole.append(member)
            if not whole:
                raise bad(f"all runs of {name} are damaged", "name other runs; `ebm rm` removes damaged ones")
            found += whole
            continue
        named = catalog.find(name, groups)
        marks.check(named)
        if not named.read("summary.json") and (state := named.state()) != "diverged":
            hint = f"leave it out, or train it: `ebm show {named.id}` prints its command"
            raise bad(f"{named.path.name} has no results; its state is {state}", hint)
        found.append(named)
    return list({member.path.resolve(): member for member in found}.values())


def as_text(made: Comparison) -> None:
    heads, rows = cells(made, best="{} *", other="{}  ")
    console.table(heads, rows, right=heads[1:])
    console.show("\n".join([legend(made, "*"), *made.notes]))


def as_markdown(made: Comparison) -> None:
    heads, rows = cells(made, best="**{}**", other="{}")
    for row in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows):
        console.show(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    for line in (legend(made, "bold"), *made.notes):
        console.show(f"\n{line}")


def as_csv(made: Comparison) -> None:
    """Print all digits. An interval is given by its two ends, and p-values and standard errors by the value of each seed. Notes go to
    stderr."""
    keys = list(dict.fromkeys(key for row in made.rows for key in row.differs))
    heads = [*keys, "n"]
    for key in made.metrics:
        heads += [key, f"{key}_low", f"{key}_high"]
        heads += [f"{key}_difference", f"{key}_difference_low", f"{key}_difference_high"] if key == made.rank else []
    rows = []
    for row in made.rows:
        cells = [*(row.differs.get(key, "") for key in keys), len(row.seeds)]
        for key in made.metrics:
            per_seed = " ".join("" if value is None else repr(value) for value in row.found[key].values())
            cells += [per_seed if row.unaveraged(key) else row.mean(key), *(row.interval(key) or (None, None))]
            cells += [mean(pairs := of_seeds(made.differences(row))), *(interval(pairs) or (None, None))] if key == made.rank else []
        rows.append(cells)
    csv.writer(streams.data_to_stdout(), lineterminator="\n").writerows([heads, *rows])
    for line in made.notes:
        console.say(line)


def as_json(made: Comparison) -> None:
    rows = []
    for row in made.rows:
        numbers = {
            key: {"mean": row.mean(key), "ci95": row.interval(key), "best": made.is_best(row, key), "per_seed": row.found[key]}
            | ({"reasons": row.reasons[key]} if row.reasons[key] else {})
            for key in made.metrics
        }
        pairs = of_seeds(differences := made.differences(row))
        difference = None if differences is None else {"mean": mean(pairs), "ci95": interval(pairs), "per_seed": differences}
        runs = [{"id": entry.run.id, "path": str(entry.run.path), "seeds": [*entry.seeds]} for entry in row.entries]
        rows.append({"differs": row.differs, "n": len(row.seeds), "numbers": numbers, "difference": difference, "runs": runs})
    console.show(json.dumps({"metrics": made.metrics, "ordered_by": made.rank, "rows": rows, "notes": made.notes}, indent=1))


def cells(made: Comparison, *, best: str, other: str) -> tuple[list[str], list[list[str]]]:
    """The heads and rows of a table to read. `best` and `other` are the formats of the best number and of the others."""
    heads, rows = ["", "n"], []
    for key in made.metrics:
        heads += [key, f"{key} - best"] if key == made.rank else [key]
    for row in made.rows:
        texts = [row.label, str(len(row.seeds))]
        for key in made.metrics:
            numbers = row.found[key].values()
            found = " ".join(map(console.text, numbers)) if row.unaveraged(key) else plus_minus(row.mean(key), row.interval(key))
            texts.append((best if made.is_best(row, key) else other).format(found))
            if key == made.rank:
                pairs = of_seeds(made.differences(row))
                texts.append("" if row is made.rows[0] else plus_minus(mean(pairs), interval(pairs)))
        rows.append(texts)
    return heads, rows


def legend(made: Comparison, mark: str) -> str:
    paired = f"; {made.rank} - best is paired by seed" if made.rank else ""
    marked = f"; {mark} marks the best" if made.best else ""
    return f"{streams.plus_minus()} is half the 95 % t interval of the mean over n seeds{marked}{paired}"


def plus_minus(mean: float | None, low_high: Sequence[float] | None) -> str:
    """The mean and the half width of its interval, both rounded to two significant digits of the half width."""
    half = (low_high[1] - low_high[0]) / 2 if low_high else 0.0
    if mean is None or half == 0:
        return console.text(mean)
    digits = 1 - math.floor(math.log10(half))
    if 0 <= digits <= 8 and abs(mean) < 1e6:
        return f"{mean:.{digits}f} {streams.plus_minus()} {half:.{digits}f}"
    return f"{mean:.6g} {streams.plus_minus()} {half:.2g}"


def of_seeds(numbers: dict[int, float] | None) -> list[float]:
    return [] if numbers is None else [*numbers.values()]


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
