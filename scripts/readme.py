"""Writes the generated parts of README.md, between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    python scripts/readme.py [--check]

`options` comes from the files of conf/, `methods` from results/methods.json (made by scripts/methods.py), `sweep` from
results/sweep.json (made by scripts/sweep_table.py), `benchmark` from results/benchmark.md (made by scripts/benchmark_tables.py).
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path

from measured import maker

from ebm_cli.config import compose

ROOT = Path(__file__).resolve().parents[1]


def options():
    """A table of every group's options."""
    lines = ["| group | option | what it is | reference |", "|---|---|---|---|"]
    for group, found in compose.groups().items():
        lines += [f"| {group} | `{name}` | {option.description} | {option.reference} |" for name, option in found.items()]
    return "\n".join(lines)


def methods():
    """Every objective on two datasets: the best on moons first, the exact reference above all."""
    stored = json.loads((ROOT / "results" / "methods.json").read_text())
    lines = [
        "| objective | moons: exact KL (nats) | above `exact` | seconds | evaluations (millions) "
        "| 25 Gaussians: exact KL | mode-weight error of the density | of samples |",
        "|---|---|---|---|---|---|---|---|",
    ]
    moons, many = (by_objective(stored["rows"][dataset]) for dataset in ("moons", "twentyfive_gaussians"))
    reference = average(moons["exact"], "kl")
    for objective in sorted(moons, key=lambda one: (one != "exact", average(moons[one], "kl") or math.inf)):
        rows, kl = moons[objective], average(moons[objective], "kl")
        counts = {kind: average(rows, f"n_{kind}_evaluations") or 0 for kind in ("energy", "score", "hvp")}
        evaluations = ", ".join(f"{count / 1e6:.3g} {kind}" for kind, count in counts.items() if count)
        cells = [
            spread(rows, "kl"),
            number(None if kl is None else kl - reference),
            number(average(rows, "train_seconds"), ".0f"),
            evaluations,
        ]
        cells += [spread(many[objective], "kl"), *(number(average(many[objective], key), ".3f") for key in MODES)]
        lines.append(f"| `{objective}` | {' | '.join(cells)} |")
    made = maker(stored["made_by"])
    lines += ["", f"Mean of seeds 0, 1, 2, and their range; one thread each. Made by `make methods` at {made}."]
    usual = moons["exact"][0]["energy"]
    others = ", ".join(f"`{one}` ({rows[0]['energy']})" for one, rows in sorted(moons.items()) if rows[0]["energy"] != usual)
    lines += ["", f"The network is `{usual}`, but for {others}."]
    if stored["missed"]:
        lines += ["", "Bounds that are missed (of scripts/methods.py): " + "; ".join(stored["missed"]) + "."]
    return "\n".join(lines)


MODES = ("mode_weight_error_density", "mode_weight_error")


def by_objective(rows):
    return {name: [row for row in rows if row["objective"] == name] for name in dict.fromkeys(row["objective"] for row in rows)}


def average(rows, key):
    """None where a run has no such number."""
    values = [row.get(key) for row in rows]
    return None if None in values else statistics.mean(values)


def number(value, form=".4f"):
    return "-" if value is None else format(value, form)


def spread(rows, key):
    """Mean, and least to greatest."""
    if average(rows, key) is None:
        return "-"
    values = [row[key] for row in rows]
    return f"{statistics.mean(values):.4f} ({min(values):.4f} .. {max(values):.4f})"


def sweep():
    """A sweep's line and what it printed."""
    stored = json.loads((ROOT / "results" / "sweep.json").read_text())
    made, minutes = maker(stored["made_by"]), stored["seconds"] / 60
    note = f"Made by `make sweep-table` at {made}, in {minutes:.0f} minutes on two cores of a shared machine."
    return f"```\n$ {stored['line']}\n{stored['printed']}```\n\n{note}"


def benchmark():
    """The first and the last table of results/benchmark.md and what made them."""
    text = (ROOT / "results" / "benchmark.md").read_text()
    sections = text.split("\n## ")
    return sections[1].partition("\n\n")[2] + "\n" + sections[-1].partition("\n\n")[2].strip()


def written(text):
    """The README with its generated parts as they should be."""
    for name, make in {"options": options, "methods": methods, "benchmark": benchmark, "sweep": sweep}.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        made = make().replace("\\", r"\\")
        text, n = pattern.subn(rf"\g<1>{made}\n\g<2>", text)
        assert n == 1, f"README.md has no place for {name}"
    return text


def main():
    path = ROOT / "README.md"
    text = path.read_text()
    if "--check" in sys.argv:
        return int(written(text) != text)
    path.write_text(written(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
