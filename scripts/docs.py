"""Writes the generated parts of README.md and docs/, between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    python scripts/docs.py [--check]

`options` comes from the files of conf/, `methods` from results/methods.json (made by scripts/methods.py), `sweep` from
results/sweep.json (made by scripts/sweep_table.py), `log_z_coverage` from results/log_z_coverage.json (made by
scripts/log_z_coverage.py), `anomalies` from results/anomaly_detection.json (made by scripts/anomaly_detection.py), `known_densities` from
results/known_densities.json (made by scripts/known_densities.py), `benchmark` and `results` from results/benchmark.jsonl (made by
scripts/benchmark.py). With --check nothing is written, and the exit code is 1 if a part is out of date.
"""

import json
import math
import re
import statistics
import sys
from pathlib import Path

import anomaly_detection
import benchmark_tables
import known_densities
import log_z_coverage
from measured import maker

from ebm_cli.config import option_files

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("exact", "nce", "cnce", "energy_discrepancy", "ssm", "dsm", "pcd", "recovery")  # the rows of README's table
COLUMNS = ("moons", "eight_gaussians", "twentyfive_gaussians", "rings", "checkerboard")
MODES = ("mode_weight_error_density", "mode_weight_error")


def options():
    """A table of the options of each group."""
    lines = []
    for group, found in option_files.groups().items():
        lines += ["", f"## {group}", "", "| option | description | reference |", "|---|---|---|"]
        for name, option in found.items():
            cells = (f"`{name}`", option.description, option.reference)
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines[1:])


def methods():
    """A table of every objective on two datasets: `exact` first, then sorted by the KL on moons."""
    stored = json.loads((ROOT / "results" / "methods.json").read_text())
    lines = [
        "| objective | moons: exact KL (nats) | above `exact` | seconds | evaluations (millions) "
        "| 25 Gaussians: exact KL | mode-weight error of the density | of samples |",
        "|---|---|---|---|---|---|---|---|",
    ]
    moons, many = (by_objective(stored["rows"][dataset]) for dataset in ("moons", "twentyfive_gaussians"))
    reference = average(moons["exact"], "kl")
    for objective in sorted(moons, key=lambda name: (name != "exact", average(moons[name], "kl") or math.inf)):
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
    note = "Mean over seeds 0, 1 and 2, with their range; a dash if a seed has no value. One thread for each run."
    lines += ["", f"{note} Made by `make methods` at {made}."]
    usual = moons["exact"][0]["energy"]
    others = ", ".join(f"`{name}` ({rows[0]['energy']})" for name, rows in sorted(moons.items()) if rows[0]["energy"] != usual)
    lines += ["", f"The network is `{usual}`, except for {others}."]
    if stored["missed"]:
        lines += ["", "Targets that are missed (see scripts/methods.py): " + "; ".join(stored["missed"]) + "."]
    return "\n".join(lines)


def by_objective(rows):
    return {name: [row for row in rows if row["objective"] == name] for name in dict.fromkeys(row["objective"] for row in rows)}


def average(rows, key):
    """The mean over runs, or None if a run has no value."""
    values = [row.get(key) for row in rows]
    return None if None in values else statistics.mean(values)


def number(value, form=".4f"):
    return "-" if value is None else format(value, form)


def spread(rows, key):
    """The mean, smallest and largest value as text."""
    if average(rows, key) is None:
        return "-"
    values = [row[key] for row in rows]
    return f"{statistics.mean(values):.4f} ({min(values):.4f} .. {max(values):.4f})"


def sweep():
    """The command of a sweep and its output."""
    stored = json.loads((ROOT / "results" / "sweep.json").read_text())
    made, minutes = maker(stored["made_by"]), stored["seconds"] / 60
    note = f"Made by `make sweep-table` at {made}, in {minutes:.0f} minutes on two cores of a shared machine."
    return f"```\n$ {stored['line']}\n{stored['printed']}```\n\n{note}"


def benchmark():
    """The first and the last table of results/benchmark.md, with the line on how they were made."""
    text = (ROOT / "results" / "benchmark.md").read_text()
    sections = text.split("\n## ")
    return sections[1].partition("\n\n")[2] + "\n" + sections[-1].partition("\n\n")[2].strip()


def results():
    """The rows SHOWN of the benchmark at equal time."""
    fresh, _ = benchmark_tables.read(ROOT / "results" / "benchmark.jsonl")
    rows = [row for row in fresh if row["objective"] in SHOWN and row["dataset"] in COLUMNS]
    return benchmark_tables.table(rows, benchmark_tables.cell) + f"\n\n{benchmark_tables.maker(rows)}"


def coverage():
    """The coverage of the intervals of log Z."""
    return log_z_coverage.table(json.loads(log_z_coverage.RESULTS.read_text()))


def tables():
    """The table of results/table_likelihoods.md."""
    return (ROOT / "results" / "table_likelihoods.md").read_text().strip()


def anomalies():
    """Anomaly detection on the sets of ADBench."""
    return anomaly_detection.page(json.loads(anomaly_detection.RESULTS.with_suffix(".json").read_text()))


def densities():
    """The KL divergences on known densities in many dimensions."""
    return known_densities.report(known_densities.stored()).strip()


PARTS = {
    "options": options,
    "methods": methods,
    "benchmark": benchmark,
    "results": results,
    "sweep": sweep,
    "log_z_coverage": coverage,
    "tables": tables,
    "anomalies": anomalies,
    "known_densities": densities,
}


def pages():
    """Every page that may have generated parts."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def written(text):
    """A page with its generated parts up to date."""

    def part(found):
        return f"<!-- begin {found[1]} -->\n{PARTS[found[1]]()}\n<!-- end {found[1]} -->"

    return re.sub(r"<!-- begin (\w+) -->\n.*?<!-- end \1 -->", part, text, flags=re.DOTALL)


def main():
    outdated = [page for page in pages() if written(page.read_text()) != page.read_text()]
    if "--check" in sys.argv:
        print(*(f"{page.relative_to(ROOT)} is out of date: run `make docs`" for page in outdated), sep="\n")
        return int(bool(outdated))
    for page in outdated:
        page.write_text(written(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
