"""Sweeps on other machines, where the packages for them are not installed. Where they are: tests/cluster."""

import subprocess
import sys

import pytest

from ebm_cli import config

LAUNCHERS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@pytest.mark.parametrize(("launcher", "extra"), LAUNCHERS.items())
def test_without_its_package_a_launcher_says_how_to_get_it(ebm, monkeypatch, tmp_path, launcher, extra):
    found = config.find_spec
    monkeypatch.setattr(config, "find_spec", lambda name: None if name in ("submitit", "ray") else found(name))
    code, _, err = ebm("train", "-m", "seed=0,1", f"hydra/launcher={launcher}")
    assert code == 2
    assert err == f"error: hydra/launcher={launcher} needs a package that is not installed\nhint: pip install 'ebm-cli[{extra}]'\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("package", ["submitit", "ray"])
def test_no_start_imports(package):
    code = f"import sys; from ebm_cli.__main__ import main; main(['train', '--cfg', 'job']); sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
