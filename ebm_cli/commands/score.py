"""usage: ebm score RUN data=FILE [header=BOOL] [out=FILE] [prefix=WORD] [relative_to=ROW] [quantile=Q] [score_norm=BOOL]
                 [features=hidden] [model=K] [device=cpu] [dataset.path=FILE]

Write the energy of every row of a file (low for likely rows) and, if log Z is known, its log-density, as CSV. For a run that models
principal components (dataset.n_components), both are those of the components of the row.

  RUN           an id, a unique prefix, a path, or `last`
  data          a file of any type that dataset=table reads; columns are matched by name if the run and the file have names, else by place
  header        whether the first row of a text file holds names; by default it is detected, and a note says how the row was read
  out           the CSV file to write; by default standard output
  prefix        a prefix for the names of the new columns, for a file that already has a column `energy`
  relative_to   a row of the file, counted from 1: adds log_ratio, log p(x) / p(that row), which needs no log Z
  quantile      a fraction: adds accepted, which is 1 if the energy is at most a threshold from the run's held-out data, else 0. At most
                this fraction of new rows from the data distribution is rejected on average, however poor the model is
  score_norm    true adds score_norm, the norm of the score in the coordinates of the model: another measure of how unusual a row is
  features      hidden adds h0, h1, ...: the probabilities P(h = 1 | row) of the hidden units of an RBM, as features of the row
  model         the index of a model in a stack (default: 0)
  device        cpu, or cuda for large files (energies are computed in double precision)
  dataset.path  the new path of the data file, if it has moved; quantile reads the file

log_prob_error is the error of log_prob due to that of log Z, the same for all rows: an estimate if log Z is from quadrature, half the width
of a 95 % interval if it is from metric=ais. It is absent if log Z is an exact sum."""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli import console
from ebm_cli.commands._words import check_whole, run_and_words
from ebm_cli.config import compose
from ebm_cli.errors import bad
from ebm_cli.io import atomic, out_files, streams, table_files

OTHERS = (".tsv", ".dat", ".arff", ".npy", ".npz", ".parquet", ".gz", ".xz", ".bz2")  # file types that can be read but not written


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    stored = run.config()
    path = {"dataset": {"path": stored["dataset"]["path"]}} if "path" in stored["dataset"] else {}
    base = {"data": None, "header": None, "out": None, "prefix": "", "relative_to": None, "quantile": None, "model": 0, "device": "cpu"}
    base |= {"score_norm": False, "features": None}
    given = compose.amend(base | path, overrides)
    if given["data"] is None:
        raise bad("data: a file is needed", "for example data=points.csv")
    check_whole("model", given["model"])
    if given["header"] not in (None, True, False) or type(given["header"]) is int:
        raise bad(f"header: must be true or false, not {given['header']!r}", "header=true")
    if given["relative_to"] is not None:
        check_whole("relative_to", given["relative_to"])
    if type(given["prefix"]) is not str:
        raise bad(f"prefix: must be a word, not {given['prefix']!r}", "for example prefix=model_")
    if type(given["score_norm"]) is not bool:
        raise bad(f"score_norm: must be true or false, not {given['score_norm']!r}", "score_norm=true")
    if given["features"] not in (None, "hidden"):
        raise bad(f"features: there are no features {given['features']!r}", "features=hidden, of an RBM")
    out = None if given["out"] is None else Path(str(given["out"])).expanduser()
    if out and out.suffix.lower() in OTHERS:
        raise bad(f"out: {out.name} is not a CSV file, and scores are written as CSV", f"out={out.with_suffix('.csv')}")

    from ebm_cli.core.device import pick_device
    from ebm_cli.runner import score
    from ebm_cli.runner.experiment import Experiment
    from ebm_cli.runner.trained_model import TrainedModel

    q = given["quantile"]
    if q is not None and not (type(q) is float and score.LEAST <= q < 1):
        raise bad(f"quantile: must be a fraction of at least {score.LEAST:g} and below 1, not {q!r}", "for example quantile=0.01")
    out_files.keep_inputs(out, stored | {"dataset": stored["dataset"] | given.get("dataset", {})})
    experiment = Experiment.load(run, pick_device(given["device"]), {"dataset": stored["dataset"] | given.get("dataset", {})})
    trained = TrainedModel.load(run, experiment.device).select(given["model"])
    lines = score.scored_lines(experiment, trained, given)
    if out is None:
        table_files.write(streams.data_to_stdout(), lines)
        return 0
    with atomic.reporting(out, "out"), atomic.replacing(out) as file:
        table_files.write_bytes(file, lines)
    console.show(f"Scores saved to {out}")
    return 0
