"""The usage of a verb, read as the grammar by which its words are completed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Leaf(NamedTuple):
    """A value in a YAML file, as it is written, and the comment beside it."""

    text: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Usage:
    """What a verb takes."""

    flags: dict[str, str]  # with the name of the value that follows, "" where none does
    places: list[str]  # words without a key: RUN, GROUP, bash|zsh|fish
    repeats: bool  # whether the last of them may be repeated
    keys: dict[str, Leaf]  # with the name of the value, and the description
    about: str  # the first line of the verb's help

    @classmethod
    def of(cls, verb: str) -> "Usage":
        """Read from the source of the verb, which is not imported: some verbs import torch."""
        source = Path(__file__).with_name("_help.py" if verb == "train" else f"{verb}.py").read_text()
        usage, _, body = source.partition(f"usage: ebm {verb}")[2].partition('"""')[0].partition("\n\n")
        flags = dict(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)(?:[ =](\w+))?", usage))
        for pair in re.findall(r"^ +(-\w+)?,? ?(--[\w-]+)", body, re.MULTILINE):
            flags = {flag: "" for flag in pair if flag} | flags
        words = re.sub(r"(?<![\w-])--?[a-z][a-z-]*([ =]\w+)?", "", usage).replace("[", " ").replace("]", " ").split()
        keys = {key: Leaf(value) for key, value in (word.split("=", 1) for word in words if "=" in word)}
        described = re.findall(r"^ +([a-z]\w*(?:\.\w+)*)  +(.*)", body, re.MULTILINE)
        keys |= {key: Leaf(keys.get(key, Leaf()).text, comment) for key, comment in described}
        return cls(flags, [word for word in words if word.isupper() or "|" in word], "..." in words, keys, re.split(r"[.:;\n]", body)[0])
