"""A run as comparisons see it: its seeds, its settings and its numbers, from config.yaml, environment.json and summary.json alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ebm_cli.config import settings
from ebm_cli.runs.run import Run

Numbers = dict[int, float | None]  # by seed; one number of a whole stack stands under its first seed
Reasons = dict[int, str]  # of what is lacking, by seed


@dataclass(frozen=True)
class RunRecord:
    """A run and what it found; the summary is empty where it has not ended well."""

    run: Run
    config: dict[str, Any]
    summary: dict[str, Any]

    @classmethod
    def of(cls, one: Run) -> "RunRecord":
        return cls(one, one.config(), one.read("summary.json"))

    @cached_property
    def seeds(self) -> range:
        return settings.seeds_of(self.config)

    @cached_property
    def measured(self) -> dict[str, Any]:
        """The draws, the sampler and the metrics that its numbers are of: `ebm evaluate` may have taken others than the config's."""
        return self.config | self.summary.get("measured_with", {})

    @cached_property
    def settings(self) -> dict[str, str]:
        """The option of every group, and every value that training or drawing reads, by its dotted key; but for the seed."""
        config, choices = dict(self.measured), self.run.read("environment.json").get("choices", {})
        if (target := config["sampler"]["_target_"]) != self.config["sampler"]["_target_"]:
            choices["sampler"] = target.split(".")[-2]  # an option of ours has its module's name
        if "path" in config["dataset"]:  # a file counts by its content
            config["dataset"] = config["dataset"] | {"path": f"sha256:{self.run.read('dataset.json').get('sha256', '')[:10]}"}
        found = {}
        for key, node in settings.with_role(config, settings.TRAINS, settings.DRAWS).items():
            if key not in settings.SEEDS:
                found |= {key: text_of(sorted(node))} if key in settings.LISTS else {key: text_of(choices[key])} if key in choices else {}
                found |= flat(node, key)
        return found | self.origin

    @property
    def origin(self) -> dict[str, str]:
        """Of a run that goes on from another: the step, and all that trained that one but for the seed. Of one that is gone, nothing."""
        name, _, step = (self.config.get("resume") or "").partition("@")
        parent = next(self.run.path.parent.glob(f"*-{name}"), None) if name else None
        if parent is None:
            return {}
        inherited = RunRecord.of(Run(parent)).settings.items()
        trained = {f"resume.{key}": value for key, value in inherited if key.partition(".")[0] not in ("draws", "sampler")}
        return {"resume": f"@{step}"} | trained

    @property
    def known(self) -> list[str]:
        """What the summary has a number of, or says why it has none."""
        return [key for key, value in self.summary.items() if key not in ("id", "seed", "seeds") and isinstance(value, int | float | None)]

    def at_end(self, key: str) -> tuple[Numbers, Reasons]:
        """A number of every seed, and the reason of each that lacks one."""
        if not self.summary:
            return self.nothing(self.why_not)
        if key not in self.summary:
            return self.nothing("it was not measured")
        if key not in self.summary.get("per_seed", ()):
            number = self.summary[key]
            return {self.seeds[0]: number}, {} if number is not None else {self.seeds[0]: self.summary["reasons"][key]}
        numbers = dict(zip(self.seeds, self.summary["per_seed"][key], strict=True))
        reasons = zip(self.seeds, self.summary["reasons"].get(key, ()), strict=False)  # of a number that every seed has there are none
        return numbers, {seed: reason for seed, reason in reasons if reason}

    def nothing(self, reason: str) -> tuple[Numbers, Reasons]:
        """No number of any seed, for one reason."""
        return dict.fromkeys(self.seeds), dict.fromkeys(self.seeds, reason)

    @property
    def stopped(self) -> str:
        """Where a run stands that was measured before its end; "" for the others."""
        if not self.summary:
            return ""
        state, step, n_steps = self.run.state(), self.summary["n_steps"], self.config["trainer"]["n_steps"]
        return "" if state in ("finished", "diverged") and step == n_steps else f"{state}, measured at step {step} of {n_steps}"

    @cached_property
    def evaluated(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl at which it was measured while it trained."""
        every, n_steps, units = self.config["trainer"]["evaluate_every"], self.config["trainer"]["n_steps"], self.summary.get("units", {})
        return [row for row in self.run.rows() if row["step"] % every == 0 or row["step"] == n_steps or units.keys() & row.keys()]

    @property
    def why_not(self) -> str:
        """The state of a run without results, and the reason."""
        state, reason = self.run.state(), self.run.read("status.json").get("reason", "").partition("\n")[0]
        return reason if reason.startswith(state) else f"{state} {reason}".rstrip()


def flat(node: Any, place: str) -> dict[str, str]:
    """The values below a node, by their dotted keys."""
    if not isinstance(node, Mapping):
        return {place: text_of(node)}
    return {key: value for name, one in node.items() for key, value in flat(one, f"{place}.{name}").items()}


def text_of(value: Any) -> str:
    """A value as a command line has it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace('"', "")
