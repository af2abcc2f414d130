"""The training step and its state: clipping, averaging and divergence, and the choice of the device."""

import pytest
import torch

from ebm_cli.core.device import pick_device
from ebm_cli.errors import InputError


def test_gradients_are_clipped_per_model(trainer):
    """SGD moves each model by the learning rate times its own clipped gradient."""
    instance = trainer(
        "objective=nce", "seeds=3", "optimizer=sgd", "optimizer.momentum=0", "optimizer.schedule=constant", "trainer.max_grad_norm=0.01"
    )
    before = instance.state.theta.clone()
    instance.step()
    moved = torch.linalg.vector_norm(instance.state.theta - before, dim=-1) / 0.01
    torch.testing.assert_close(moved, torch.full((3,), 0.01), rtol=1e-4, atol=0)


def test_gradients_are_not_clipped_without_a_bound(trainer):
    instance = trainer(
        "objective=nce", "optimizer=sgd", "optimizer.momentum=0", "optimizer.schedule=constant", "trainer.max_grad_norm=null"
    )
    before = instance.state.theta.clone()
    instance.step()
    moved = torch.linalg.vector_norm(instance.state.theta - before) / 0.01
    torch.testing.assert_close(moved, instance.state.info["grad_norm"], rtol=1e-3, atol=0)


def test_the_moving_average_of_the_parameters(trainer):
    """ema <- d ema + (1 - d) theta, where d = min(ema_decay, (step + 9) / (step + 10))."""
    instance = trainer("objective=nce", "trainer.ema_decay=0.9")
    expected = instance.state.theta.clone()
    for step in range(1, 21):
        instance.step()
        decay = min(0.9, 1 - 1 / (step + 10))
        expected = decay * expected + (1 - decay) * instance.state.theta
    torch.testing.assert_close(instance.state.ema, expected)
    plain = trainer("objective=nce", "trainer.ema_decay=0")
    plain.step()
    assert torch.equal(plain.state.ema, plain.state.theta)


def test_read_returns_the_mean_loss_since_the_last_read(trainer):
    instance, other = trainer("objective=nce"), trainer("objective=nce")
    losses = []
    for _ in range(6):
        instance.step()
        losses.append(instance.read()["loss"])
    for _ in range(6):
        other.step()
    assert other.read()["loss"] == pytest.approx(sum(losses) / 6, rel=1e-6)


def test_a_diverged_model_is_not_changed(trainer):
    instance = trainer("objective=nce")
    instance.step()
    instance.params["network.0.weight"].data[0, 0] = float("inf")
    before = instance.state.theta.clone()
    instance.step()
    instance.step()
    assert torch.equal(instance.state.theta, before)
    assert instance.dead() == {0: 1}


def test_each_model_has_its_own_mean_and_scale_of_the_data(trainer):
    instance = trainer("seeds=3")
    assert instance.fit["mean"].shape == (3, 2)
    assert len(set(instance.fit["mean"][:, 0].tolist())) == 3
    assert torch.equal(instance.buffers["mean"], instance.fit["mean"])


def test_weights_do_not_depend_on_the_global_random_state(trainer):
    torch.manual_seed(1)
    first = trainer("seed=5").state.theta
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(first, trainer("seed=5").state.theta)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_selects_the_best_device(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == expected


def test_an_unavailable_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="torch sees 2 GPUs"):
        pick_device("cuda:2")
    with pytest.raises(InputError, match="no device 'gpu'"):
        pick_device("gpu")
