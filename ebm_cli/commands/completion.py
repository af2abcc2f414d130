"""usage: ebm completion bash|zsh|fish

Print the script that makes a shell complete commands, flags, groups, options, keys, runs and files at TAB.

  bash  eval "$(ebm completion bash)" in ~/.bashrc
  zsh   eval "$(ebm completion zsh)" in ~/.zshrc (zsh needs quotes around lists: 'metric=[a,b]')
  fish  ebm completion fish > ~/.config/fish/completions/ebm.fish"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ebm_cli import types
from ebm_cli.commands._shells import SHELLS
from ebm_cli.commands._signatures import is_analytic, values_of
from ebm_cli.commands._usage import Leaf, Usage
from ebm_cli.comparison.budget import KEYS as BUDGETS
from ebm_cli.config import option_files, roles
from ebm_cli.errors import bad, printable
from ebm_cli.io import yaml_text
from ebm_cli.runs import catalog

SHORT = {"--config-dir": "-cd", "--cfg": "-c"}  # short forms, which no usage text shows
NEWEST = 20  # the number of newest runs whose metrics are offered
PLAIN = {"trainer": "ebm_cli.config.settings.TrainerSettings", "sweep": "ebm_cli.config.settings.SweepSettings"}  # by key
ROOT = "ebm_cli.config.settings.root"  # the keys at the top level

Tree = dict[str, Any]  # keys with their Leaf or Tree; under _target_ the name of the component
Found = dict[str, str]  # candidates with their descriptions


def main(words: Sequence[str]) -> int:
    if words[:1] == ["--line"]:
        with suppress(Exception):  # completion shows no errors
            answer(*words[1:])
        return 0
    if len(words) != 1:
        raise bad("the name of one shell is needed", __doc__.splitlines()[0])
    if words[0] not in SHELLS:
        raise bad(f"there is no completion for {words[0]!r}", f"choose one of {', '.join(SHELLS)}")
    print(SHELLS[words[0]], end="")
    return 0


def answer(line: str, tail: str | None = None) -> None:
    """Print the candidates for the last word of a line. Bash passes the `tail` that it replaces, and receives only that part, escaped."""
    words, quoted = split(line)
    found = candidates(words)
    cut = 0 if tail is None else len(words[-1]) - len(tail if quoted else split(tail)[0][-1])
    for candidate, what in found.items():
        if not candidate.isprintable():  # the shell would write its control characters to the terminal
            continue
        shown = candidate[cut:]
        if tail is not None and not quoted:
            shown = re.sub(r"([\s\\\"'`$&|;<>(){}*?!])", r"\\\1", shown)
        print(f"{shown}\t{printable(' '.join(what.split()))}".rstrip("\t"))


def split(line: str) -> tuple[list[str], bool]:
    """The words of an unfinished line, and whether the last one is inside quotes."""
    for quote in ("", "'", '"'):
        with suppress(ValueError):
            words = shlex.split(f"{line}|{quote}")  # the appended bar keeps an empty last word
            return [*words[:-1], words[-1][:-1]], bool(quote)
    return [""], False


def candidates(words: Sequence[str]) -> Found:
    """The candidates for the last word of a line."""
    _, *before, word = words
    if not before:
        verbs = {path.stem: Usage.of(path.stem).about for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))}
        return matching(word, dict.fromkeys(("--help", "--version"), "") if word.startswith("-") else verbs)
    verb, *given = before
    usage = Usage.of(verb)
    flags = usage.flags | {SHORT[flag]: value for flag, value in usage.flags.items() if flag in SHORT} | {"--help": ""}
    awaited = flags.get(given[-1], "") if given else ""
    flag, equals, value = word.partition("=")
    if awaited:
        return matching(word, named(awaited, word))
    if word.startswith("-"):
        return matching(word, {flag + equals + name: what for name, what in named(flags[flag], value).items()} if equals else flags)
    return matching(word, of_train(word, given) if verb == "train" else of_verb(word, given, usage, flags))


def of_train(word: str, given: Sequence[str]) -> Found:
    """Groups, options and keys, including the keys of the options that the line chooses."""
    dirs = folders(given)
    groups = option_files.groups(dirs)
    if {"-m", "--multirun"} & {*given}:
        for path in sorted(file for folder in (option_files.conf_dir(), *dirs) for file in folder.glob("hydra/*/*.yaml")):
            described = "".join(re.findall(r"\A# (.*)", path.read_text()))
            groups.setdefault(f"hydra/{path.parent.name}", {})[path.stem] = option_files.Option(described, "", path)
    train = option_files.conf_dir() / "train.yaml"
    line = {key: value for key, _, value in (word.partition("=") for word in given) if key in groups}
    chosen = option_files.defaults(train.with_name("multirun.yaml")) | option_files.defaults(train) | line
    for _, path in list(files(chosen, groups)):
        chosen |= option_files.defaults(path)
    tree = read(train)
    for group, path in files(chosen | line, groups):
        if group != "experiment":
            below = tree
            for part in group.split("/"):
                below = below.setdefault(part, {})
            below.update(read_option(path, groups))
    return assignments(word, tree, groups)


def of_verb(word: str, given: Sequence[str], usage: Usage, flags: Mapping[str, str]) -> Found:
    """Positional words first; after the last of them, the keys that the usage names, with the keys of the components of the run."""
    places = [part for i, part in enumerate(given) if not part.startswith("-") and not flags.get(given[i - 1] if i else "")]
    analytic = "energy" in usage.keys and "=" in (*places, word)[0]  # `ebm sample energy=...`: no run is named
    if usage.places and not analytic and (usage.repeats or len(places) < len(usage.places)):
        without = {"energy=": "an analytic energy"} if "energy" in usage.keys else {}
        return named(usage.places[min(len(places), len(usage.places) - 1)], word, folders(given)) | without
    hidden = ("energy", "dataset") if "energy" in usage.keys and not analytic else ()
    keys = {key: leaf for key, leaf in usage.keys.items() if key.partition(".")[0] not in hidden}
    every = option_files.groups(folders(given))
    groups = {group: options for group, options in every.items() if group in keys and "|" not in keys[group].text}
    train = option_files.conf_dir() / "train.yaml"
    line = {}
    if analytic:
        groups["energy"] = {name: option for name, option in groups["energy"].items() if is_analytic(target_of(option.path))}
        line = {group: option for group, option in option_files.train_defaults().items() if group in groups and group != "energy"}
    line |= {key: value for key, _, value in (place.partition("=") for place in places) if key in groups}
    samples = bool({"n_samples", "n_frames"} & keys.keys())
    run = None if analytic or not samples else catalog.find_any(places[0])
    if run:
        yaml_text.load_tree(run.config_text())  # refuses a file that would take too long to read
    stored = read(run.path / "config.yaml" if run else train) if samples else {}
    tree: Tree = dict(stored.get("draws", {})) if "n_samples" in keys else {}  # the usage does not name all of these keys
    for key, leaf in keys.items():
        group, _, below = key.partition(".")
        if below.isupper():  # sampler.KEY, metric.NAME.KEY
            tree[group] = {} if group in line and group not in roles.LISTS else stored.get(group, {})
        elif below:
            tree.setdefault(group, {})[below] = leaf
        elif group not in groups:
            tree[group] = leaf
    for group, path in files(line, groups):
        tree[group] = tree.get(group, {}) | read_option(path, every)
    return assignments(word, tree, groups)


def assignments(word: str, tree: Tree, groups: Mapping[str, Mapping[str, option_files.Option]]) -> Found:
    """`key=` or `key.` while the word is not an assignment; then `key=value`, also after a comma and inside brackets."""
    key, equals, value = word.partition("=")
    place, dot, last = key.rpartition(".")
    below = tree
    for part in place.split(".") if dot else ():
        below = below.get(part, {})
    inside = {name: node for name, node in below.items() if not name.startswith("_")}
    if not equals:
        found = {f"{place}{dot}{name}{'.' if isinstance(node, dict) else '='}": describe(node) for name, node in inside.items()}
        return found if dot else {f"{group}=": "" for group in groups} | found
    leaf = inside.get(last, Leaf())
    if key == "resume":
        return {f"{key}={name}": what for name, what in named("RUN", value).items()}
    if key not in groups and (last in ("path", "couplings") or (isinstance(leaf, Leaf) and leaf.text == "FILE")):
        return {f"{key}={name}": "" for name in named("FILE", value)}
    target = below["_target_"].text if "_target_" in below else PLAIN.get(place, "" if dot else ROOT)
    listed = leaf.text.split("|") if isinstance(leaf, Leaf) and "|" in leaf.text else values_of(target, last)
    known = types.DEVICES if last == "device" else listed
    options = {name: option.description for name, option in groups[key].items()} if key in groups else dict.fromkeys(known, "")
    opened = re.match(r"(.*[,\[])?", value)[0]
    left = {name: what for name, what in options.items() if name not in re.findall(r"[\w-]+", opened)}
    ends = ("",) if "[" not in opened else ("]", ",") if len(left) > 1 else ("]",)
    return {f"{key}={opened}{name}{end}": what for name, what in left.items() for end in ends}


def named(name: str, word: str, dirs: Sequence[Path] = ()) -> Found:
    """The words that a name in a usage text, such as RUN, stands for."""
    if name == "RUN":
        runs = catalog.every()[::-1]
        ids = {"last": runs[0].path.name, **{run.id: run.path.name for run in runs}} if runs else {}
        names = {run.path.name: "" for run in runs} if word else {}  # offered once the user has begun to type one
        return ids | names | (named("DIR", word) if "/" in word else {})
    if name == "GROUP":
        return dict.fromkeys(option_files.groups(dirs), "")
    if name in ("FILE", "DIR"):
        folder, slash, last = word.rpartition("/")
        inside = sorted(Path(folder + slash).expanduser().iterdir())
        shown = (path for path in inside if last.startswith(".") or not path.name.startswith("."))
        return {f"{folder}{slash}{path.name}{'/' * path.is_dir()}": "" for path in shown if name == "FILE" or path.is_dir()}
    if name == "METRIC":
        whole = [run for run in catalog.every()[-NEWEST:] if not run.damage()]
        return dict.fromkeys((key for run in whole for key in run.read("summary.json").get("units", ())), "")
    if name == "NAME":
        return dict.fromkeys(catalog.groups(), "")
    if name == "BUDGET":
        return {f"{key}=": "" for key in BUDGETS}
    if "|" in name:
        return {candidate: what for part in name.split("|") for candidate, what in named(part, word, dirs).items()}
    return {name: ""}


def matching(word: str, found: Mapping[str, str]) -> Found:
    """The candidates that begin with the word."""
    return {candidate: what for candidate, what in found.items() if candidate.startswith(word)}


def folders(given: Sequence[str]) -> list[Path]:
    """The folders of the user's own options that the line names."""
    separate = [value for flag, value in pairwise(given) if flag in ("--config-dir", "-cd")]
    joined = [word.removeprefix("--config-dir=") for word in given if word.startswith("--config-dir=")]
    return [Path(folder).expanduser() for folder in (*separate, *joined)]


def files(chosen: Mapping[str, Any], groups: Mapping[str, Mapping[str, option_files.Option]]) -> Iterator[tuple[str, Path]]:
    """The files of the chosen options, each with its group. A sweep chooses several options of a group."""
    for group, value in chosen.items():
        names = re.findall(r"[\w-]+", str(value))
        yield from ((group, groups[group][name].path) for name in names if name in groups.get(group, ()))


def target_of(path: Path) -> str:
    """The component that the file of an option names."""
    return option_files.node_of(path).get("_target_", "")


def read_option(path: Path, groups: Mapping[str, Mapping[str, option_files.Option]]) -> Tree:
    """The keys of an option, with the keys of the options that it contains."""
    inner = {key: read(groups[group][option].path) for key, (group, option) in option_files.placed(path).items()}
    return read(path) | inner


def read(path: Path) -> Tree:
    """The keys of a YAML file that a user can set, with the names of its components."""
    text = path.read_text()
    lines = text.splitlines()

    def of(node: yaml.Node) -> Tree | Leaf:
        if not isinstance(node, yaml.MappingNode):
            return Leaf(text[node.start_mark.index : node.end_mark.index], lines[node.start_mark.line].partition(" # ")[2])
        inside = {key.value: of(value) for key, value in node.value if key.value not in ("defaults", "_self_")}
        return {
            key: leaf for key, leaf in inside.items() if isinstance(leaf, dict) or not leaf.text.startswith("${") or "oc.env" in leaf.text
        }

    return of(yaml.compose(text))


def describe(node: Tree | Leaf) -> str:
    """The text shown beside a key: its value and its comment."""
    return "" if isinstance(node, dict) else f"{node.text}  {node.comment}".strip()
