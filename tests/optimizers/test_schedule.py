"""Learning-rate schedules, computed by hand."""

import math

import pytest

from ebm_cli.optimizers.schedule import factor


@pytest.mark.parametrize(
    ("schedule", "n_warmup", "step", "expected"),
    [
        ("constant", 0, 0, 1.0),
        ("constant", 0, 99, 1.0),
        ("constant", 4, 0, 1 / 5),
        ("constant", 4, 3, 4 / 5),
        ("constant", 4, 4, 1.0),
        ("cosine", 0, 0, 1.0),
        ("cosine", 0, 25, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 0, 50, 0.5),
        ("cosine", 0, 99, (1 + math.cos(0.99 * math.pi)) / 2),
        ("cosine", 20, 0, 1 / 21),
        ("cosine", 20, 19, 20 / 21),
        ("cosine", 20, 20, 1.0),
        ("cosine", 20, 60, 0.5),
        ("cosine", 20, 99, (1 + math.cos(79 / 80 * math.pi)) / 2),
        ("cosine", 200, 99, 100 / 201),  # training ends during the warm-up
        ("cosine", 100, 100, 1.0),
    ],
)
def test_factor_of_a_hundred_steps(schedule, n_warmup, step, expected):
    assert math.isclose(factor(schedule, step, 100, n_warmup), expected)


@pytest.mark.parametrize("n_warmup", [0, 20])
def test_cosine_rises_to_one_and_falls_toward_zero(n_warmup):
    factors = [factor("cosine", step, 100, n_warmup) for step in range(100)]
    peak = factors.index(1.0)
    assert peak == n_warmup
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert 0 < factors[-1] < 1e-3
