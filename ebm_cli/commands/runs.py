"""usage: ebm runs [--group NAME] [--sort METRIC] [--reverse] [--json]

List the runs under outputs/ (or EBM_OUTPUTS), the oldest first: id, state, changes from the defaults, final metrics, age and path.
A damaged run is listed with the reason.

  --group NAME    only the runs of a group, or of the sweep with this id
  --sort METRIC   sort by a number of the summaries, the smallest first; runs without it come last
  --reverse       reverse the order
  --json          print JSON, with every number"""

import json
import time
from collections.abc import Sequence
from typing import Any

from ebm_cli import console
from ebm_cli.commands._flags import split
from ebm_cli.errors import bad, nearest
from ebm_cli.runs import catalog, run
from ebm_cli.runs.run import SCHEMA


def main(words: Sequence[str]) -> int:
    flags, rest = split(words, {"--json": False, "--reverse": False, "--group": True, "--sort": True})
    if rest:
        raise bad(f"ebm runs takes no argument {rest[0]!r}", __doc__.splitlines()[0])
    listed = [describe(member) for member in (of_group(flags["--group"][-1]) if "--group" in flags else catalog.every())]
    if "--sort" in flags:
        listed = by_metric(listed, flags["--sort"][-1], reverse="--reverse" in flags)
    elif "--reverse" in flags:
        listed.reverse()
    if "--json" in flags:
        console.show(json.dumps(listed, indent=1))
        return 0
    shown = dict.fromkeys([*flags.get("--sort", []), *(key for row in listed for key in row["headline"])])
    rows = [
        [
            row["id"],
            row["state"],
            row.get("reason") or " ".join(row["differs"]) or "(defaults)",
            *(_number(row["metrics"].get(key)) for key in shown),
            age(row["age_seconds"]),
            row["path"],
        ]
        for row in listed
    ]
    console.table(["id", "state", "differs", *shown, "age", "path"], rows, right=list(shown))
    return 0


def of_group(group: str) -> list[run.Run]:
    """The runs that were made for a group, and those that a sweep of this group or id reused."""
    groups = catalog.groups()
    if group not in groups:
        raise bad(f"there is no group {group!r} under {run.outputs()}", nearest(group, groups))
    return groups[group]


def by_metric(listed: list[dict[str, Any]], metric: str, *, reverse: bool) -> list[dict[str, Any]]:
    """The runs sorted by a number of their summaries. Runs without this number come last in both orders."""
    having = [row for row in listed if metric in row["metrics"]]
    if listed and not having:
        raise bad(f"--sort: no run has the metric {metric!r}", nearest(metric, {key for row in listed for key in row["metrics"]}))
    having.sort(key=lambda row: row["metrics"][metric], reverse=reverse)
    return having + [row for row in listed if metric not in row["metrics"]]


def describe(member: run.Run) -> dict[str, Any]:
    """The description of a run that `--json` prints."""
    if damage := member.damage():
        nothing = {"group": None, "differs": [], "metrics": {}, "headline": [], "age_seconds": 0.0}
        return {"id": member.id, "state": "damaged", "reason": damage.message, **nothing, "path": str(member.path)}
    facts, summary = member.read("environment.json"), member.read("summary.json")
    numbers = {key: value for key, value in summary.items() if isinstance(value, (int, float)) and key not in ("id", "seed", "seeds")}
    current = facts.get("schema", 1) == SCHEMA
    state = {
        "id": member.id,
        "state": member.state() if current else "other version",
        "group": facts.get("group"),
        "differs": facts.get("differs", []),
    }
    found = {"metrics": numbers, "headline": summary.get("headline", [])}
    return state | found | {"age_seconds": round(time.time() - facts.get("created", time.time()), 1), "path": str(member.path)}


def age(seconds: float) -> str:
    """A duration in the largest unit that fits, rounded. Clocks differ between machines, so that a run may be from the future."""
    if seconds < -1:
        return "in the future"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
