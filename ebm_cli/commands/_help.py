"""The help text of `ebm train`. Its tables of groups, options and keys are read from the config files and fit the width of the terminal."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from ebm_cli.config import option_files
from ebm_cli.io import yaml_text

HELP = """usage: ebm train [group=option ...] [key=value ...] [-m] [--cfg job] [--config-dir DIR]

Train one energy-based model. With -m, values separated by commas make a sweep: one model for each combination. The same command again
shows the stored result, or continues an interrupted run.

Groups (group=option; `ebm list GROUP` describes the options):

{groups}

Options:

{options}

Keys (key=value; `ebm train --cfg job` also prints the keys of the chosen options):

{keys}

Flags:

  -m, --multirun      run a sweep: objective=ssm,nce seed=0,1,2
  --cfg job           print the config and run nothing
  --config-dir DIR    a folder with options of your own, DIR/GROUP/OPTION.yaml

Environment:

  EBM_OUTPUTS         the folder for results (default: outputs)
  EBM_ALLOW           packages of your own that a config may use, separated by commas

Examples:

  ebm train objective=ssm dataset=moons
  ebm train objective=nce dataset=table dataset.path=data.csv seeds=4
  ebm train -m objective=ssm,nce,pcd optimizer.lr=0.001,0.003
  ebm train -m experiment=search_lr objective=nce"""


def train_help(dirs: Sequence[Path]) -> str:
    """The complete help text."""
    train, groups = option_files.conf_dir() / "train.yaml", option_files.groups(dirs)
    comments, chosen = beside(train), option_files.train_defaults()
    rows = [(group, text(chosen.get(group)), comments.get(f"- {group}", "")) for group in groups]
    names = [(group, ", ".join(options)) for group, options in groups.items()]
    keys = [(key, value, comments.get(key, "")) for key, value in keys_of(train)]
    return HELP.format(
        groups=table(("group", "default", "what it chooses"), rows),
        options=table(("group", "options"), names),
        keys=table(("key", "default", "what it is"), keys),
    )


def keys_of(path: Path) -> Iterator[tuple[str, str]]:
    """The dotted keys of a config file with their values. A key that holds other keys has an empty value."""
    for key, value in yaml_text.load(path.read_text()).items():
        if key == "defaults":
            continue
        yield key, "" if isinstance(value, dict) else text(value)
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", text(inner)) for name, inner in value.items())


def beside(path: Path) -> dict[str, str]:
    """The comment beside each key (under its dotted name) and beside each entry of the defaults list (under `- GROUP`)."""
    found, parent = {}, ""
    for line in path.read_text().splitlines():
        code, _, comment = line.partition(" # ")
        name, colon, _ = code.partition(":")
        if not colon or name.startswith("#"):
            continue
        inside = name.startswith("  ")
        parent = parent if inside else name.strip()
        key = name.strip()
        found[key if not inside or key.startswith("-") else f"{parent}.{key}"] = comment.strip()
    return found


def text(value: object) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns. The last column is wrapped at the width of the terminal; after a long cell it starts on the next line."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 140))
    widths = [min(max(len(row[i]) for row in (heads, *rows)), 24) for i in range(len(heads) - 1)]
    indent = 2 + sum(widths) + 2 * len(widths)
    lines = []
    for row in (heads, *rows):
        cells = "  " + "".join(f"{cell:{n}}  " for cell, n in zip(row, widths, strict=False))
        wrapped = textwrap.wrap(row[-1], width - indent, break_long_words=False, break_on_hyphens=False) or [""]
        if len(cells) > indent:
            before = " " * (indent - widths[-1] - 1)  # a list that is wider than the terminal continues under its first item
            long = textwrap.wrap(cells.replace(",", ", "), width, subsequent_indent=before, break_on_hyphens=False, drop_whitespace=False)
            lines += [line.replace(", ", ",").rstrip() for line in long]
            cells = " " * indent
        lines.append((cells + wrapped[0]).rstrip())
        lines += [" " * indent + line for line in wrapped[1:]]
    return "\n".join(lines)
