"""Tables that cannot be used are refused, with the keys that help, and leave nothing behind. With these keys the command works."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from command import TINY, refused

LINE = (
    "objective=nce",
    "dataset=table",
    "dataset.path=t.csv",
    *TINY,
    "metric=[auroc,ais]",
    "metric.ais.n_temperatures=5",
    "trainer.n_steps=4",
)


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    """A tenth of the rows are anomalies, and a few cells are missing."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        [repr(a), repr(b), str(color), "bad" if a > 1.3 else "good"]
        for (a, b), color in zip(rng.normal(size=(200, 2)).tolist(), rng.choice(["red", "blue", "green"], 200), strict=True)
    ]
    rows[7][1] = rows[9][1] = "?"
    Path("t.csv").write_text("".join(",".join(row) + "\n" for row in [["a", "b", "color", "kind"], *rows]))


def test_each_hint_leads_to_the_next_and_the_last_line_works(ebm):
    ended = ebm("train", *LINE)
    refused(
        ended,
        "t.csv, line 2, column color",
        "2 cells in 2 rows are missing: dataset.missing=drop",
        "dataset.categories=onehot",
        "dataset.label=COLUMN",
    )
    assert not Path("outputs/runs").exists()
    refused(ebm("train", *LINE, "dataset.label=kin"), "dataset.label: there is no column 'kin'", "did you mean kind?")
    refused(ebm("train", *LINE, "dataset.label=kind", "dataset.missing=drop"), "for categories (color)", "dataset.columns=[a,b]")
    words = ("dataset.label=kind", "dataset.missing=median", "dataset.categories=onehot")
    refused(ebm("train", *LINE, *words, "dataset.anomaly=[worse]"), "no row has the label 'worse'")
    refused(ebm("train", *LINE, *words, "dataset.missing=mean"), "dataset.missing")
    assert not Path("outputs/runs").exists()
    ended = ebm("train", *LINE, *words, "dataset.anomaly=[bad]", "dataset.train_on=normal")
    assert ended.code == 0, ended
    assert "rows are anomalies; they are left out of training and validation" in ended.err
    (run,) = Path("outputs/runs").iterdir()
    stored = json.loads((run / "dataset.json").read_text())
    assert stored["columns"] == ["a", "b", "color=blue", "color=green", "color=red", "b_missing"]
    assert stored["labels"] == ["bad", "good"]
    assert isinstance(json.loads((run / "summary.json").read_text())["auroc"], float)
    scored = ebm("score", "last", "data=t.csv", "score_norm=true")
    header, *rows = scored.out.splitlines()
    assert header.startswith("a,b,color,kind,energy")
    assert header.endswith(",score_norm")
    assert len(rows) == 200
    Path("new.csv").write_text("a,b,color\n1,2,pink\n3,4,red\n")
    refused(ebm("score", "last", "data=new.csv"), "'pink' is not a value of the training rows")
    coding = stored["coding"]
    for damaged in (coding | {"shown": {"color": ["red", 5]}}, coding | {"marked": ["c"]}, coding | {"more": []}, [], {}):
        (run / "dataset.json").write_text(json.dumps(stored | {"coding": damaged}))
        refused(ebm("score", run, "data=t.csv"), "coding has a wrong type")
    (run / "dataset.json").write_text(json.dumps(stored | {"coding": coding | {"marked": []}}))
    refused(ebm("score", run, "data=t.csv"), "the coding in its dataset.json does not yield its columns")


def test_without_held_out_rows_reasons_replace_numbers(ebm):
    Path("t.csv.gz").write_bytes(gzip.compress(Path("t.csv").read_bytes()))
    words = (
        "dataset.path=t.csv.gz",
        "dataset.columns=[a]",
        "dataset.label=kind",
        "dataset.anomaly=[bad]",
        "dataset.test=0",
        "dataset.validation=0",
        "trainer.select=null",
        "trainer.patience=null",
        "trainer.refit=false",
        "reference=gaussian",
    )
    metrics = "metric=[auroc,ais,quadrature,sliced_wasserstein,generalization_gap,mmd,ksd,c2st]"
    ended = ebm("train", *LINE, *words, metrics)
    assert ended.code == 0, ended
    (run,) = Path("outputs/runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    for key in ("nll", "sliced_wasserstein", "generalization_gap", "mmd2", "ksd2", "c2st_accuracy", "test_loss"):
        assert summary[key] is None
        assert summary["reasons"][key] == "there are no test rows (dataset.test=0)"
    assert isinstance(summary["auroc"], float)
    assert isinstance(summary["log_z"], float)
    ended = ebm("score", "last", "data=t.csv", "quantile=0.1")
    assert (ended.code, ended.out) == (2, "")
    assert "error: quantile: the run has no test rows (dataset.test=0)" in ended.err
    refused(ebm("train", *LINE, *words, "trainer.select=auto"), "trainer.select needs validation events", "dataset.validation=0.1")
