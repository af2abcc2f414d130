"""The wheel contains all that a run needs. It is built, installed outside the checkout, and run from another folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words, **options):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an environment with the wheel. It shares the packages of this environment, but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python"]
    done = run(*pip, "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_contains_the_package_and_its_configs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    plugins = "ebm_cli/plugins/"  # Hydra expects the package hydra_plugins at the top level
    modules = {str(path.relative_to(ROOT)).removeprefix(plugins) for path in (ROOT / "ebm_cli").rglob("*.py")}
    configs = {f"ebm_cli/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    numbers = {str(path.relative_to(ROOT)) for path in (ROOT / "ebm_cli").rglob("*.npz")}
    assert numbers
    assert inside >= modules | configs | numbers
    assert {name.partition("/")[0] for name in inside} <= {"ebm_cli", "hydra_plugins"}


def test_a_run_from_the_wheel(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "EBM_OUTPUTS", "PYTHONHOME")}
    options = {"cwd": tmp_path / "here", "env": environment}
    where = run(installed / "bin" / "python", "-c", "import ebm_cli, torch; print(ebm_cli.__file__)", **options)
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(installed / "bin" / "ebm", "--version", **options).stdout == f"ebm {version}\n"
    done = run(installed / "bin" / "ebm", "train", "experiment=smoke", "device=cpu", **options)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "here" / "outputs" / "runs").iterdir()
    assert done.stdout.endswith(f"Results saved to outputs/runs/{path.name}\n")
    assert json.loads((path / "status.json").read_text())["state"] == "finished"
    assert json.loads((path / "summary.json").read_text())["kl"] > 0
    assert json.loads((path / "environment.json").read_text())["git"] == {}
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]
