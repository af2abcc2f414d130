"""Noise-contrastive estimation warns if its noise is too easy to tell from the data."""

from pathlib import Path

import numpy as np
from command import TINY

NCE = ("objective=nce", *TINY, "metric=[]", "trainer.n_steps=40", "trainer.log_every=10", "optimizer.lr=0.1")
WARNING = "the noise is too easy"


def test_noise_that_is_too_easy_is_said_once_with_the_cure(ebm, tmp_path):
    """Twenty bits of two values each: the Gaussian noise has almost no points near any of them."""
    np.save("bits.npy", np.random.default_rng(0).integers(0, 2, (300, 20)) + np.random.default_rng(1).normal(0, 1e-3, (300, 20)))
    words = (*NCE, "dataset=table", "dataset.path=bits.npy", "reference=uniform", "reference.margin=20", "seeds=2", "trainer.n_steps=300")
    words = (*words, "optimizer=adam")
    ended = ebm("train", *words)
    assert ended.code == 0, ended
    assert ended.err.count(WARNING) == 1, ended.err
    assert "reference=mixture" in ended.err
    (log,) = Path(tmp_path, "outputs").glob("runs/*/train.log")
    assert WARNING in log.read_text()


def test_usual_noise_has_no_warning(ebm):
    ended = ebm("train", *NCE, "dataset=moons")
    assert ended.code == 0, ended
    assert WARNING not in ended.err
