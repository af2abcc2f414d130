"""`ebm doctor` reports what is broken and how to repair it, and never prints a secret."""

import json
import os
import shutil
import sys

import pytest

from ebm_cli.commands import doctor
from ebm_cli.sweeps import slots

SECRET = "0123456789abcdef0123456789abcdef01234567"
CLEARED = ("CUDA_VISIBLE_DEVICES", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "NETRC", "CXX")


@pytest.fixture(autouse=True)
def _nothing_special(monkeypatch, tmp_path):
    """A home folder without secrets, and a PATH without nvidia-smi."""
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    if compiler := shutil.which("g++"):
        (tmp_path / "bin" / "g++").symlink_to(compiler)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def checks(ebm):
    """`checks()` returns the JSON report by check and the exit code. The table must have the same content."""

    def call():
        code, out, err = ebm("doctor", "--json")
        assert err == ""
        report = json.loads(out)
        table_code, table, _ = ebm("doctor")
        assert code == table_code == (0 if report["ok"] else 1)
        for check in report["checks"]:
            assert any(line.startswith(check["check"]) and check["state"] in line and check["mend"] in line for line in table.splitlines())
        return {check.pop("check"): check for check in report["checks"]}, code

    return call


@pytest.fixture
def program(tmp_path):
    """`program(name, text)` puts a shell script on the PATH."""

    def write(name, text):
        path = tmp_path / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return write


def test_a_healthy_machine(checks, tmp_path):
    found, code = checks()
    assert code == 0
    assert {check["state"] for check in found.values()} <= {"ok", "absent"}
    import torch

    assert found["torch"]["found"] == torch.__version__
    assert found["python"]["found"] == sys.version.split()[0]
    assert found["cpu"]["found"] == f"torch uses {torch.get_num_threads()} threads"
    assert found["OMP_NUM_THREADS"]["found"] == "1"
    assert found["outputs"]["found"].startswith(f"{tmp_path / 'outputs'}, ")
    assert {"ebm", "numpy", "hydra-core", "omegaconf", "wandb", "cuda" if not torch.cuda.is_available() else "cuda:0"} <= {*found}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "here", "home"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_outputs_that_cannot_be_written(checks, tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EBM_OUTPUTS", str(tmp_path / place))
    found, code = checks()
    assert (code, found["outputs"]["state"]) == (1, "broken")
    assert "Not a directory" in found["outputs"]["found"]
    assert "EBM_OUTPUTS" in found["outputs"]["mend"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_outputs_without_permission(checks, tmp_path, monkeypatch):
    (tmp_path / "outputs" / "runs").mkdir(parents=True)
    (tmp_path / "outputs" / "runs").chmod(0o500)
    found, code = checks()
    assert (code, found["outputs"]["state"]) == (1, "broken")


def test_a_full_disk(checks, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e9)
    found, code = checks()
    assert (code, found["outputs"]["state"]) == (0, "problem")


@pytest.mark.parametrize(
    ("wanted", "name", "message"),
    [
        ("numpy>=99", "numpy", "outside >=99"),
        ("torch<2,>=1", "torch", "outside <2,>=1"),
        ("no-such>=1", "no-such", "not installed"),
    ],
)
def test_versions_outside_their_range(checks, monkeypatch, wanted, name, message):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: [wanted, "pyyaml>=6", "build>=99; extra == 'dev'"])
    found, code = checks()
    assert (code, found[name]["state"]) == (1, "broken")
    assert message in found[name]["found"]
    assert found[name]["mend"].startswith(f"pip install '{name}")
    assert found["pyyaml"]["state"] == "ok"
    assert "build" not in found


def test_an_extra_outside_its_range_is_a_problem_but_no_failure(checks, monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "lint", "pytest")
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["pyyaml>=6", 'pytest>=999; extra == "lint"'])
    found, code = checks()
    assert (code, found["pytest"]["state"]) == (0, "problem")
    assert found["pytest"]["mend"] == "pip install 'ebm-cli[lint]'"


def test_extras(checks, monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"there": "pytest", "gone": "no_such_module", "nested": "no_such_module.inner"})
    found, code = checks()
    assert code == 0
    assert (found["pytest"]["state"], found["pytest"]["found"]) == ("ok", pytest.__version__)
    assert (found["no_such_module"]["state"], found["no_such_module"]["mend"]) == ("absent", "pip install 'ebm-cli[gone]'")
    assert found["no_such_module.inner"]["state"] == "absent"


def test_a_gpu_that_torch_does_not_see(checks, program, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    program("nvidia-smi", "echo 'NVIDIA H100, 81559 MiB, 550.54'; echo 'NVIDIA H100, 81559 MiB, 550.54'")
    found, code = checks()
    assert code == 0
    assert found["nvidia-smi"] == {"state": "ok", "found": "NVIDIA H100, 81559 MiB, 550.54; NVIDIA H100, 81559 MiB, 550.54", "mend": ""}
    assert found["cuda"]["state"] == "problem"
    assert found["cuda"]["mend"]
    assert found["device=auto"]["found"] == "uses cpu" or torch.backends.mps.is_available()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hidden = checks()[0]
    assert hidden["CUDA_VISIBLE_DEVICES"]["state"] == "problem"
    assert "unset" in hidden["CUDA_VISIBLE_DEVICES"]["mend"]
    assert hidden["cuda"]["state"] == "absent"


def test_gpus_that_torch_sees(checks, monkeypatch):
    import torch

    facts = type("Facts", (), {"name": "NVIDIA H100", "total_memory": 85e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    found, _ = checks()
    assert found["cuda:0"]["found"] == found["cuda:1"]["found"] == "NVIDIA H100, 85 GB"
    assert found["device=auto"]["found"] == "uses cuda"
    assert "cuda" not in found


@pytest.mark.parametrize(
    ("text", "message"),
    [("echo 'has failed because'; exit 9", "exit code 9: has failed because"), ("sleep 5", "no answer"), ("exit 0", "no output")],
)
def test_nvidia_smi_that_fails(checks, program, monkeypatch, text, message):
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    program("nvidia-smi", f"PATH=/usr/bin:/bin\n{text.replace('sleep', 'exec sleep')}")
    found, code = checks()
    assert (code, found["nvidia-smi"]["state"]) == (0, "problem")
    assert message in found["nvidia-smi"]["found"]


@pytest.mark.parametrize("threads", ["0", "many", "9999", ""])
def test_impossible_numbers_of_threads(checks, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found, code = checks()
    assert (code, found["OMP_NUM_THREADS"]["state"]) == (0, "problem")
    assert found["OMP_NUM_THREADS"]["mend"].startswith("export OMP_NUM_THREADS=")


def test_a_container_with_a_limit_of_cpu_time(checks, monkeypatch):
    monkeypatch.setattr(slots, "cgroup_quota", lambda: 2.0)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    found, _ = checks()
    assert "limited by the container to a CPU quota of 2" in found["cores"]["found"]
    assert found["OMP_NUM_THREADS"] == {"state": "problem", "found": "not set: torch starts 4 threads", "mend": "export OMP_NUM_THREADS=2"}


SECRETS = [  # (environment, ~/.netrc, the state of the key, a part of the message)
    ({"WANDB_API_KEY": SECRET}, "", "ok", "WANDB_API_KEY is set"),
    ({}, f"machine api.wandb.ai\n  login user\n  password {SECRET}\n", "ok", "api.wandb.ai"),
    ({"WANDB_BASE_URL": f"https://user:{SECRET}@own.host:8080"}, f"machine own.host login user password {SECRET}\n", "ok", "for own.host"),
    ({}, f"machine elsewhere login user password {SECRET}\n", "absent", "neither"),
    ({}, f"{SECRET} machine api.wandb.ai\n", "problem", "cannot be read"),
    ({"WANDB_BASE_URL": f"https://[{SECRET}"}, "", "problem", "cannot be read"),
    ({"WANDB_API_KEY": SECRET, "WANDB_MODE": SECRET}, "", "ok", "WANDB_API_KEY is set"),
]


@pytest.mark.parametrize(("environment", "netrc", "state", "message"), SECRETS)
def test_no_part_of_a_key_is_printed(ebm, checks, tmp_path, monkeypatch, environment, netrc, state, message):
    (tmp_path / "home" / ".netrc").write_text(netrc)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, code = checks()
    assert (code, found["wandb key"]["state"]) == (0, state)
    assert message in found["wandb key"]["found"]
    for words in (["doctor"], ["doctor", "--json"]):
        printed = "".join(ebm(*words)[1:])
        assert not any(SECRET[i : i + 6] in printed for i in range(len(SECRET) - 6))


def test_modes_of_wandb(checks, monkeypatch):
    assert "wandb login" in checks()[0]["wandb key"]["mend"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    found, _ = checks()
    assert (found["WANDB_MODE"]["found"], found["wandb key"]["mend"]) == ("offline", "")
    monkeypatch.setenv("WANDB_MODE", "of-line")
    assert checks()[0]["WANDB_MODE"]["state"] == "problem"


def test_compilers(checks, program, monkeypatch, tmp_path):
    (tmp_path / "bin" / "g++").unlink(missing_ok=True)
    monkeypatch.setenv("CXX", "g++")
    assert "apt-get install g++" in checks()[0]["C++ compiler"]["mend"]
    program("c++", "exit 0")
    assert f"export CXX={tmp_path / 'bin' / 'c++'}" in checks()[0]["C++ compiler"]["mend"]
    monkeypatch.setenv("CXX", "c++")
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "python3-dev" in checks()[0]["C++ compiler"]["mend"]
    (tmp_path / "Python.h").touch()
    assert checks()[0]["C++ compiler"] == {"state": "ok", "found": str(tmp_path / "bin" / "c++"), "mend": ""}


def test_a_torch_that_cannot_be_imported(ebm_process, tmp_path, monkeypatch):
    """All other checks are still reported, and no traceback is printed."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open\\nshared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"), prepend=os.pathsep)
    process = ebm_process("doctor", "--json")
    out, err = process.communicate()
    assert (process.returncode, err) == (1, "")
    found = {check["check"]: check for check in json.loads(out)["checks"]}
    assert found["devices"]["state"] == "broken"
    assert found["devices"]["found"] == "OSError: libcudart.so.13: cannot open shared object file"
    assert found["devices"]["mend"]
    assert {"nvidia-smi", "outputs", "wandb key", "C++ compiler"} <= {*found}


def test_a_package_that_is_not_installed(checks, monkeypatch):
    def gone(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", gone)
    monkeypatch.setattr(doctor.metadata, "requires", gone)
    found, code = checks()
    assert (code, found["ebm"]["state"]) == (1, "broken")


@pytest.mark.parametrize("words", [["x"], ["--jsn"], ["--json", "x"]])
def test_other_words_are_refused(ebm, words):
    code, out, err = ebm("doctor", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
