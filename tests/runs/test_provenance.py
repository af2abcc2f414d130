"""The record of the code that trained a run."""

import shutil
import subprocess

import pytest

from ebm_cli.runs import provenance


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_only_changes_of_code_and_configs_count(tmp_path, monkeypatch):
    """A new result or another file does not change the program; a new option does."""

    def git(*words):
        return subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True, text=True).stdout.strip()

    for name in ("ebm_cli/runs/provenance.py", "conf/train.yaml", "results/methods.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "ebm_cli" / "runs" / "provenance.py"))
    assert provenance.git() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "results" / "methods.json").write_text("two\n")
    (tmp_path / "note").write_text("two\n")
    assert not provenance.git()["dirty"]
    (tmp_path / "conf" / "new.yaml").write_text("two\n")
    assert provenance.git()["dirty"]
    (tmp_path / "conf" / "new.yaml").unlink()
    (tmp_path / "ebm_cli" / "runs" / "provenance.py").write_text("two\n")
    assert provenance.git()["dirty"]


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "ebm_cli" / "runs" / "provenance.py"))
    assert provenance.git() == {}
