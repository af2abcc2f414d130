"""Random numbers as a function of (seed, path, stream). Distribution tests have a false-alarm rate of 1e-6 each; seeds are fixed."""

from hashlib import blake2b

import pytest
import torch
from scipy.stats import chisquare, kstest

from ebm_cli.core.rng import Rng

DRAWS = {
    "normal": lambda rng: rng.normal("s", 40, 2),
    "normal_like": lambda rng: rng.normal_like("s", torch.zeros(*rng.model_shape, 40, 2)),
    "uniform": lambda rng: rng.uniform("s", 40),
    "integers": lambda rng: rng.integers("s", 1000, 40),
    "permutation": lambda rng: rng.permutation("s", 40),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_draws_depend_on_seed_path_and_stream_only(draw):
    rng = Rng(3)
    first = draw(rng.at("a").at(5))
    rng.normal("other", 1000)  # other draws in between have no effect
    assert torch.equal(first, draw(rng.at("a").at(5)))
    assert torch.equal(first, draw(Rng(3).at("a").at(5)))
    for other in (Rng(4).at("a").at(5), rng.at("b").at(5), rng.at("a").at(6), rng.at("a"), rng.at("a").at(5).at(0), rng.at("a5")):
        assert not torch.equal(first, draw(other))


def test_streams_differ():
    assert not torch.equal(Rng(3).normal("a", 40), Rng(3).normal("b", 40))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_row_m_of_a_stack_is_what_seed_m_draws(draw):
    seeds = (7, 0, 5)
    stack = draw(Rng(seeds).at("a"))
    for m, seed in enumerate(seeds):
        assert torch.equal(stack[m], draw(Rng(seed).at("a")))
        assert torch.equal(stack[m], draw(Rng(seeds).at("a").of(m)))


def test_of_returns_the_generator_itself_for_a_single_model():
    rng = Rng(3).at("a")
    assert rng.of(0) is rng
    assert (rng.seed_list, Rng((3, 4)).seed_list) == ([3], [3, 4])
    assert (rng.model_shape, Rng((3, 4)).model_shape) == ((), (2,))


def test_generator_seed_is_32_bits_of_the_hash_of_seed_path_and_stream():
    digest = blake2b(b"3/step/17/noise", digest_size=4).digest()
    assert Rng(0).at("step").at(17).integer(3, "noise") == int.from_bytes(digest, "big")


def test_normal_and_uniform_distributions():
    assert kstest(Rng(0).normal("s", 100_000).double().numpy(), "norm").pvalue > 1e-6
    uniform = Rng(0).uniform("s", 100_000)
    assert kstest(uniform.double().numpy(), "uniform").pvalue > 1e-6
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_integers_are_uniform_below_high():
    counts = Rng(0).integers("s", 7, 70_000).bincount()
    assert len(counts) == 7
    assert chisquare(counts.numpy()).pvalue > 1e-6


def test_permutations_contain_every_number_once_and_are_uniform():
    rng = Rng(0)
    orders = torch.stack([rng.at(i).permutation("s", 3) for i in range(6000)])
    assert (orders.sort(-1).values == torch.arange(3)).all()
    counts = (orders @ torch.tensor([9, 3, 1])).unique(return_counts=True)[1]
    assert len(counts) == 6
    assert chisquare(counts.numpy()).pvalue > 1e-6


def test_successive_steps_are_uncorrelated():
    """None of 45 pairs has a correlation beyond 6 standard errors: one false alarm in 1e7."""
    rows = torch.stack([Rng(0).at(step).normal("s", 10_000) for step in range(10)])
    assert (torch.corrcoef(rows) - torch.eye(10)).abs().max() < 6 / 100
