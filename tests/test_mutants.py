"""scripts/mutants.toml matches the code. `make mutants` takes up to an hour; these checks are fast."""

import importlib.util
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["mutant"]


def test_every_mistake_replaces_text_that_the_code_has():
    absent = [f"{mutant['file']}: {mutant['old']!r}" for mutant in MUTANTS if mutant["old"] not in (ROOT / mutant["file"]).read_text()]
    assert absent == []


def test_every_mistake_names_tests_that_exist():
    named = {test.partition("[")[0].partition("::")[::2] for mutant in MUTANTS for test in mutant["tests"]}
    assert [path for path, _ in sorted(named) if not (ROOT / path).is_file()] == []
    assert [name for path, name in sorted(named) if name and f"def {name}(" not in (ROOT / path).read_text()] == []


def test_every_mistake_changes_the_text():
    assert [mutant for mutant in MUTANTS if mutant["old"] == mutant["new"]] == []


@pytest.fixture
def mutants(tmp_path, monkeypatch):
    """scripts/mutants.py on a tree of one file with one mutant. `mutants.ran` has the arguments of every call of `passes`."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    mistake = '[[mutant]]\nfile = "code.py"\nold = "1"\nnew = "2"\ntests = ["test_code.py"]\n'
    for name, text in {"scripts/mutants.toml": mistake, "code.py": "x = 1\n", "test_code.py": "assert True\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    module.ran = []
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "passes", lambda tests, mutant=None: module.ran.append(mutant) or mutant is None)
    return module


@pytest.mark.parametrize("changed", [None, "code.py", "test_code.py", "scripts/mutants.toml"])
def test_a_stored_death_is_skipped_until_the_file_the_tests_or_the_mistake_change(mutants, tmp_path, changed, capsys):
    store = str(tmp_path / "store")
    assert mutants.main(["--store", store]) == 0
    assert len(mutants.ran) == 2  # the tests on the unchanged tree, and on the mutant
    if changed:
        path = tmp_path / changed
        path.write_text(path.read_text().replace('new = "2"', 'new = "3"') if changed.endswith("toml") else path.read_text() + "# more\n")
    assert mutants.main(["--store", store]) == 0
    assert len(mutants.ran) == (4 if changed else 2)
    assert ("1 were skipped" in capsys.readouterr().out) == (changed is None)


def test_a_survivor_is_not_stored(mutants, tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "passes", lambda tests, mutant=None: True)
    assert mutants.main(["--store", str(tmp_path / "store")]) == 1
    assert not (tmp_path / "store").exists()


def test_a_mutant_whose_tests_fail_without_it_is_not_stored(mutants, tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "passes", lambda tests, mutant=None: False)
    assert mutants.main(["--store", str(tmp_path / "store")]) == 1
    assert not (tmp_path / "store").exists()


def test_mutants_that_are_the_same_in_a_commit_are_skipped(mutants, tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@localhost", *words], check=True, capture_output=True
        )

    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    assert mutants.main(["--since", "HEAD"]) == 0
    assert mutants.ran == []
    (tmp_path / "code.py").write_text("x = 1  # changed\n")
    assert mutants.main(["--since", "HEAD"]) == 0
    assert len(mutants.ran) == 2
