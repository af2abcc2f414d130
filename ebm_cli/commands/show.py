"""usage: ebm show RUN [--json]

Print the state of a run, the command that reproduces it, and its environment, config and results.

  RUN      an id, a unique prefix, a path, or `last`
  --json   print all of it as JSON"""

import json
from collections.abc import Sequence

from ebm_cli import console
from ebm_cli.commands._words import run_and_words
from ebm_cli.errors import bad
from ebm_cli.io import yaml_text


def main(words: Sequence[str]) -> int:
    run, rest, flags = run_and_words(words, __doc__, ["--json"])
    if rest:
        raise bad(f"ebm show takes no argument {rest[0]!r}", __doc__.splitlines()[0])
    facts, status, summary = (run.read(name) for name in ("environment.json", "status.json", "summary.json"))
    config = run.config()
    if "--json" in flags:
        parts = {"state": run.state(), "status": status, "environment": facts, "config": config, "summary": summary}
        console.show(json.dumps({"path": str(run.path)} | parts, indent=1))
        return 0
    console.show(facts["reproduce"])
    console.show(f"{run.state()} {status.get('reason', '')}".rstrip())
    shown = ("git", "packages", "python", "platform", "device", "device_name", "threads")
    console.show("\n" + yaml_text.dump({"environment": {key: facts[key] for key in shown if key in facts}}).rstrip())
    console.show("\n" + yaml_text.dump({"config": config}).rstrip())
    if summary:
        console.show()
        console.results(summary)
    console.show(f"\n{run.path}")
    return 0
