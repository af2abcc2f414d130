"""Fixtures of the black-box tests, which start the command in its own process and look at its exit code, its output and its files.

Every command takes seconds, so `make test` runs the modules in QUICK only, and `make blackbox` runs all.
"""

import shutil
from pathlib import Path

import pytest
from command import LINE, call

HERE = Path(__file__).parent


QUICK = ("test_a_run", "test_ages", "test_control_characters", "test_rm", "test_streams")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == HERE and item.path.stem not in QUICK:
            item.add_marker(pytest.mark.blackbox_long)


@pytest.fixture
def ebm():
    """`ebm(...)` runs the command in its own process and returns its exit code, its standard output and its standard error."""
    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """An outputs folder with one finished run of LINE, which has checkpoints of steps 2 and 4. Do not change it: see `run`."""
    outputs = tmp_path_factory.mktemp("trained")
    ended = call("train", *LINE, EBM_OUTPUTS=outputs)
    assert ended.code == 0, ended
    return outputs


@pytest.fixture
def run(trained, tmp_path):
    """The folder of a finished run of LINE in the outputs folder of the test. The test may change it."""
    shutil.copytree(trained, tmp_path / "outputs")
    return next((tmp_path / "outputs" / "runs").iterdir())
