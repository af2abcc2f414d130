"""Minibatches without replacement, as a function of (seed, step)."""

import pytest
import torch

from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng


def numbered(n, *shape):
    """Row i holds i everywhere."""
    return torch.arange(n).reshape(n, *(1 for _ in shape)).expand(n, *shape)


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_an_epoch_covers_every_row_once_and_the_next_is_in_another_order(shape):
    minibatches = Minibatches(numbered(12, *shape))
    batches = [minibatches.batch(step, 4, Rng(0), event_ndim=len(shape)) for step in range(6)]
    assert all(batch.shape == (4, *shape) for batch in batches)
    first, second = (torch.cat(part).flatten(1)[:, 0] for part in (batches[:3], batches[3:]))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(12))
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(12))


def test_rows_that_fill_no_batch_are_left_out_and_change_from_epoch_to_epoch():
    minibatches, left_out = Minibatches(numbered(11, 1)), set()
    for epoch in range(30):
        rows = torch.cat([minibatches.batch(2 * epoch + i, 4, Rng(0), event_ndim=1) for i in range(2)]).flatten().tolist()
        assert len(set(rows)) == 8
        left_out |= set(range(11)) - set(rows)
    assert left_out == set(range(11))  # a row is kept 30 times with probability (8/11)^30 = 7e-5; seeded


def test_a_batch_is_a_function_of_the_step_alone():
    in_turn = Minibatches(numbered(12, 1))
    batches = [in_turn.batch(step, 5, Rng(0), event_ndim=1) for step in range(7)]
    for step in (6, 0, 3, 5):
        assert torch.equal(Minibatches(numbered(12, 1)).batch(step, 5, Rng(0), event_ndim=1), batches[step])
        assert torch.equal(in_turn.batch(step, 5, Rng(0), event_ndim=1), batches[step])


def test_seeds_and_paths_have_orders_of_their_own_on_one_object():
    minibatches = Minibatches(numbered(50, 1))
    rngs = [Rng(0), Rng(1), Rng(0).at("data"), Rng((0, 1))]
    batches = [minibatches.batch(0, 20, rng, event_ndim=1).flatten().tolist() for rng in rngs]
    assert all(batches[i] != batches[j] for i in range(3) for j in range(i))
    assert batches[3] == batches[0] + batches[1]
    assert minibatches.batch(0, 20, Rng(0), event_ndim=1).flatten().tolist() == batches[0]


def test_a_batch_larger_than_the_set_is_the_whole_set():
    assert Minibatches(numbered(5, 1)).batch(3, 8, Rng(0), event_ndim=1).flatten().sort().values.tolist() == list(range(5))


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_each_model_of_a_stack_draws_from_its_own_points_as_it_does_alone(shape):
    points = torch.stack([numbered(9, *shape), 100 + numbered(9, *shape)])
    stack = Minibatches(points).batch(4, 4, Rng((3, 8)), event_ndim=len(shape))
    for m, seed in enumerate((3, 8)):
        assert torch.equal(stack[m], Minibatches(points[m]).batch(4, 4, Rng(seed), event_ndim=len(shape)))
