"""The GPUs of a machine and those that a sweep uses. A script replaces nvidia-smi."""

import re

import pytest
import torch

from ebm_cli.errors import InputError, Problem
from ebm_cli.sweeps import slots
from ebm_cli.sweeps.slots import Slot, plan

UUIDS = [f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abcd"]
MIGS = [f"MIG-{letter * 8}-1111-2222-3333-444444444444" for letter in "ef"]
FOUR = [f"GPU {index}: NVIDIA A100-SXM4-40GB (UUID: {uuid})" for index, uuid in enumerate(UUIDS)]
CUT = [FOUR[0], *(f"  MIG 3g.20gb     Device  {index}: (UUID: {uuid})" for index, uuid in enumerate(MIGS)), *FOUR[1:3]]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(lines)` simulates a machine with eight cores whose nvidia-smi prints these lines, without CUDA_VISIBLE_DEVICES."""

    def make(lines, code=0, cores=8):
        (tmp_path / "bin").mkdir()
        script = "\n".join(["#!/bin/sh", '[ "$*" = -L ] || exit 9', *(f"echo '{line}'" for line in lines), f"exit {code}"])
        (tmp_path / "bin" / "nvidia-smi").write_text(script)
        (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(slots, "n_cores", lambda: cores)

    return make


def taken(gpus="auto", jobs_per_gpu=1, cpu_jobs=None):
    return [slot.gpu for slot in plan(gpus, jobs_per_gpu, cpu_jobs)]


def test_auto_uses_every_gpu(machine):
    machine(FOUR)
    assert plan("auto", 1, None) == [Slot("0", 2), Slot("1", 2), Slot("2", 2), Slot("3", 2)]
    assert [str(slot) for slot in plan("auto", 1, None)] == ["GPU 0", "GPU 1", "GPU 2", "GPU 3"]


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (2, ["0", "1"]),
        (4, ["0", "1", "2", "3"]),
        ([2, 0], ["2", "0"]),
        (["3"], ["3"]),
        ([UUIDS[1]], ["1"]),
        (["GPU-d", 0, "GPU-bbb"], ["3", "0", "1"]),
    ],
    ids=str,
)
def test_a_number_selects_the_first_gpus_and_a_list_names_them(machine, gpus, expected):
    machine(FOUR)
    assert taken(gpus) == expected


def test_slots_alternate_between_gpus_and_share_the_cores(machine):
    machine(FOUR)
    assert plan([0, 2], 2, None) == [Slot("0", 2), Slot("2", 2), Slot("0", 2), Slot("2", 2)]
    assert {slot.n_threads for slot in plan("auto", 4, None)} == {1}  # eight cores for sixteen jobs


@pytest.mark.parametrize(
    ("gpus", "message", "hint"),
    [
        (5, "GPUs requested: 5, visible: 4", "hydra.launcher.gpus=4"),
        ([0, 7], "there is no GPU 7; visible GPUs: 0, 1, 2, 3$", ""),
        (["GPU-xyz"], "there is no GPU GPU-xyz; visible GPUs: 0, 1, 2, 3$", ""),
        (["GPU-"], "GPU- names 4 GPUs;", ""),  # an ambiguous prefix
        (["aaaaaaaa"], "there is no GPU aaaaaaaa;", ""),
        ([1, 1], "GPU 1 is listed twice", "hydra.launcher.jobs_per_gpu=2"),
        ([1, UUIDS[1]], f"GPU {UUIDS[1]} is listed twice", "hydra.launcher.jobs_per_gpu=2"),
    ],
    ids=str,
)
def test_missing_and_repeated_gpus_are_refused(machine, gpus, message, hint):
    machine(FOUR)
    with pytest.raises(InputError, match=f"^hydra.launcher.gpus: {message}") as refused:
        plan(gpus, 1, None)
    assert hint in refused.value.problems[0].hint


@pytest.mark.parametrize("gpus", [[], 0])
def test_without_gpus_the_slots_are_cores(machine, gpus):
    machine(FOUR)
    assert plan(gpus, 3, None) == [Slot("", 1)] * 8
    assert plan(gpus, 1, 5) == [Slot("", 1)] * 5
    assert str(plan(gpus, 1, 1)[0]) == "CPU"


def test_mig_devices_replace_their_gpu(machine):
    machine(CUT)
    assert taken() == [*MIGS, "1", "2"]
    assert taken(["MIG-f", 2]) == [MIGS[1], "2"]
    with pytest.raises(InputError, match="there is no GPU 0; visible GPUs: MIG-e"):
        taken([0])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1,3", ["1", "3"]),
        ("3,1", ["3", "1"]),
        (" 2 , 0", ["2", "0"]),
        (f"{UUIDS[2]},GPU-a", [UUIDS[2], "GPU-a"]),
        ("2,-1,3", ["2"]),
        ("2,,3", ["2"]),
    ],
)
def test_cuda_visible_devices_limits_the_gpus(machine, monkeypatch, limit, expected):
    machine(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    assert taken() == expected
    assert taken(1) == expected[:1]
    assert taken([expected[-1]]) == expected[-1:]
    with pytest.raises(InputError, match=f"GPUs requested: {len(expected) + 1}, visible: {len(expected)}"):
        taken(len(expected) + 1)


def test_a_gpu_visible_by_index_can_be_requested_by_uuid(machine, monkeypatch):
    machine(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert taken([UUIDS[1][:9]]) == ["1"]
    limit = re.escape("visible GPUs: 3, 1 (CUDA_VISIBLE_DEVICES=3,1)")
    with pytest.raises(InputError, match=f"there is no GPU 0; {limit}"):
        taken([0])
    with pytest.raises(InputError, match="there is no GPU GPU-a; "):
        taken(["GPU-a"])


def test_a_gpu_visible_by_uuid_can_be_requested_by_a_prefix(machine, monkeypatch):
    machine(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-c,{UUIDS[0]}")
    assert taken(["GPU-aaaa", UUIDS[2]]) == [UUIDS[0], "GPU-c"]


@pytest.mark.parametrize("limit", ["", "-1", "-1,0"])
def test_jobs_run_on_cores_if_no_gpu_is_visible(machine, monkeypatch, limit):
    machine(FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    assert plan("auto", 1, None) == [Slot("", 1)] * 8
    with pytest.raises(InputError, match="GPUs requested: 1, visible: 0"):
        taken(1)
    with pytest.raises(InputError, match="there is no GPU 0; visible GPUs: none"):
        taken([0])


def test_without_a_working_nvidia_smi_there_are_no_gpus(machine, monkeypatch, tmp_path):
    machine(["NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", *FOUR], code=9)
    assert plan("auto", 1, None) == [Slot("", 1)] * 8
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert plan("auto", 1, None) == [Slot("", 1)] * 8
    with pytest.raises(InputError, match="there is no GPU 0; visible GPUs: none"):
        taken([0])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")  # these are trusted
    assert taken() == ["0", "2"]


def test_the_number_of_cores_respects_the_affinity_and_the_quota(monkeypatch, tmp_path):
    monkeypatch.setattr(slots.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(slots, "Path", lambda _: limit)
    for text, expected in [("max 100000", 6), ("400000 100000", 4), ("50000 100000", 1), ("900000 100000", 6)]:
        limit.write_text(f"{text}\n")
        assert slots.n_cores() == expected
    limit.unlink()
    assert slots.n_cores() == 6


@pytest.mark.parametrize("n_seen", [0, 2])
def test_without_nvidia_smi_the_gpus_are_those_of_torch(tmp_path, monkeypatch, n_seen):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_seen)
    assert [gpu.name for gpu in slots.visible()] == ["0", "1"][:n_seen]


@pytest.mark.parametrize(
    ("launcher", "device", "message", "hint"),
    [
        ({"_target_": "x.GpuLauncher"}, "cuda:3", "its own GPU", "device=cuda hydra.launcher.gpus=[3]"),
        ({"_target_": "x.SlurmLauncher", "gpus_per_node": 1}, "cuda:1", "its own GPU", "device=cuda is the GPU of the job"),
        ({"_target_": "x.SlurmLauncher", "gpus_per_node": 2}, "cuda:2", "its own 2 GPUs", "device=cuda is the GPU of the job"),
        ({"_target_": "x.SubmititLauncher", "gpus_per_node": None}, "cuda:1", "its own GPU", "device=cuda is the GPU of the job"),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {"num_gpus": 0.5}}}, "cuda:1", "its own GPU", "device=cuda is the GPU of the job"),
    ],
)
def test_a_job_cannot_name_a_gpu_that_it_does_not_see(launcher, device, message, hint):
    assert slots.hidden(device, launcher) == Problem(f"device={device}: a job of this sweep sees only {message}", hint)
    assert slots.hidden("cuda", launcher) is None
    assert slots.hidden("cuda:0", launcher) is None


@pytest.mark.parametrize(
    "launcher",
    [
        {"_target_": "x.SlurmLauncher", "gpus_per_node": 2},
        {"_target_": "x.SlurmLauncher", "gpus_per_node": None, "gres": "gpu:2"},
        {"_target_": "x.RayLauncher", "ray": {"remote": {"num_gpus": 2}}},
        {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
    ],
)
def test_a_job_can_name_each_gpu_that_it_sees(launcher):
    assert slots.hidden("cuda:1", launcher) is None
