"""Writes the generated parts of README.md, between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    python scripts/readme.py [--check]

`options` comes from the files of conf/, `defaults` from results/defaults.json (made by scripts/check_defaults.py), `sweep` from
results/sweep.json (made by scripts/sweep_table.py).
"""

import json
import re
import statistics
import sys
from pathlib import Path

from ebm_cli import config

ROOT = Path(__file__).resolve().parents[1]


def options():
    """A table of every group's options."""
    lines = ["| group | option | what it is | reference |", "|---|---|---|---|"]
    for group, found in config.groups().items():
        lines += [f"| {group} | `{name}` | {option.description} | {option.reference} |" for name, option in found.items()]
    return "\n".join(lines)


def defaults():
    """Exact KL of every objective's defaults on moons."""
    stored = json.loads((ROOT / "results" / "defaults.json").read_text())
    lines = [
        "| objective | exact KL of seeds 0, 1, 2 (nats) | learned log Z - exact log Z | CPU seconds, all in all |",
        "|---|---|---|---|",
    ]
    for objective in dict.fromkeys(row["objective"] for row in stored["rows"]):
        rows = [row for row in stored["rows"] if row["objective"] == objective]
        gaps = [row["log_z_gap"] for row in rows if "log_z_gap" in row]
        gap = f"at most {max(gaps):.3f}" if gaps else "-"
        seconds = statistics.median(row["cpu_seconds"] for row in rows)
        kls = ", ".join(format(row["kl"], ".4f") for row in rows)
        lines.append(f"| `{objective}` | {kls} | {gap} | {seconds:.0f} |")
    made_by = stored["made_by"]
    commit = made_by["git"].get("commit", "?")[:10]
    lines += [
        "",
        f"Made by `make check-defaults` at commit {commit}, torch {made_by['packages']['torch']}, one thread of a shared machine.",
    ]
    return "\n".join(lines)


def sweep():
    """A sweep's line and what it printed."""
    stored = json.loads((ROOT / "results" / "sweep.json").read_text())
    made_by, minutes = stored["made_by"], stored["seconds"] / 60
    commit, torch = made_by["git"].get("commit", "?")[:10], made_by["packages"]["torch"]
    note = f"Made by `make sweep-table` at commit {commit}, torch {torch}, in {minutes:.0f} minutes on two cores of a shared machine."
    return f"```\n$ {stored['line']}\n{stored['printed']}```\n\n{note}"


def written(text):
    """The README with its generated parts as they should be."""
    for name, make in {"options": options, "defaults": defaults, "sweep": sweep}.items():
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
