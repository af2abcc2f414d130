"""The step and its state: clipping, averaging, masking, counting, and where a run may be computed."""

import pytest
import torch

from ebm_cli.core.device import pick_device
from ebm_cli.errors import InputError


def test_gradients_are_clipped_per_model(trainer):
    """Each model's step is that of its own clipped gradient: SGD moves theta by lr times it."""
    one = trainer(
        "objective=nce", "seeds=3", "optimizer=sgd", "optimizer.momentum=0", "optimizer.schedule=constant", "trainer.max_grad_norm=0.01"
    )
    before = one.state.theta.clone()
    one.step()
    moved = torch.linalg.vector_norm(one.state.theta - before, dim=-1) / 0.01
    torch.testing.assert_close(moved, torch.full((3,), 0.01), rtol=1e-4, atol=0)


def test_without_a_bound_nothing_is_clipped(trainer):
    one = trainer("objective=nce", "optimizer=sgd", "optimizer.momentum=0", "optimizer.schedule=constant", "trainer.max_grad_norm=null")
    before = one.state.theta.clone()
    one.step()
    moved = torch.linalg.vector_norm(one.state.theta - before) / 0.01
    torch.testing.assert_close(moved, one.state.info["grad_norm"], rtol=1e-3, atol=0)


def test_average_of_the_parameters(trainer):
    """ema <- d ema + (1 - d) theta, with d rising to ema_decay as (step + 9) / (step + 10) does."""
    one = trainer("objective=nce", "trainer.ema_decay=0.9")
    expected = one.state.theta.clone()
    for step in range(1, 21):
        one.step()
        decay = min(0.9, 1 - 1 / (step + 10))
        expected = decay * expected + (1 - decay) * one.state.theta
    torch.testing.assert_close(one.state.ema, expected)
    plain = trainer("objective=nce", "trainer.ema_decay=0")
    plain.step()
    assert torch.equal(plain.state.ema, plain.state.theta)


def test_read_gives_the_mean_loss_since_the_last_read(trainer):
    one, other = trainer("objective=nce"), trainer("objective=nce")
    losses = []
    for _ in range(6):
        one.step()
        losses.append(one.read()["loss"])
    for _ in range(6):
        other.step()
    assert other.read()["loss"] == pytest.approx(sum(losses) / 6, rel=1e-6)


def test_a_single_model_that_diverges_stands_still(trainer):
    one = trainer("objective=nce")
    one.step()
    one.params["network.0.weight"].data[0, 0] = float("inf")
    before = one.state.theta.clone()
    one.step()
    one.step()
    assert torch.equal(one.state.theta, before)
    assert one.dead() == {0: 1}


def test_data_mean_and_scale_are_each_models_own(trainer):
    one = trainer("seeds=3")
    assert one.fit["mean"].shape == (3, 2)
    assert len(set(one.fit["mean"][:, 0].tolist())) == 3
    assert torch.equal(one.buffers["mean"], one.fit["mean"])


def test_weights_do_not_depend_on_the_generator_of_the_process(trainer):
    torch.manual_seed(1)
    first = trainer("seed=5").state.theta
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(first, trainer("seed=5").state.theta)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_best_device(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="torch sees 2 GPUs"):
        pick_device("cuda:2")
    with pytest.raises(InputError, match="no device 'gpu'"):
        pick_device("gpu")
