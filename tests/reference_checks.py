"""Checks that hold for every reference distribution, used by the tests of each.

Statistical checks are seeded; each states its false-alarm rate for a correct reference.
"""

import pytest
import torch

from ebm_cli.core.rng import Rng


def fit(reference, x_train):
    """The fitted tensors of one model or of a stack, x_train (*m, N, d)."""
    return reference.fit(x_train, x_train.shape[-1:], Rng(tuple(range(len(x_train))) if x_train.ndim == 3 else 0))


def coordinates(x_train, x, noise_level=None):
    """u and the inverse width as a network passes them to a reference: x is standardized by the training data (and the noise)."""
    variance = x_train.var(-2, keepdim=True)
    if noise_level is not None:
        variance = variance + noise_level.square().unsqueeze(-1)
    inverse_width = variance.rsqrt().expand_as(x)
    return (x - x_train.mean(-2, keepdim=True)) * inverse_width, inverse_width


def check_tilt(reference, x_train, x):
    """The tilt is -log q up to `log_normalizer`, which is one number per model."""
    params = fit(reference, x_train)
    log_normalizer = torch.as_tensor(reference.log_normalizer(params))
    assert log_normalizer.shape in ((), x_train.shape[:-2])
    tilt = reference.tilt(params, x, coordinates(x_train, x)[0])
    assert tilt.shape == x.shape[:-1]
    torch.testing.assert_close(-tilt - log_normalizer.unsqueeze(-1), reference.log_prob(params, x))


def check_score(reference, x_train, x, noise_level):
    """The score is the gradient of -tilt by autograd, with a noise level for each point and without noise; tilt depends on x and on u."""
    assert reference.smoothable
    params = fit(reference, x_train)
    for level in (None, noise_level):
        leaf = x.clone().requires_grad_()
        u, inverse_width = coordinates(x_train, leaf, level)
        (gradient,) = torch.autograd.grad(-reference.tilt(params, leaf, u, level).sum(), leaf)
        score = reference.score(params, x, u.detach(), inverse_width.detach(), level)
        torch.testing.assert_close(score * inverse_width.detach(), gradient)


def check_no_score(reference, x_train, x):
    """A reference that is not smoothable has no score."""
    assert not reference.smoothable
    with pytest.raises(TypeError, match=f"{type(reference).__name__} has no score"):
        reference.score(fit(reference, x_train), x, *coordinates(x_train, x))


def check_stack(reference, x_train):
    """Fits, draws and values of a stack of two models, x_train (2, N, d), equal those of each model alone."""
    seeds, x = (3, 4), x_train[:, :9]
    level = torch.linspace(0.1, 2.0, 18).view(2, 9)
    together = reference.fit(x_train, x_train.shape[-1:], Rng(seeds))
    assert all(value.shape[0] == 2 for value in together.values())
    u, _ = coordinates(x_train, x)
    draws, log_prob = reference.draw(together, 40, Rng(seeds), "start"), reference.log_prob(together, x)
    assert draws.shape == (2, 40, x.shape[-1])
    tilt, log_normalizer = reference.tilt(together, x, u), torch.as_tensor(reference.log_normalizer(together)).expand(2)
    for m, seed in enumerate(seeds):
        alone = reference.fit(x_train[m], x_train[m].shape[-1:], Rng(seed))
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name][m], value)
        alone = {name: value[m] for name, value in together.items()}
        torch.testing.assert_close(draws[m], reference.draw(alone, 40, Rng(seed), "start"))
        torch.testing.assert_close(log_prob[m], reference.log_prob(alone, x[m]))
        torch.testing.assert_close(tilt[m], reference.tilt(alone, x[m], u[m]))
        torch.testing.assert_close(log_normalizer[m], torch.as_tensor(reference.log_normalizer(alone)).to(log_normalizer))
        if reference.smoothable:
            here = coordinates(x_train, x, level)
            smoothed = (reference.tilt(together, x, here[0], level)[m], reference.score(together, x, *here, level)[m])
            torch.testing.assert_close(smoothed[0], reference.tilt(alone, x[m], here[0][m], level[m]))
            torch.testing.assert_close(smoothed[1], reference.score(alone, x[m], here[0][m], here[1][m], level[m]))
    assert not torch.equal(draws[0], draws[1])


def check_streams(reference, x_train, n=20_000):
    """The same stream gives the same draws. Draws of two streams, and of two seeds, are independent.

    Their correlation in each coordinate is within 5 standard errors: one false alarm in 2e6.
    """
    params = fit(reference, x_train)
    first, other_stream, other_seed = (
        reference.draw(params, n, Rng(seed), stream) for seed, stream in ((5, "start"), (5, "noise"), (6, "start"))
    )
    assert torch.equal(first, reference.draw(params, n, Rng(5), "start"))
    for draws in (other_stream, other_seed):
        for a, b in zip(first.T, draws.T, strict=True):
            assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 * n**-0.5


def check_entropy(reference, x_train, entropy, n=40_000):
    """The mean of -log q over draws is the entropy, within 5 standard errors: one false alarm in 2e6."""
    params = fit(reference, x_train)
    log_prob = reference.log_prob(params, reference.draw(params, n, Rng(1), "start"))
    assert abs(log_prob.mean() + entropy) <= 5 * log_prob.std() / n**0.5 + 1e-10
