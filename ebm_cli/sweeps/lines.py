"""Checks of the lines of a sweep before its first run: each line on its own and against the earlier lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ebm_cli.config import roles, schema
from ebm_cli.core.chain import Draws
from ebm_cli.core.contracts import Dataset
from ebm_cli.core.device import pick_device
from ebm_cli.errors import InputError, Problem
from ebm_cli.runner import experiment
from ebm_cli.runner.draw import check_memory
from ebm_cli.runner.line import compose_line
from ebm_cli.sweeps.ranking import Ranking
from ebm_cli.sweeps.slots import hidden


@dataclass
class Lines:
    """The lines that have been checked so far."""

    dirs: tuple[Path, ...]
    here: bool  # whether the jobs run on this machine; other machines may have other devices
    launcher: Mapping[str, Any] = field(default_factory=dict)  # the settings of the launcher
    first: dict[str, Any] = field(default_factory=dict)  # the config of the first line
    ranking: Ranking = field(default_factory=Ranking)  # the number by which the runs are compared
    _runs: dict[str, Sequence[str]] = field(default_factory=dict)  # lines by the identity of their run
    _seeds: dict[tuple[str, ...], dict[int, str]] = field(default_factory=dict)  # seeds by the other words of the line
    _data: dict[str, Dataset] = field(default_factory=dict)  # the datasets that have been loaded

    def check(self, line: Sequence[str]) -> list[Problem]:
        """The problems of a line; the line is remembered."""
        try:
            composed = compose_line(line, self.dirs)
            typed = experiment.check(composed)
            if problem := hidden(typed["device"], self.launcher):
                return [problem]
            if self.here:
                pick_device(typed["device"])
            if (data := json.dumps(typed["dataset"])) not in self._data:
                self._data[data] = schema.build(typed["dataset"])
                _ = self._data[data].standardization  # reads the file of the dataset, if it has one
            if self.here:
                check_memory(Draws(**typed["draws"]), len(self._data[data].column_names), len(roles.seeds_of(typed)), prefix="draws.")
        except InputError as error:
            return list(error.problems)
        if problems := self.ranking.check(typed, self._data[data]):
            return problems
        self.first = self.first or typed
        other = self._runs.setdefault(roles.identity(typed), line)
        return self._double_seeds(line, typed) if other is line else [_same_run(line, other)]

    def _double_seeds(self, line: Sequence[str], typed: dict[str, Any]) -> list[Problem]:
        """The problem of two lines that differ only in their seeds and have a seed in common."""
        taken = self._seeds.setdefault(tuple(word for word in line if not word.startswith("seed=")), {})
        own = f"seed={typed['seed']}"
        double = [seed for seed in roles.seeds_of(typed) if taken.setdefault(seed, own) != own]
        if not double:
            return []
        words = f"{taken[double[0]]} and {own} with seeds={typed['seeds']}"
        return [Problem(f"{words}: seed {double[0]} would count twice", f"choose seeds that are {typed['seeds']} apart")]


def _same_run(line: Sequence[str], other: Sequence[str]) -> Problem:
    """The problem of two lines that train the same run."""
    changed = [word for word, before in zip(line, other, strict=True) if word != before]
    if not changed:
        return Problem("this sweep lists a value twice", "list each value once")
    before = next(word for word, after in zip(other, line, strict=True) if word != after)
    hint = f"give {changed[0].partition('=')[0]} a single value"
    if roles.role(changed[0]) in (roles.DRAWS, roles.MEASURES):
        hint = f"`ebm evaluate RUN {changed[0].removeprefix('draws.')}` measures a run with other settings"
    return Problem(f"{before} and {changed[0]} train the same run", hint)


def id_of(words: Sequence[str], dirs: Sequence[Path] = ()) -> str:
    """The id of a sweep: a hash of the overrides that change results (in any order), the group, and the user's option folders."""
    counting = (roles.TRAINS, roles.DRAWS)
    counted = [word for word in words if roles.role(word) in counting or word.startswith("group=")]
    counted += [f"--config-dir={path.resolve()}" for path in dirs]
    return sha256("\n".join(sorted(counted)).encode()).hexdigest()[:8]
