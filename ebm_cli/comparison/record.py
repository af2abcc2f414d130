"""A run as comparisons see it: its seeds, settings and numbers, which are read from the files of its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ebm_cli.config import option_files, roles
from ebm_cli.errors import bad
from ebm_cli.runs import content
from ebm_cli.runs.run import Run

Numbers = dict[int, float | None]  # by seed; a number of a whole stack is stored under its first seed
Reasons = dict[int, str]  # why a number is missing, by seed


def targets(node: Mapping[str, Any]) -> list[str]:
    """The classes of a component and of the components in it."""
    return [node["_target_"], *(name for value in node.values() if isinstance(value, Mapping) for name in targets(value))]


def option_of(group: str, node: Mapping[str, Any]) -> str:
    """The option with these classes; for a class of the user's own its module."""
    nodes = {name: option_files.node_of(option.path) for name, option in option_files.groups()[group].items()}
    return next((name for name, own in nodes.items() if targets(own) == targets(node)), node["_target_"].split(".")[-2])


@dataclass(frozen=True)
class RunRecord:
    """A run with its config and summary. The summary is empty if the run has no results."""

    run: Run
    config: dict[str, Any]
    summary: dict[str, Any]
    descendants: tuple[str, ...] = ()  # the ids of the runs that continue this one, through which it was reached

    @classmethod
    def of(cls, run: Run, descendants: tuple[str, ...] = ()) -> "RunRecord":
        """The record of a run. Raises `InputError` if its files do not fit together."""
        record = cls(run, run.config(), run.read("summary.json"), descendants)
        lengths = {len(values) for values in record.summary.get("per_seed", {}).values()}
        if lengths - {len(record.seeds)}:
            raise bad(f"{run.path.name} is damaged: its summary.json is not one of {len(record.seeds)} seeds", f"ebm evaluate {run.id}")
        return record

    @cached_property
    def seeds(self) -> range:
        return roles.seeds_of(self.config)

    @cached_property
    def measured(self) -> dict[str, Any]:
        """The config with the draws, sampler and metrics that were used last: `ebm evaluate` may have changed them."""
        return self.config | self.summary.get("measured_with", {})

    @cached_property
    def settings(self) -> dict[str, str]:
        """The option of every group and every value that affects training or sampling, by dotted key, without the seed."""
        config, choices = dict(self.measured), self.run.read("environment.json").get("choices", {})
        if targets(config["sampler"]) != targets(self.config["sampler"]):
            choices["sampler"] = option_of("sampler", config["sampler"])
        if "path" in config["dataset"]:  # a file is identified by its content
            config["dataset"] = config["dataset"] | {"path": f"sha256:{self.run.read('dataset.json').get('sha256', '')[:10]}"}
        found = {}
        for key, node in roles.with_role(config, roles.TRAINS, roles.DRAWS).items():
            if key not in roles.SEEDS:
                found |= {key: text_of(sorted(node))} if key in roles.LISTS else {key: text_of(choices[key])} if key in choices else {}
                found |= flat(node, key)
        return found | self.origin

    @property
    def origin(self) -> dict[str, str]:
        """For a run that continues another: the step, and the settings that the other was trained with. Empty if the other was removed."""
        name, _, step = str(self.config.get("resume") or "").partition("@")
        folders = self.run.path.parent.glob(f"*-{name}") if content.ID.fullmatch(name) and name not in self.descendants else ()
        parent = next(iter(folders), None)
        if parent is None or Run(parent).damage():
            return {}
        inherited = RunRecord.of(Run(parent), (*self.descendants, self.run.id, name)).settings.items()
        trained = {f"resume.{key}": value for key, value in inherited if key.partition(".")[0] not in ("draws", "sampler")}
        return {"resume": f"@{step}"} | trained

    @property
    def known(self) -> list[str]:
        """The keys of the summary that have a number, or a reason why there is none."""
        return [key for key, value in self.summary.items() if key not in ("id", "seed", "seeds") and isinstance(value, int | float | None)]

    def at_end(self, key: str) -> tuple[Numbers, Reasons]:
        """The number of every seed, and the reason for each seed without a number."""
        if not self.summary:
            return self.nothing(self.why_not)
        if key not in self.summary:
            return self.nothing("it was not measured")
        if key not in self.summary.get("per_seed", ()):
            number = self.summary[key]
            return {self.seeds[0]: number}, {} if number is not None else {self.seeds[0]: self.summary["reasons"][key]}
        numbers = dict(zip(self.seeds, self.summary["per_seed"][key], strict=True))
        reasons = zip(self.seeds, self.summary["reasons"].get(key, ()), strict=False)  # empty if every seed has a number
        return numbers, {seed: reason for seed, reason in reasons if reason}

    def nothing(self, reason: str) -> tuple[Numbers, Reasons]:
        """No number for any seed, for the same reason."""
        return dict.fromkeys(self.seeds), dict.fromkeys(self.seeds, reason)

    @property
    def stopped(self) -> str:
        """The state and step of a run that was measured before the end of training; "" for other runs."""
        if not self.summary:
            return ""
        state, step, n_steps = self.run.state(), self.summary["n_steps"], self.config["trainer"]["n_steps"]
        if state == "finished" and step != n_steps:  # training ended early or was followed by a refit; or this is an earlier checkpoint
            n_steps = max((row["step"] for row in self.run.rows()), default=n_steps)
        ended = state in ("finished", "diverged")
        return "" if ended and step == n_steps else f"{state}, measured at step {step} of {n_steps}"

    @cached_property
    def evaluated(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl with an evaluation during training."""
        every, n_steps, units = self.config["trainer"]["evaluate_every"], self.config["trainer"]["n_steps"], self.summary.get("units", {})
        return [row for row in self.run.rows() if row["step"] % every == 0 or row["step"] == n_steps or units.keys() & row.keys()]

    @property
    def why_not(self) -> str:
        """The state of a run without results, with the reason."""
        state, reason = self.run.state(), self.run.read("status.json").get("reason", "").partition("\n")[0]
        return reason if reason.startswith(state) else f"{state} {reason}".rstrip()


def flat(node: Any, place: str) -> dict[str, str]:
    """The values below a node, by dotted key."""
    if not isinstance(node, Mapping):
        return {place: text_of(node)}
    return {key: value for name, child in node.items() for key, value in flat(child, f"{place}.{name}").items()}


def text_of(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace('"', "")
