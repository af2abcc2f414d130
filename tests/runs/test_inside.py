"""Files inside a run folder that may come from somebody else."""

import os

import pytest

from ebm_cli.io import inside


@pytest.mark.parametrize("change", [lambda root, path: inside.append(root, path, "more"), inside.unshare])
def test_a_file_with_a_second_name_is_replaced_by_a_copy(tmp_path, change):
    (tmp_path / "run").mkdir()
    (tmp_path / "other").write_text("text\n")
    path = tmp_path / "run" / "train.log"
    path.hardlink_to(tmp_path / "other")
    change(tmp_path / "run", path)
    assert (tmp_path / "other").read_text() == "text\n"
    assert path.read_text().startswith("text\n")
    assert path.stat().st_nlink == 1
    assert os.listdir(tmp_path / "run") == ["train.log"]


def test_a_file_with_one_name_stays_the_same_file(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("text\n")
    before = path.stat().st_ino
    inside.append(tmp_path, path, "more\n")
    assert path.stat().st_ino == before
    assert path.read_text() == "text\nmore\n"
