"""usage: ebm runs [--json]

The runs under outputs/ (or EBM_OUTPUTS), the oldest first: id, state, what differs from the defaults, final metrics, age, path."""

import json
import time
from collections.abc import Sequence
from typing import Any

from ebm_cli import console, run
from ebm_cli.commands import words_of
from ebm_cli.errors import InputError, bad

METRICS = ("kl", "nll", "sliced_wasserstein")


def main(words: Sequence[str]) -> int:
    flags, rest = words_of(words, ["--json"])
    if rest:
        raise bad(f"ebm runs takes no {rest[0]!r}", "ebm runs --json")
    listed = [describe(one) for one in run.every()]
    if "--json" in flags:
        print(json.dumps(listed, indent=1))
        return 0
    rows = [
        [
            row["id"],
            row["state"],
            " ".join(row["differs"]) or "(defaults)",
            *(_number(row["metrics"].get(key)) for key in METRICS),
            age(row["age_seconds"]),
            row["path"],
        ]
        for row in listed
    ]
    console.table(["id", "state", "differs", *METRICS, "age", "path"], rows)
    return 0


def describe(one: run.Run) -> dict[str, Any]:
    """A run as `--json` gives it."""
    try:
        facts, summary = one.read("environment.json"), one.read("summary.json")
    except InputError:
        return {"id": one.id, "state": "damaged", "differs": [], "metrics": {}, "age_seconds": 0.0, "path": str(one.path)}
    numbers = {key: value for key, value in summary.items() if isinstance(value, (int, float)) and key not in ("id", "seed", "seeds")}
    state = {"id": one.id, "state": one.state(), "differs": facts.get("differs", [])}
    return state | {"metrics": numbers, "age_seconds": round(time.time() - facts.get("created", time.time()), 1), "path": str(one.path)}


def age(seconds: float) -> str:
    """In the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
