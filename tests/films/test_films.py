"""Films: what their pictures show, their files, and what is refused. Tiny runs; nothing is trained twice."""

import io
import itertools
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from ebm_cli import __main__
from ebm_cli.core import chain
from ebm_cli.core.figure import Scene
from ebm_cli.core.rng import Rng
from ebm_cli.datasets.gaussian_mixture import GaussianMixture
from ebm_cli.energies.four_wells import FourWells
from ebm_cli.films import sampling, training, video
from ebm_cli.films.canvas import Canvas, thinned
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.catalog import find
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA
from ebm_cli.training import snapshots
from ebm_cli.training.snapshots import Snapshot

TINY = (
    *("dataset=moons", "energy=mlp", "energy.hidden=[8]", "trainer.n_steps=12", "trainer.batch_size=16", "trainer.n_snapshots=5"),
    *("metric=[]", "figure=[]", "draws.n_samples=20", "draws.n_steps=2", "device=cpu"),
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs folder of a stack of two models trained with nce."""
    folder = tmp_path_factory.mktemp("films") / "outputs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBM_OUTPUTS", str(folder))
        assert __main__.main(["train", *TINY, "objective=nce", "seeds=2"]) == 0
    return folder


@pytest.fixture
def stack(outputs, tmp_path):
    """A copy of that run."""
    shutil.copytree(outputs, tmp_path / "outputs")
    return find("last")


def normal():
    """The standard normal distribution as a dataset with a known density, and the scene of the model that is equal to it."""
    return Scene.of(GaussianMixture(n_train=None, centres=((0.0, 0.0),), weights=None, std=1.0, scale=1.0))


def opened(content):
    film = Image.open(io.BytesIO(content))
    frames = []
    for i in range(film.n_frames):
        film.seek(i)
        frames.append(np.asarray(film.convert("RGB")).astype(int))
    return film, frames


def test_a_film_of_training(ebm, stack):
    """It has a picture for each snapshot, and nothing but the film is written."""
    before = {path: path.stat().st_mtime_ns for path in stack.path.rglob("*") if path.is_file()}
    code, out, err = ebm("animate", "last", "model=1")
    assert (code, out) == (0, f"Film saved to {stack.figures / 'training.gif'}\n"), err
    film, frames = opened((stack.figures / "training.gif").read_bytes())
    assert (film.format, film.n_frames) == ("GIF", 5)
    assert film.info["loop"] == 0
    assert film.size[0] > 1.5 * film.size[1]
    assert all(np.abs(a - b).max() > 50 for a, b in itertools.pairwise(frames))
    after = {path: path.stat().st_mtime_ns for path in stack.path.rglob("*") if path.is_file()}
    assert after.items() - before.items() == {(stack.figures / "training.gif", after[stack.figures / "training.gif"])}
    assert not {*before} - {*after}


def test_few_pictures_of_many_snapshots(ebm, stack):
    assert ebm("animate", "last", "n_frames=3", "out=few.gif")[0] == 0
    with Image.open("few.gif") as film:
        assert film.n_frames == 3
    assert not (stack.figures / "training.gif").exists()
    np.testing.assert_array_equal(thinned(np.arange(60), 4), [0, 19, 39, 59])
    np.testing.assert_array_equal(thinned(np.arange(3), 9), [0, 1, 2])


class Precision(torch.nn.Module):
    """E(x) = a |x|^2 / 2."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return 0.5 * self.a * x.square().sum(-1)


def test_axes_and_color_scale_are_fixed():
    """Only the panels and the title change: the tick labels and the color bar are the same, pixel by pixel."""
    scene = Scene.of(normal().dataset, Precision())
    noise = torch.randn(20, 2, generator=torch.manual_seed(0))
    kept = [Snapshot(step, {"a": torch.tensor(0.1 * step)}, {"noise": step * noise}) for step in (1, 5, 20)]
    pictures = [picture.astype(int) for picture in training.pictures(scene, kept, 20, None)]
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
    assert all(size % 2 == 0 for size in pictures[0].shape[:2])
    changed = np.any([(picture != pictures[0]).any(-1) for picture in pictures[1:]], 0)
    height, width = changed.shape
    assert changed[:40].any()  # the title
    assert changed[height // 2, : width // 2].any()  # the noise points
    assert changed[height // 2, width // 2 :].any()  # the density
    assert not changed[-40:].any()  # the labels of the x axes
    assert not changed[:, :40].any()  # the labels of the y axis
    assert not changed[:, -85:].any()  # the color bar and its labels


def test_the_density_is_normalized_over_the_panel():
    """For the standard normal distribution it is exp(-|x|^2 / 2) / (2 pi), and so is the end of the color scale: 1 / (2 pi)."""
    scene = normal()
    panel = training._Density(Canvas(scene, 2), scene, Snapshot(1, {}, {}))
    density = panel.of(scene)
    expected = (-0.5 * panel.grid.square().sum(-1)).exp().reshape(density.shape).numpy() / (2 * np.pi)
    inside = expected.sum() * panel.area
    assert inside == pytest.approx(1, abs=0.02)
    assert (density.sum() * panel.area) == pytest.approx(1)
    np.testing.assert_allclose(density, expected / inside, rtol=1e-4, atol=1e-9)
    assert panel.image.get_clim() == (0.0, pytest.approx(expected.max()))


def test_the_score_field_of_the_normal_distribution_points_to_the_center():
    scene = normal()
    panel = training._Left(Canvas(scene, 2), scene, Snapshot(1, {}, {}))
    arrows = np.stack([panel.field.U, panel.field.V], -1)
    expected = -panel.grid.numpy()
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(arrows, expected / length * np.log1p(length), rtol=1e-3, atol=1e-5)


def test_points_are_shown_in_data_units():
    scene = normal()
    panel = training._Left(Canvas(scene, 2), scene, Snapshot(1, {}, {"negatives": torch.zeros(1, 2)}))
    points = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    panel.update(scene, Snapshot(1, {}, {"negatives": points}))
    np.testing.assert_allclose(panel.points.get_offsets(), scene.standardization.to_data(points), rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "model", "text"),
    [
        (9, None, ""),
        (10, None, ", KL 0.5 nats"),
        (19, None, ", KL 0.5 nats (at step 10)"),
        (25, None, ", KL 0.0123 nats (at step 20)"),
        (30, 1, ", KL 0.25 nats"),
    ],
)
def test_the_title_has_the_last_exact_kl(step, model, text):
    rows = [{"step": 5, "loss": 1.0}, {"step": 10, "kl": 0.5}, {"step": 15}, {"step": 20, "kl": 0.01234}, {"step": 30, "kl": [None, 0.25]}]
    assert training._kl(rows, step, model) == text


def test_starting_points_lie_far_apart():
    """Of the corners of a square, its center and points near the center, four starting points are the corners."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.01]])
    points = torch.cat([torch.zeros(1, 2), 0.1 * corners, corners])
    found = sampling.far_apart(points, 4)
    assert {tuple(point) for point in found.tolist()} == {tuple(point) for point in corners.tolist()}


def test_the_chains_are_those_of_the_sampler():
    """Unadjusted Langevin has nothing to adapt: the last states are those of `chain.run` with the same random numbers."""
    trained = TrainedModel.of_target(FourWells(dim=2, temperature=0.25), 0, torch.device("cpu"))
    start, sampler = torch.tensor([[0.5, 0.1], [-1.0, 0.3]]), Langevin(step_size=0.01, max_score_norm=None)
    chains = sampling.run(trained, sampler, start, 40, seed=3)
    last, _ = chain.run(sampler, trained.model, trained.params, start, trained.rng.at("film").at(3), n_steps=40)
    assert chains.x.shape == (41, 2, 2)
    np.testing.assert_array_equal(chains.x[0], start)
    np.testing.assert_allclose(chains.x[-1], last, rtol=1e-6)
    assert chains.acceptance is None
    np.testing.assert_allclose(chains.step_size, np.full(41, 0.01), rtol=1e-6)


def test_the_step_size_is_adapted_and_reported():
    """An accepted proposal has another place: the acceptance rate of the title is the share of transitions that move."""
    trained = TrainedModel.of_target(FourWells(dim=2, temperature=0.25), 0, torch.device("cpu"))
    start = Rng(0).normal("start", 50, 2)
    chains = sampling.run(trained, MALA(step_size=5.0, max_score_norm=None), start, 60, seed=0)
    moved = (np.diff(chains.x, axis=0) != 0).any(-1).mean(1)
    np.testing.assert_allclose(chains.acceptance, np.cumsum(moved) / np.arange(1, 61), rtol=1e-5)
    assert chains.step_size[0] == pytest.approx(5.0)
    assert chains.step_size[-1] < 0.5
    assert sampling._reported(chains, 0) == ", step size 5"
    assert sampling._reported(chains, 60).endswith(f"acceptance {chains.acceptance[-1]:.2f}")


def test_a_film_of_sampling(ebm, stack):
    words = ("n_steps=5", "n_frames=2")
    code, out, err = ebm("animate", "last", "figure=sampling", "n_chains=4", *words)
    assert (code, out) == (0, f"Film saved to {stack.figures / 'sampling.gif'}\n"), err
    assert opened((stack.figures / "sampling.gif").read_bytes())[0].n_frames == 2
    first = (stack.figures / "sampling.gif").read_bytes()
    for more in ("seed=1", "sampler=langevin", "start=data", "sampler.step_size=0.5", "n_chains=5"):
        assert ebm("animate", "last", "figure=sampling", *words, "n_chains=4", more, "out=other.gif")[0] == 0, more
        with open("other.gif", "rb") as file:
            assert file.read() != first, more
    ebm("animate", "last", "figure=sampling", "n_chains=4", *words, "out=same.gif")
    with open("same.gif", "rb") as file:
        assert file.read() == first


def test_a_film_of_an_analytic_energy(ebm, tmp_path):
    line = ("animate", "energy=four_wells", "sampler=langevin", "n_steps=6", "n_frames=3")
    code, out, err = ebm(*line)
    (path,) = (tmp_path / "outputs" / "films").iterdir()
    assert (code, out) == (0, f"Film saved to {path}\n"), err
    assert path.name.startswith("four_wells-langevin-s0-")
    assert opened(path.read_bytes())[0].n_frames == 3
    assert ebm(*line, "seed=1", "energy.temperature=0.5", "n_chains=4")[0] == 0
    assert len([*(tmp_path / "outputs" / "films").iterdir()]) == 2
    assert ebm("animate", "energy=exact", "dataset=moons", "n_steps=2", "n_frames=2", "start=data", "out=exact.gif")[0] == 0


def test_a_gif_keeps_named_colors_and_has_few():
    """Gray levels fill the picture; a red point and its place are kept exactly although the palette has 64 colors."""
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 3, 2).repeat(40, 0)
    pictures = [ramp.copy() for _ in range(3)]
    for i, picture in enumerate(pictures):
        picture[10, 20 + i] = (0xB0, 0x3A, 0x2E)
    film, frames = opened(video.encode(pictures, ".gif", ["#b03a2e"]))
    assert film.n_frames == 3
    assert film.size == (256, 40)
    for i, frame in enumerate(frames):
        assert frame[10, 20 + i].tolist() == [0xB0, 0x3A, 0x2E]
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= video.N_COLORS
        assert np.abs(frame - pictures[i]).max() < 10
    film.seek(2)
    assert film.info["duration"] == 2000
    film.seek(0)
    assert film.info["duration"] == 100


def test_an_mp4_file(ebm, stack):
    pytest.importorskip("imageio_ffmpeg", reason="the extra `video` is not installed")
    assert ebm("animate", "last", "out=film.mp4")[0] == 0
    from imageio_ffmpeg import count_frames_and_secs

    n, seconds = count_frames_and_secs("film.mp4")
    assert n == 5 + video.HELD * video.PER_SECOND - 1
    assert seconds == pytest.approx(n / video.PER_SECOND, abs=0.1)


REFUSED = [
    ("animate", "a run is needed", "usage: ebm animate RUN"),
    ("animate last figure=trainin", "figure: there is no film 'trainin'", "did you mean training?"),
    ("animate last seed=1", "seed: there is no key 'seed'", ""),
    ("animate last model=2", "model=2: this run has models 0 to 1", "model=1"),
    ("animate last n_frames=1", "n_frames: must be greater than or equal to 2, not 1", ""),
    ("animate last figure=sampling n_chains=0 n_steps=0", "n_chains: must be greater than or equal to 1, not 0", ""),
    ("animate last figure=sampling sampler=annealed", "AnnealedLangevin needs a ladder of noise levels", "sampler=mala"),
    ("animate last figure=sampling sampler=gibbs", "Gibbs needs", ""),
    ("animate last out=film.avi", "out: film.avi has an unknown file type", "use one of .gif, .mp4"),
    ("animate last out=gone/film.gif", "out: there is no folder 'gone'", ""),
    ("animate energy=four_wells figure=training", "energy=four_wells is not a run", "ebm animate last"),
    ("animate energy=mlp", "energy=mlp must be trained", "ebm train energy=mlp"),
    ("animate energy=four_wells energy.dim=3", "figure=sampling does not apply: it shows points in the plane", "ebm plot"),
    ("animate sampler=mala", "an energy is needed if no run is named", "ebm animate energy=four_wells"),
]


@pytest.mark.parametrize(("line", "error", "hint"), REFUSED, ids=[line for line, *_ in REFUSED])
def test_what_is_refused(ebm, stack, line, error, hint):
    code, out, err = ebm(*line.split())
    assert (code, out) == (2, ""), err
    assert error in " ".join(err.split())
    assert hint in " ".join(err.split())
    assert not stack.figures.exists() or not list(stack.figures.glob("*.gif"))


def test_mp4_without_ffmpeg_is_refused(ebm, stack, monkeypatch):
    monkeypatch.setattr(video, "ffmpeg", lambda: None)
    code, _, err = ebm("animate", "last", "out=film.mp4")
    assert code == 2
    assert "pip install 'ebm-cli[video]'" in err


def test_a_run_without_snapshots_names_the_command_that_keeps_them(ebm):
    assert ebm("train", *TINY, "objective=ssm", "trainer.n_snapshots=0")[0] == 0
    code, _, err = ebm("animate", "last")
    assert code == 2
    text = " ".join(err.split())
    assert "has no snapshots of its training, and force=true trains it again with them" in text
    line = text.partition("hint: ebm ")[2]
    assert line.endswith("force=true")
    assert "n_snapshots=0" not in line
    assert ebm(*shlex.split(line))[0] == 0
    assert ebm("animate", "last", "n_frames=2")[0] == 0


def test_events_that_are_not_in_the_plane_are_refused_in_one_sentence(ebm):
    short = [word for word in TINY if not word.startswith(("dataset", "energy"))]
    assert ebm("train", *short, "dataset=bars_and_stripes", "energy=binary_mlp", "objective=pseudo_likelihood")[0] == 0
    for name in ("training", "sampling"):
        code, _, err = ebm("animate", "last", f"figure={name}")
        assert code == 2
        assert err.count("error: ") == 1
        assert f"figure={name} does not apply" in err


def test_snapshots_of_another_run_are_refused(ebm, stack):
    (file,) = (stack.path / "snapshots").iterdir()
    kept = snapshots.read(stack.path)
    other = kept[0].params
    few = {f"params.{name}": value[None, ..., :1].contiguous() for name, value in other.items()}
    file.write_bytes(safetensors.torch.save({"steps": torch.tensor([1]), **few}))
    code, _, err = ebm("animate", "last")
    assert code == 2
    assert "the snapshot of step 1 is not one of this run" in err
    file.write_bytes(b"damaged")
    assert "is damaged" in ebm("animate", "last")[2]


def test_a_link_in_the_folder_of_pictures_is_not_followed(ebm, stack, tmp_path):
    stack.figures.mkdir(exist_ok=True)
    (stack.figures / "training.gif").symlink_to(tmp_path / "elsewhere.gif")
    code, _, err = ebm("animate", "last", "n_frames=2")
    assert code == 2
    assert "link" in err
    assert not (tmp_path / "elsewhere.gif").exists()


def test_films_import_no_logger():
    code = "import sys, json, ebm_cli.films.animate; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    names = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not {"wandb", "tensorboard", "hydra"} & {*names}


def test_chains_start_inside_the_picture_at_finite_energies(ebm, monkeypatch, tmp_path):
    """Of the points of a file, those outside the box are not starting points."""
    (tmp_path / "start.csv").write_text("x0,x1\n1,1\n-1,1\n50,0\n0,-50\n0.5,0.5\n")
    started, run = [], sampling.run

    def spy(trained, sampler, start, n_steps, seed):
        started.append(start)
        return run(trained, sampler, start, n_steps, seed)

    monkeypatch.setattr(sampling, "run", spy)
    line = ("animate", "energy=four_wells", "n_steps=2", "n_frames=2", "n_chains=3", "out=film.gif")
    assert ebm(*line, f"start={tmp_path / 'start.csv'}")[0] == 0
    assert {tuple(point) for point in started[0].tolist()} == {(1.0, 1.0), (-1.0, 1.0), (0.5, 0.5)}
    (tmp_path / "start.csv").write_text("x0,x1\n50,1\n")
    code, _, err = ebm(*line, f"start={tmp_path / 'start.csv'}")
    assert code == 2
    assert "no starting point with a finite energy lies inside the picture" in " ".join(err.split())
