"""Checkpoints: they restore the state exactly, and damage is detected."""

import json

import pytest
import torch

from ebm_cli.training import checkpoint


@pytest.mark.parametrize("words", [("objective=nce",), ("objective=pcd", "seeds=2"), ("objective=ssm", "optimizer=sgd")])
def test_continuing_from_a_checkpoint_gives_identical_results(trainer, tmp_path, words):
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
    assert a.keys() == b.keys() == {"params", "ema", "selected", "optimizer", "carry", "fit", "trainer"}
    assert bool(a["carry"]) == ("objective=ssm" not in words)
    for group in a:
        assert all(torch.equal(a[group][name], b[group][name]) for name in a[group])


def test_only_the_newest_two_are_kept(trainer, tmp_path):
    instance = trainer("objective=nce")
    for _ in range(4):
        instance.step()
        checkpoint.save(tmp_path, instance)
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


@pytest.mark.parametrize("damage", [truncate, flip, forget, empty, garble])
def test_a_damaged_checkpoint_is_skipped(trainer, tmp_path, damage):
    instance, warnings = trainer("objective=nce"), []
    instance.step()
    older = checkpoint.save(tmp_path, instance)
    instance.step()
    newer = checkpoint.save(tmp_path, instance)
    assert checkpoint.newest(tmp_path, warnings.append) == newer
    assert not warnings
    damage(newer)
    assert checkpoint.newest(tmp_path, warnings.append) == older
    assert "00000002 is damaged" in warnings[0]
    damage(older)
    assert checkpoint.newest(tmp_path, warnings.append) is None


def test_an_incomplete_checkpoint_is_ignored(trainer, tmp_path, monkeypatch):
    instance = trainer("objective=nce")
    monkeypatch.setattr(checkpoint, "sync", lambda path: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        checkpoint.save(tmp_path, instance)
    assert checkpoint.newest(tmp_path, pytest.fail) is None


def test_diverged_models_are_recorded(trainer, tmp_path):
    instance = trainer("objective=nce", "seeds=3")
    instance.step()
    instance.params["network.0.weight"].data[2, 0, 0] = float("nan")
    instance.step()
    assert checkpoint.dead(checkpoint.save(tmp_path, instance), instance.rng.seed_list) == instance.dead() == {2: 1}
