"""Densities that single precision cannot represent are refused before anything is allocated."""

import pytest
from command import refused


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("sample", "energy=gaussian", "energy.covariance=[[1e-30,0],[0,1e30]]"), "energy.covariance"),
        (("sample", "energy=gaussian", "energy.mean=[1e9,0]", "energy.covariance=[[1e-6,0],[0,1e-6]]"), "energy.covariance"),
        (
            (
                "sample",
                "energy=gaussian_mixture",
                "energy.dataset.centres=[[1e9,0],[0,0]]",
                "energy.dataset.std=0.001",
                "energy.dataset.weights=null",
            ),
            "energy.dataset.std",
        ),
        (
            ("train", "dataset=gaussian_mixture", "dataset.centres=[[1e9,0],[0,0]]", "dataset.std=0.001", "dataset.weights=null"),
            "dataset.std",
        ),
        (
            ("train", "dataset=gaussian_mixture", "dataset.centres=[[0,0],[1,1]]", "dataset.std=[1e-6,1]", "dataset.weights=null"),
            "dataset.std",
        ),
    ],
)
def test_a_density_that_single_precision_cannot_resolve_is_refused(ebm, tmp_path, words, key):
    refused(
        ebm(*words), f"error: {key}: a standard deviation of ", "cannot be resolved in single precision", "hint: keep coordinates below"
    )
    assert not (tmp_path / "outputs").exists()


def test_a_density_near_the_limit_is_sampled(ebm):
    ended = ebm("sample", "energy=gaussian", "energy.covariance=[[1e-4,0],[0,1e4]]", "n_samples=20", "n_steps=4", "figure=[]")
    assert ended.code == 0, ended
