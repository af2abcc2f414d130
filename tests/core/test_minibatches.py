"""Minibatches without replacement, as a function of (seed, step)."""

import pytest
import torch

from ebm_cli.core.minibatches import Minibatches
from ebm_cli.core.rng import Rng


def numbered(n, *shape):
    """All entries of row i are i."""
    return torch.arange(n).reshape(n, *(1 for _ in shape)).expand(n, *shape)


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_an_epoch_covers_every_row_once_and_the_next_has_another_order(shape):
    minibatches = Minibatches(numbered(12, *shape))
    batches = [minibatches.batch(step, 4, Rng(0), event_ndim=len(shape)).x for step in range(6)]
    assert all(batch.shape == (4, *shape) for batch in batches)
    first, second = (torch.cat(part).flatten(1)[:, 0] for part in (batches[:3], batches[3:]))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(12))
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(12))


def test_rows_that_do_not_fill_a_batch_are_left_out_and_differ_between_epochs():
    minibatches, left_out = Minibatches(numbered(11, 1)), set()
    for epoch in range(30):
        rows = torch.cat([minibatches.batch(2 * epoch + i, 4, Rng(0), event_ndim=1).x for i in range(2)]).flatten().tolist()
        assert len(set(rows)) == 8
        left_out |= set(range(11)) - set(rows)
    assert left_out == set(range(11))  # a row is kept 30 times with probability (8/11)^30 = 7e-5; seeded


def test_a_batch_depends_on_the_step_only():
    in_turn = Minibatches(numbered(12, 1))
    batches = [in_turn.batch(step, 5, Rng(0), event_ndim=1).x for step in range(7)]
    for step in (6, 0, 3, 5):
        assert torch.equal(Minibatches(numbered(12, 1)).batch(step, 5, Rng(0), event_ndim=1).x, batches[step])
        assert torch.equal(in_turn.batch(step, 5, Rng(0), event_ndim=1).x, batches[step])


def test_seeds_and_paths_have_different_orders_on_one_object():
    minibatches = Minibatches(numbered(50, 1))
    rngs = [Rng(0), Rng(1), Rng(0).at("data"), Rng((0, 1))]
    batches = [minibatches.batch(0, 20, rng, event_ndim=1).x.flatten().tolist() for rng in rngs]
    assert all(batches[i] != batches[j] for i in range(3) for j in range(i))
    assert batches[3] == batches[0] + batches[1]
    assert minibatches.batch(0, 20, Rng(0), event_ndim=1).x.flatten().tolist() == batches[0]


def test_a_batch_larger_than_the_set_is_the_whole_set():
    assert Minibatches(numbered(5, 1)).batch(3, 8, Rng(0), event_ndim=1).x.flatten().sort().values.tolist() == list(range(5))


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_each_model_of_a_stack_draws_from_its_own_points_like_a_single_model(shape):
    points = torch.stack([numbered(9, *shape), 100 + numbered(9, *shape)])
    stack = Minibatches(points).batch(4, 4, Rng((3, 8)), event_ndim=len(shape)).x
    for m, seed in enumerate((3, 8)):
        assert torch.equal(stack[m], Minibatches(points[m]).batch(4, 4, Rng(seed), event_ndim=len(shape)).x)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_labels_stay_with_their_events(shape):
    """Row i has the value i and the label 7 i. Without labels, batches have no labels."""
    minibatches = Minibatches(numbered(12, *shape), 7 * torch.arange(12))
    for rng in (Rng(0), Rng((3, 8))):
        batches = [minibatches.batch(step, 4, rng, event_ndim=len(shape)) for step in range(4)]
        for x, y in batches:
            assert y.shape == (*rng.model_shape, 4)
            assert torch.equal(x, (y // 7).reshape(*y.shape, *(1 for _ in shape)).expand_as(x))
        epoch = torch.cat([batch.y for batch in batches[:3]], -1)
        assert (epoch.sort(-1).values == 7 * torch.arange(12)).all()
    assert Minibatches(numbered(12, *shape)).batch(0, 4, Rng(0), event_ndim=len(shape)).y is None


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
def test_each_model_of_a_stack_has_the_labels_of_its_own_points(shape):
    points, labels = torch.stack([numbered(9, *shape), 100 + numbered(9, *shape)]), torch.stack([torch.arange(9), 100 + torch.arange(9)])
    stack = Minibatches(points, labels).batch(4, 4, Rng((3, 8)), event_ndim=len(shape))
    assert torch.equal(stack.x.flatten(2)[..., 0], stack.y)
    for m, seed in enumerate((3, 8)):
        assert torch.equal(stack.y[m], Minibatches(points[m], labels[m]).batch(4, 4, Rng(seed), event_ndim=len(shape)).y)
