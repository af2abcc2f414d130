"""`logger=tensorboard`, read back with TensorBoard's own reader."""

import json
import sys

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from ebm_cli.runs.catalog import find
from ebm_cli.training.trainer import Trainer

LINE = (
    "experiment=smoke",
    "trainer.n_steps=20",
    "trainer.checkpoint_every=8",
    "trainer.log_every=3",
    "trainer.evaluate_every=9",
    "energy.width=8",
    "dataset.noise=0.3",
    "draws.n_samples=50",
    "draws.n_steps=10",
    "metric=quadrature",
    "device=cpu",
)
LOGGED = (*LINE, "logger=tensorboard")


def read(run):
    """What TensorBoard shows of a run: {name: [(step, number, time)]}, {name: [picture]}, {name: text}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    scalars = {name: [(point.step, point.value, point.wall_time) for point in events.Scalars(name)] for name in tags["scalars"]}
    pictures = {name: events.Images(name) for name in tags["images"]}
    texts = {
        name.removesuffix("/text_summary"): make_ndarray(events.Tensors(name)[-1].tensor_proto)[0].decode() for name in tags["tensors"]
    }
    return scalars, pictures, texts


def block(text):
    return json.loads(text.removeprefix("```json\n").removesuffix("\n```"))


def expected(run, seeds=()):
    """{name: [(step, number)]} from metrics.jsonl, in single precision as in an event file."""
    numbers = {}
    for row in run.rows():
        for key, value in row.items():
            if key != "step":
                named = {f"{key}/seed{seed}": own for seed, own in zip(seeds, value, strict=True)} if isinstance(value, list) else {}
                mean = sum(value) / len(value) if isinstance(value, list) else value
                for name, number in {key: mean, **named}.items():
                    numbers.setdefault(name, []).append((row["step"], np.float32(number)))
    return numbers


def without_times(scalars):
    return {name: [(step, value) for step, value, _ in points] for name, points in scalars.items()}


def test_event_files_mirror_the_folder_of_the_run(ebm):
    code, _, err = ebm("train", *LOGGED)
    run = find("last")
    scalars, pictures, texts = read(run)
    assert code == 0, err
    assert without_times(scalars) == expected(run)
    created = run.read("environment.json")["created"]
    assert [time - created for _, _, time in scalars["loss"]] == pytest.approx([row["seconds"] for row in run.rows()], abs=1e-5)
    assert set(pictures) == {f"figures/{path.stem}" for path in run.figures.iterdir()}
    for name, (picture,) in pictures.items():
        file = run.figures / f"{name.removeprefix('figures/')}.png"
        assert picture.step == 20
        assert (picture.height, picture.width) == imread(file).shape[:2]
    assert block(texts["config"]) == yaml.safe_load((run.path / "config.yaml").read_text())
    assert block(texts["summary"]) == run.read("summary.json")
    assert texts["state"] == "finished"


def test_a_stack_logs_the_numbers_of_each_seed_and_their_mean(ebm):
    assert ebm("train", *LOGGED, "seed=4", "seeds=2")[0] == 0
    run = find("last")
    scalars = without_times(read(run)[0])
    assert {"kl", "kl/seed4", "kl/seed5"} <= set(scalars)
    assert scalars == expected(run, (4, 5))


def test_a_continued_run_has_every_row_once(ebm, monkeypatch):
    """Rows that the failed process had not written are added, and rows after its checkpoint are replaced."""
    step = Trainer.step

    def fail_at_13(self):
        if self.state.step == 13:
            raise OSError("No space left on device")
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at_13)
        assert ebm("train", *LOGGED)[0] == 1
    run = find("last")
    scalars, _, texts = read(run)
    assert without_times(scalars) == expected(run)
    assert texts["state"] == "failed"
    assert ebm("train", *LOGGED)[0] == 0
    scalars, _, texts = read(run)
    assert without_times(scalars) == expected(run)
    assert [step for step, _, _ in scalars["loss"]] == [3, 6, 9, 12, 15, 18, 20]
    assert texts["state"] == "finished"


def test_a_finished_run_is_written_once(ebm):
    assert ebm("train", *LINE)[0] == 0
    run = find("last")
    assert ebm("train", *LOGGED)[0] == 0
    scalars, pictures, texts = read(run)
    assert without_times(scalars) == expected(run)
    assert len(pictures) == len(list(run.figures.iterdir()))
    assert block(texts["summary"]) == run.read("summary.json")
    files = sorted((run.path / "tensorboard").iterdir())
    assert ebm("train", *LOGGED)[2] == "this run is finished: its stored result is shown; force=true trains it again\n"
    assert sorted((run.path / "tensorboard").iterdir()) == files
    assert ebm("train", *LOGGED, "metric=sliced_wasserstein")[0] == 0
    scalars, _, texts = read(run)
    assert without_times(scalars) == expected(run)
    assert "sliced_wasserstein" in block(texts["summary"])


def test_a_missing_package_is_reported_before_anything_is_written(ebm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    code, out, err = ebm("train", *LOGGED)
    assert (code, out) == (2, "")
    assert err.startswith("error: logger=tensorboard: the package tensorboard is not installed\nhint: pip install 'ebm-cli[tensorboard]'\n")
    assert not (tmp_path / "outputs").exists()
