"""A run folder that came from somebody else: nothing outside of it is read, written or removed, and its texts stay texts."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest
import yaml
from command import LINE, refused, tree

from ebm_cli.config import roles
from ebm_cli.runs.run import SCHEMA

DRAWS = ("n_samples=8", "n_chains=8", "n_steps=2")
READS = [("runs",), ("show", "RUN"), ("compare", "RUN", "last"), ("score", "RUN", "data=POINTS")]
WRITES = [("sample", "RUN", *DRAWS), ("evaluate", "RUN"), ("plot", "RUN", "figure=density")]


@pytest.fixture
def line(tmp_path):
    """`line(words, run)` fills in the run and a file of points."""
    (tmp_path / "points.csv").write_text("0,0\n1,1\n")
    return lambda words, run: [{"RUN": run, "data=POINTS": f"data={tmp_path / 'points.csv'}"}.get(word, word) for word in words]


def edit_config(run, **changes):
    """Change config.yaml, and give the folder the id of the new config, as somebody would who made it by hand."""
    config = yaml.safe_load((run / "config.yaml").read_text()) | changes
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    data, facts = (json.loads((run / name).read_text()) for name in ("dataset.json", "environment.json"))
    own = roles.identity(config, data["sha256"], schema=SCHEMA)
    (run / "environment.json").write_text(json.dumps(facts | {"id": own}))
    return run.rename(run.with_name(f"{run.name.rpartition('-')[0]}-{own}"))


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_verbs_that_read_write_nothing(ebm, run, line, words):
    (run / "checkpoints" / "00000004" / "manifest.json").write_text("{}")
    before = tree(run)
    times = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ebm(*line(words, run))
    assert tree(run) == before
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == times


def test_a_manifest_names_only_the_files_of_a_checkpoint(ebm, run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    path = run / "checkpoints" / "00000004" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"]["../../../../../mine"] = "0" * 64
    path.write_text(json.dumps(manifest))
    ended = ebm("sample", run, *DRAWS)
    assert ended.code == 0, ended
    assert "checkpoint 00000004 is damaged" in ended.err


@pytest.mark.parametrize("option", ["../../../../owned", "a/b", ".hidden"])
def test_no_stored_option_leads_out_of_the_outputs(ebm, run, tmp_path, option):
    facts = json.loads((run / "environment.json").read_text())
    facts["choices"]["dataset"] = option
    (run / "environment.json").write_text(json.dumps(facts))
    before = tree(tmp_path)
    refused(ebm("train", f"resume={run.name}", "trainer.n_steps=6"), option)
    assert tree(tmp_path) == before


def test_no_stored_figure_leads_out_of_the_folder(ebm, run, tmp_path):
    figure = {"_target_": "ebm_cli.figures.density.Density"}
    run = edit_config(run, figure={"../../../../owned": figure})
    before = {name for name in tree(tmp_path) if "outputs" not in name}
    refused(ebm("plot", run), "../../../../owned")
    assert {name for name in tree(tmp_path) if "outputs" not in name} == before


def test_stored_texts_are_literal_and_the_logger_is_that_of_the_line(ebm, run, tmp_path):
    """A stored `${oc.env:...}` is not resolved, and a continued run sends nothing to the account of somebody else."""
    logger = {"_target_": "ebm_cli.loggers.wandb.Wandb", "project": "theirs", "entity": "them", "mode": "offline"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    secret = "${oc.env:EBM_OUTPUTS}"
    run = edit_config(run, logger=logger | {"init_timeout": 1.0, "finish_timeout": 1.0}, objective=config["objective"] | {"note": secret})
    ended = ebm("train", f"resume={run.name}", "trainer.n_steps=6", "--cfg", "job")
    assert ended.code == 0, ended
    shown = yaml.safe_load(ended.out)
    assert shown["objective"]["note"] == secret
    assert shown["logger"] is None


def test_a_config_of_another_run_is_refused(ebm, run, line):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["optimizer"]["lr"] *= 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = tree(run)
    for words in (*WRITES, READS[-1], ("train", *LINE), ("train", f"resume={run.name}", "trainer.n_steps=6")):
        refused(ebm(*line(words, run)), "its id is not that of its config.yaml and dataset.json")
    assert tree(run) == before


BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 2)}]\n" for old, new in ("ab", "bc", "cd"))


@pytest.mark.parametrize(
    "change",
    [
        lambda config: yaml.safe_dump(config) + BOMB,
        lambda config: f"{yaml.safe_dump(config)}deep: {'[' * 60}{']' * 60}\n",
        lambda config: yaml.safe_dump(config | {"seeds": 1_000_000_000}),
        lambda config: yaml.safe_dump(config) + "#" * (1 << 22),
    ],
    ids=["aliases", "nesting", "seeds", "length"],
)
def test_a_config_that_would_take_much_memory_is_refused(ebm, run, change):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(change(config))
    for words in (("show", run), ("compare", run, "last"), ("score", run, "data=x.csv")):
        refused(ebm(*words), "config.yaml")


def test_a_network_of_the_config_that_the_checkpoint_does_not_have_is_not_built(ebm, run):
    """2e12 weights would not fit into the memory."""
    energy = yaml.safe_load((run / "config.yaml").read_text())["energy"]
    run = edit_config(run, energy=energy | {"hidden": [1_000_000, 2_000_000]})
    refused(ebm("sample", run, *DRAWS), "its checkpoint is not one of its config", "(8, 2)", "(1000000, 2)")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_array_whose_header_is_larger_than_its_file(ebm, run, tmp_path, suffix):
    """The array would take 14 TB."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (900_000_000_000, 2)})
    path = tmp_path / f"points.{suffix}"
    if suffix == "npy":
        path.write_bytes(file.getvalue() + bytes(64))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", file.getvalue() + bytes(64))
    refused(ebm("score", run, f"data={path}"), "the header describes an array of shape (900000000000, 2)")
    shutil.copy(path, run / "samples.npz")
    refused(ebm("plot", run, "figure=density"), "samples.npz")


def test_a_run_with_the_config_of_another_is_not_compared(ebm, run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["optimizer"]["lr"] *= 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(ebm("compare", run, "last"), f"{run.name}: its id is not that of its config.yaml and dataset.json")
