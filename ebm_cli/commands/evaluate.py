"""usage: ebm evaluate RUN [metric=[a,b]] [metric.NAME.KEY=VALUE] [n_samples=10000] [sampler=OPTION] [--json] [--config-dir DIR]

Measure a trained run again from its checkpoint, with all its metrics. Its summary.json, samples and pictures are replaced. If metrics are
named, only their numbers are printed.

  RUN               an id, a unique prefix, a path, or `last`
  metric            metrics to add to those that the run was measured with before
  n_samples         number of samples for the metrics; n_chains, n_steps and sampler can also be set, as for `ebm sample`
  dataset.path      the new path of the data file, if it has moved
  device            auto, cpu, cuda, cuda:1 or mps
  --json            print the summary as JSON
  --config-dir DIR  a folder with options of your own"""

import json
from collections.abc import Sequence

from ebm_cli.commands._words import dirs_of, run_and_words
from ebm_cli.config import compose


def main(words: Sequence[str]) -> int:
    dirs, words = dirs_of(words)
    run, overrides, flags = run_and_words(words, __doc__, ["--json", "--config-dir"])
    run.check_writable("evaluate")
    stored = run.config()
    stored["metric"] |= run.read("summary.json").get("measured_with", {}).get("metric", {})
    path = {"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {}
    base = {**stored["draws"], "sampler": stored["sampler"], "metric": stored["metric"], "device": "auto", **path}
    given = compose.amend(base, overrides, ("sampler", "metric"), dirs)

    from ebm_cli import console
    from ebm_cli.core.device import pick_device
    from ebm_cli.runner import results
    from ebm_cli.runner.experiment import Experiment

    draws = {key: given[key] for key in stored["draws"]}
    dataset = stored["dataset"] | given.get("dataset", {})
    changed = {"draws": draws, "sampler": given["sampler"], "metric": stored["metric"] | given["metric"], "dataset": dataset}
    experiment = Experiment.load(run, pick_device(given["device"]), changed)
    with run.lock(wait=False):
        summary = results.remeasure_run(experiment)
    if "--json" in flags:
        console.show(json.dumps(summary, indent=1))
    else:
        named = {word.partition("=")[0].split(".")[1] for word in overrides if word.startswith("metric.")}
        named |= given["metric"].keys() if any(word.startswith("metric=") for word in overrides) else set()
        asked = [key for name, metric in experiment.metrics().items() if name in named for key in metric.units]
        console.results(summary, asked)
    return 0
