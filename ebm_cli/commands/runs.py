"""usage: ebm runs [--group NAME] [--sort METRIC] [--reverse] [--json]

The runs under outputs/ (or EBM_OUTPUTS), the oldest first: id, state, what differs from the defaults, final metrics, age, path.

  --group NAME    those of a group, or of a sweep by its id
  --sort METRIC   by a number of their summary, the smallest first; runs without it come last
  --reverse       the other way round
  --json          as JSON, with every number"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebm_cli import console, run
from ebm_cli.errors import InputError, bad, nearest
from ebm_cli.flags import split


def main(words: Sequence[str]) -> int:
    flags, rest = split(words, {"--json": False, "--reverse": False, "--group": True, "--sort": True})
    if rest:
        raise bad(f"ebm runs takes no {rest[0]!r}", __doc__.splitlines()[0])
    listed = [describe(one) for one in run.every()]
    if "--group" in flags:
        listed = of_group(listed, flags["--group"][-1])
    if "--sort" in flags:
        listed = by_metric(listed, flags["--sort"][-1], reverse="--reverse" in flags)
    elif "--reverse" in flags:
        listed.reverse()
    if "--json" in flags:
        print(json.dumps(listed, indent=1))
        return 0
    shown = dict.fromkeys([*flags.get("--sort", []), *(key for row in listed for key in row["headline"])])
    rows = [
        [
            row["id"],
            row["state"],
            " ".join(row["differs"]) or "(defaults)",
            *(_number(row["metrics"].get(key)) for key in shown),
            age(row["age_seconds"]),
            row["path"],
        ]
        for row in listed
    ]
    console.table(["id", "state", "differs", *shown, "age", "path"], rows, right=list(shown))
    return 0


def of_group(listed: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Those that were made for a group, and those that a sweep of that group or id reused."""
    sweeps = [sweep for sweep in run.sweeps() if {"group", "id", "runs"} <= sweep.keys()]
    named = [sweep for sweep in sweeps if group in (sweep["group"], sweep["id"])]
    reused = {Path(one["path"]).name for sweep in named for one in sweep["runs"] if one["path"]}
    found = [row for row in listed if row["group"] == group or Path(row["path"]).name in reused]
    if not found:
        known = {row["group"] for row in listed if row["group"]} | {sweep["group"] for sweep in sweeps}
        raise bad(f"there is no group {group!r} under {run.outputs()}", nearest(group, known))
    return found


def by_metric(listed: list[dict[str, Any]], metric: str, *, reverse: bool) -> list[dict[str, Any]]:
    """Sorted by a number of the summary; those without it last, either way."""
    having = [row for row in listed if metric in row["metrics"]]
    if listed and not having:
        raise bad(f"--sort: no run has a {metric!r}", nearest(metric, {key for row in listed for key in row["metrics"]}))
    having.sort(key=lambda row: row["metrics"][metric], reverse=reverse)
    return having + [row for row in listed if metric not in row["metrics"]]


def describe(one: run.Run) -> dict[str, Any]:
    """A run as `--json` gives it."""
    try:
        facts, summary = one.read("environment.json"), one.read("summary.json")
    except InputError:
        nothing = {"group": None, "differs": [], "metrics": {}, "headline": [], "age_seconds": 0.0}
        return {"id": one.id, "state": "damaged", **nothing, "path": str(one.path)}
    numbers = {key: value for key, value in summary.items() if isinstance(value, (int, float)) and key not in ("id", "seed", "seeds")}
    state = {"id": one.id, "state": one.state(), "group": facts.get("group"), "differs": facts.get("differs", [])}
    found = {"metrics": numbers, "headline": summary.get("headline", [])}
    return state | found | {"age_seconds": round(time.time() - facts.get("created", time.time()), 1), "path": str(one.path)}


def age(seconds: float) -> str:
    """In the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
