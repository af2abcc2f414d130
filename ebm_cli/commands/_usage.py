"""Reads the usage text of a verb: its flags, positional words and keys, for completion."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Leaf(NamedTuple):
    """A value as it is written in a YAML file, and the comment beside it."""

    text: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Usage:
    """What a verb accepts."""

    flags: dict[str, str]  # each flag with the name of its value, or "" if it takes none
    places: list[str]  # the positional words: RUN, GROUP, bash|zsh|fish
    repeats: bool  # whether the last positional word may be repeated
    keys: dict[str, Leaf]  # each key with the name of its value, and its description
    about: str  # the first clause of the description of the verb

    @classmethod
    def of(cls, verb: str) -> "Usage":
        """Read the usage from the source file of the verb. The file is not imported, because some verbs import torch."""
        source = Path(__file__).with_name("_help.py" if verb == "train" else f"{verb}.py").read_text()
        usage, _, body = source.partition(f"usage: ebm {verb}")[2].partition('"""')[0].partition("\n\n")
        flags = dict(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)(?:[ =](\w+))?", usage))
        for pair in re.findall(r"^ +(-\w+)?,? ?(--[\w-]+)", body, re.MULTILINE):
            flags = {flag: "" for flag in pair if flag} | flags
        words = re.sub(r"(?<![\w-])--?[a-z][a-z-]*([ =]\w+)?", "", usage).replace("[", " ").replace("]", " ").split()
        keys = {key: Leaf(value) for key, value in (word.split("=", 1) for word in words if "=" in word)}
        described = re.findall(r"^ +([a-z]\w*(?:\.\w+)*)  +(.*)", body, re.MULTILINE)
        keys |= {key: Leaf(keys.get(key, Leaf()).text, comment) for key, comment in described}
        places = [word for word in words if "=" not in word and (word.isupper() or "|" in word)]
        return cls(flags, places, "..." in words, keys, re.split(r"[.:;\n]", body)[0])
