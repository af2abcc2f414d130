"""The pictures of a group of runs or of a sweep, for `ebm plot GROUP`."""

import re
from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._flags import split
from ebm_cli.commands.compare import runs_of
from ebm_cli.comparison import compare, pictures
from ebm_cli.errors import InputError, Problem, bad, nearest
from ebm_cli.runs.run import outputs

NAMES = ("curves", "heat_map", "parallel")
FLAGS = {"--metric": True}


def plot_group(words: Sequence[str]) -> int:
    """Draw the pictures that apply, or those that figure=NAME names, into `figures/GROUP/` of the outputs folder."""
    flags, (group, *rest) = split(words, FLAGS, keys=True)
    names = NAMES
    for word in rest:
        key, _, value = word.partition("=")
        if key != "figure":
            raise bad(f"{word}: a group has no key {key!r}", f"ebm plot {group} figure=curves --metric kl")
        names = tuple(filter(None, value.strip("[]").split(",")))
        for name in names:
            if name not in NAMES:
                raise bad(f"figure: a group has no picture {name!r}", nearest(name, NAMES))
    if len(metrics := flags.get("--metric", [])) > 1:
        raise bad("--metric: one picture shows one metric", f"--metric {metrics[-1]}")
    made = compare.compare(runs_of([group]), metrics, least=1)
    key = metrics[0] if metrics else made.rank
    if key is None:
        raise bad(f"{group}: no number of these runs ranks them", f"--metric {made.metrics[0]} shows one of their numbers")
    reasons = pictures.lacking(made, key)
    drawn = [name for name in names if reasons[name] is None]
    said = [f"figure={name} cannot be drawn: {reasons[name]}" for name in names if reasons[name] is not None]
    if not drawn:
        *others, last = said
        raise InputError(*map(Problem, others), Problem(last, f"`ebm compare {group}` prints the numbers"))
    folder = outputs() / "figures" / re.sub(r"[^\w.-]|^\.+", "_", group)
    unit = next((units[key] for row in made.rows for entry in row.entries if key in (units := entry.summary.get("units", {}))), "")
    for path in pictures.save(folder, made, key, group, unit, drawn):
        console.show(f"Picture saved to {path}")
    for line in said if names is not NAMES else ():
        console.say(f"note: {line}")
    for line in made.notes:
        console.say(f"note: {line}")
    return 0
