"""Checkpoints: what is saved comes back to the bit, what is damaged is seen."""

import json

import pytest
import torch

from ebm_cli.training import checkpoint


@pytest.mark.parametrize("words", [("objective=nce",), ("objective=pcd", "seeds=2"), ("objective=ssm", "optimizer=sgd")])
def test_going_on_from_a_checkpoint_changes_no_bit(trainer, tmp_path, words):
    words = (*words, *(["objective.n_chains=64", "objective.n_steps=2"] if "objective=pcd" in words else []))
    whole, first, second = (trainer(*words) for _ in range(3))
    for _ in range(12):
        whole.step()
    for _ in range(7):
        first.step()
    checkpoint.load(checkpoint.save(tmp_path, first), second)
    for _ in range(5):
        second.step()
    assert second.state.step == 12
    assert second.read() == whole.read()
    checkpoint.save(tmp_path / "a", whole)
    checkpoint.save(tmp_path / "b", second)
    assert (tmp_path / "a/00000012/manifest.json").read_text() == (tmp_path / "b/00000012/manifest.json").read_text()
    a, b = (checkpoint.read(tmp_path / part / "00000012") for part in "ab")
    assert (
        a.keys()
        == b.keys()
        == {"params", "ema", "optimizer", "carry", "fit", "trainer"} - ({"carry"} if "objective=ssm" in words else set())
    )
    for group in a:
        assert all(torch.equal(a[group][name], b[group][name]) for name in a[group])


def test_only_the_newest_two_are_kept(trainer, tmp_path):
    one = trainer("objective=nce")
    for _ in range(4):
        one.step()
        checkpoint.save(tmp_path, one)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["00000003", "00000004"]


def truncate(path):
    (path / "state.safetensors").write_bytes((path / "state.safetensors").read_bytes()[:-1])


def flip(path):
    data = bytearray((path / "state.safetensors").read_bytes())
    data[-5] ^= 1
    (path / "state.safetensors").write_bytes(data)


def forget(path):
    (path / "manifest.json").unlink()


def empty(path):
    (path / "manifest.json").write_text(json.dumps({"step": 1, "sha256": {}}))


def garble(path):
    (path / "manifest.json").write_text("[1, 2")


@pytest.mark.parametrize("hurt", [truncate, flip, forget, empty, garble])
def test_a_damaged_checkpoint_is_passed_over(trainer, tmp_path, hurt):
    one, said = trainer("objective=nce"), []
    one.step()
    older = checkpoint.save(tmp_path, one)
    one.step()
    newer = checkpoint.save(tmp_path, one)
    assert checkpoint.newest(tmp_path, said.append) == newer
    assert not said
    hurt(newer)
    assert checkpoint.newest(tmp_path, said.append) == older
    assert "00000002 is damaged" in said[0]
    hurt(older)
    assert checkpoint.newest(tmp_path, said.append) is None


def test_what_is_half_written_is_no_checkpoint(trainer, tmp_path, monkeypatch):
    one = trainer("objective=nce")
    monkeypatch.setattr(checkpoint, "sync", lambda path: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        checkpoint.save(tmp_path, one)
    assert checkpoint.newest(tmp_path, pytest.fail) is None


def test_the_diverged_are_remembered(trainer, tmp_path):
    one = trainer("objective=nce", "seeds=3")
    one.step()
    one.params["network.0.weight"].data[2, 0, 0] = float("nan")
    one.step()
    assert checkpoint.dead(checkpoint.save(tmp_path, one), one.rng.seed_list) == one.dead() == {2: 1}
