"""usage: ebm completion bash|zsh|fish

Print the script with which that shell completes commands, flags, groups, options, keys, runs and files at TAB.

  bash  eval "$(ebm completion bash)" in ~/.bashrc
  zsh   eval "$(ebm completion zsh)" in ~/.zshrc (lists need quotes there: 'metric=[a,b]')
  fish  ebm completion fish > ~/.config/fish/completions/ebm.fish"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ebm_cli.commands._shells import SHELLS
from ebm_cli.comparison.budget import KEYS as BUDGETS
from ebm_cli.config import compose, overrides
from ebm_cli.errors import bad
from ebm_cli.runs import run

SHORT = {"--config-dir": "-cd", "--cfg": "-c"}  # which no usage shows
NEWEST = 20  # runs whose numbers are offered


class Leaf(NamedTuple):
    """A value in a YAML file, as it is written, and the comment beside it."""

    text: str = ""
    comment: str = ""


Tree = dict[str, Any]  # of trees and leaves
Found = dict[str, str]  # a candidate: what it is


@dataclass(frozen=True)
class Usage:
    """The usage of a verb, read as the grammar by which its words are completed."""

    flags: dict[str, str]  # with the name of the value that follows, "" where none does
    places: list[str]  # words without a key: RUN, GROUP, bash|zsh|fish
    repeats: bool  # whether the last of them may come again
    keys: dict[str, Leaf]  # with the name of the value, and what is said of it
    about: str  # the verb's first line

    @classmethod
    def of(cls, verb: str) -> "Usage":
        """Read from the file of the verb, which is not imported: some import torch."""
        source = Path(__file__).with_name(f"{verb}.py").read_text()
        usage, _, body = source.partition(f"usage: ebm {verb}")[2].partition('"""')[0].partition("\n\n")
        flags = dict(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)(?:[ =](\w+))?", usage))
        for pair in re.findall(r"^ +(-\w+)?,? ?(--[\w-]+)", body, re.MULTILINE):
            flags = {flag: "" for flag in pair if flag} | flags
        words = re.sub(r"(?<![\w-])--?[a-z][a-z-]*([ =]\w+)?", "", usage).replace("[", " ").replace("]", " ").split()
        keys = {key: Leaf(value) for key, value in (word.split("=", 1) for word in words if "=" in word)}
        said = re.findall(r"^ +([a-z]\w*(?:\.\w+)*)  +(.*)", body, re.MULTILINE)
        keys |= {key: Leaf(keys.get(key, Leaf()).text, comment) for key, comment in said}
        return cls(flags, [word for word in words if word.isupper() or "|" in word], "..." in words, keys, re.split(r"[.:;\n]", body)[0])


def main(words: Sequence[str]) -> int:
    if words[:1] == ["--line"]:
        with suppress(Exception):  # whatever is wrong, TAB is not the moment to hear of it
            answer(*words[1:])
        return 0
    if len(words) != 1:
        raise bad("one shell is needed", __doc__.splitlines()[0])
    if words[0] not in SHELLS:
        raise bad(f"there is no completion for {words[0]!r}", f"for {', '.join(SHELLS)} there is")
    print(SHELLS[words[0]], end="")
    return 0


def answer(line: str, tail: str | None = None) -> None:
    """Print what the last word of a line may become; where bash names the tail that it will replace, only that part, escaped."""
    words, quoted = split(line)
    found = candidates(words)
    cut = 0 if tail is None else len(words[-1]) - len(tail if quoted else split(tail)[0][-1])
    for candidate, what in found.items():
        shown = candidate[cut:]
        if tail is not None and not quoted:
            shown = re.sub(r"([\s\\\"'`$&|;<>(){}*?!])", r"\\\1", shown)
        print(f"{shown}\t{' '.join(what.split())}".rstrip("\t"))


def split(line: str) -> tuple[list[str], bool]:
    """The words of an unfinished line, and whether its last stands within quotes."""
    for quote in ("", "'", '"'):
        with suppress(ValueError):
            words = shlex.split(f"{line}|{quote}")  # the bar keeps an empty last word
            return [*words[:-1], words[-1][:-1]], bool(quote)
    return [""], False


def candidates(words: Sequence[str]) -> Found:
    """What the last word of a line may become."""
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
        return matching(word, {flag + equals + one: what for one, what in named(flags[flag], value).items()} if equals else flags)
    return matching(word, of_train(word, given) if verb == "train" else of_verb(word, given, usage, flags))


def of_train(word: str, given: Sequence[str]) -> Found:
    """Groups, options and keys, those of the options that the line chooses."""
    dirs = folders(given)
    groups = compose.groups(dirs)
    if {"-m", "--multirun"} & {*given}:
        for path in sorted(file for folder in (compose.conf_dir(), *dirs) for file in folder.glob("hydra/*/*.yaml")):
            described = "".join(re.findall(r"\A# (.*)", path.read_text()))
            groups.setdefault(f"hydra/{path.parent.name}", {})[path.stem] = compose.Option(described, "", path)
    train = compose.conf_dir() / "train.yaml"
    line = {key: value for key, _, value in (one.partition("=") for one in given) if key in groups}
    chosen = defaults(train.with_name("multirun.yaml")) | defaults(train) | line
    for _, path in list(files(chosen, groups)):
        chosen |= defaults(path)
    tree = read(train)
    for group, path in files(chosen | line, groups):
        if group != "experiment":
            below = tree
            for part in group.split("/"):
                below = below.setdefault(part, {})
            below.update(read(path))
    return assignments(word, tree, groups)


def of_verb(word: str, given: Sequence[str], usage: Usage, flags: Mapping[str, str]) -> Found:
    """What stands at the word's place; after the last place, the keys that the usage names, with those of the run's own parts."""
    places = [one for i, one in enumerate(given) if not one.startswith("-") and not flags.get(given[i - 1] if i else "")]
    known = "energy" in usage.keys and "=" in (*places, word)[0]  # what is drawn from without a run
    if usage.places and not known and (usage.repeats or len(places) < len(usage.places)):
        without = {"energy=": "what is known as it stands"} if "energy" in usage.keys else {}
        return named(usage.places[min(len(places), len(usage.places) - 1)], word, folders(given)) | without
    theirs = ("energy", "dataset") if "energy" in usage.keys and not known else ()
    keys = {key: leaf for key, leaf in usage.keys.items() if key.partition(".")[0] not in theirs}
    groups = {group: options for group, options in compose.groups().items() if group in keys}
    if known:
        groups["energy"] = {name: option for name, option in groups["energy"].items() if "known as it stands" in option.description}
    train = compose.conf_dir() / "train.yaml"
    line = {group: option for group, option in defaults(train).items() if known and group in groups and group != "energy"}
    line |= {key: value for key, _, value in (one.partition("=") for one in places) if key in groups}
    stored = read(train if known else run.find(places[0]).path / "config.yaml") if "n_samples" in keys else {}
    tree: Tree = dict(stored.get("draws", {}))  # of which a usage does not name all
    for key, leaf in keys.items():
        group, _, below = key.partition(".")
        if below.isupper():  # sampler.KEY, metric.NAME.KEY
            tree[group] = {} if group in line and group not in overrides.LISTS else stored.get(group, {})
        elif below:
            tree.setdefault(group, {})[below] = leaf
        elif group not in groups:
            tree[group] = leaf
    for group, path in files(line, groups):
        tree[group] = tree.get(group, {}) | read(path)
    return assignments(word, tree, groups)


def assignments(word: str, tree: Tree, groups: Mapping[str, Mapping[str, compose.Option]]) -> Found:
    """`key=` or `key.` for a word that is no assignment yet; else `key=value`, also after a comma and within brackets."""
    key, equals, value = word.partition("=")
    place, dot, last = key.rpartition(".")
    below = tree
    for part in place.split(".") if dot else ():
        below = below.get(part, {})
    if not equals:
        found = {f"{place}{dot}{name}{'.' if isinstance(one, dict) else '='}": says(one) for name, one in below.items()}
        return found if dot else {f"{group}=": "" for group in groups} | found
    leaf = below.get(last, Leaf())
    if key == "resume":
        return {f"{key}={one}": what for one, what in named("RUN", value).items()}
    if key not in groups and (last == "path" or leaf.text == "FILE"):
        return {f"{key}={one}": "" for one in named("FILE", value)}
    options = {name: option.description for name, option in groups[key].items()} if key in groups else dict.fromkeys(listed(leaf), "")
    opened = re.match(r"(.*[,\[])?", value)[0]
    left = {name: what for name, what in options.items() if name not in re.findall(r"[\w-]+", opened)}
    ends = ("",) if "[" not in opened else ("]", ",") if len(left) > 1 else ("]",)
    return {f"{key}={opened}{name}{end}": what for name, what in left.items() for end in ends}


def named(name: str, word: str, dirs: Sequence[Path] = ()) -> Found:
    """The words that a name in a usage stands for."""
    if name == "RUN":
        runs = run.every()[::-1]
        ids = {"last": runs[0].path.name, **{one.id: one.path.name for one in runs}} if runs else {}
        whole = {one.path.name: "" for one in runs} if word else {}  # names that say more are there for whoever begins one
        return ids | whole | (named("DIR", word) if "/" in word else {})
    if name == "GROUP":
        return dict.fromkeys(compose.groups(dirs), "")
    if name in ("FILE", "DIR"):
        folder, slash, last = word.rpartition("/")
        inside = sorted(Path(folder + slash).expanduser().iterdir())
        shown = (path for path in inside if last.startswith(".") or not path.name.startswith("."))
        return {f"{folder}{slash}{path.name}{'/' * path.is_dir()}": "" for path in shown if name == "FILE" or path.is_dir()}
    if name == "METRIC":
        return dict.fromkeys((key for one in run.every()[-NEWEST:] for key in one.read("summary.json").get("units", ())), "")
    if name == "NAME":
        return dict.fromkeys(run.groups(), "")
    if name == "BUDGET":
        return {f"{key}=": "" for key in BUDGETS}
    if "|" in name:
        return {candidate: what for one in name.split("|") for candidate, what in named(one, word, dirs).items()}
    return {name: ""}


def matching(word: str, found: Mapping[str, str]) -> Found:
    return {candidate: what for candidate, what in found.items() if candidate.startswith(word)}


def folders(given: Sequence[str]) -> list[Path]:
    """The folders of the user's own options that a line names."""
    separate = [value for flag, value in pairwise(given) if flag in ("--config-dir", "-cd")]
    joined = [one.removeprefix("--config-dir=") for one in given if one.startswith("--config-dir=")]
    return [Path(folder).expanduser() for folder in (*separate, *joined)]


def files(chosen: Mapping[str, str], groups: Mapping[str, Mapping[str, compose.Option]]) -> Iterator[tuple[str, Path]]:
    """The files of the chosen options, each with its group; of a sweep, all of them."""
    for group, value in chosen.items():
        yield from ((group, groups[group][name].path) for name in re.findall(r"[\w-]+", value) if name in groups.get(group, ()))


def defaults(path: Path) -> dict[str, str]:
    """The options that a file's list of defaults chooses, as written. Composing would say the same, three times as slowly."""
    return dict(re.findall(r"^ *- (?:override +)?/?([\w/]+)(?:@\S+)?: *(.*)", path.read_text(), re.MULTILINE))


def read(path: Path) -> Tree:
    """The keys of a YAML file that are a user's to set."""
    text = path.read_text()
    lines = text.splitlines()

    def of(node: yaml.Node) -> Tree | Leaf:
        if not isinstance(node, yaml.MappingNode):
            return Leaf(text[node.start_mark.index : node.end_mark.index], lines[node.start_mark.line].partition(" # ")[2])
        theirs = {key.value: of(value) for key, value in node.value if key.value != "defaults" and not key.value.startswith("_")}
        return {key: one for key, one in theirs.items() if isinstance(one, dict) or not one.text.startswith("${") or "oc.env" in one.text}

    return of(yaml.compose(text))


def says(one: Tree | Leaf) -> str:
    """What is said of a key: its value, and the comment beside it."""
    return "" if isinstance(one, dict) else f"{one.text}  {one.comment}".strip()


def listed(leaf: Leaf) -> list[str]:
    """The values of a key whose comment lists them, as in `gaussian, rademacher or sphere`, and of a switch."""
    if leaf.text in ("true", "false"):
        return ["true", "false"]
    match = re.match(r"(\w+(?::\d+)?(?:, \w+(?::\d+)?)*) or (\w+)(?=$|[;:.])", leaf.comment)
    words = [*match[1].split(", "), match[2]] if match else []
    return words if leaf.text in words or leaf.text.isupper() or not leaf.text else []
