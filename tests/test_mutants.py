"""scripts/mutants.toml matches the code. `make mutants` takes up to an hour; these checks are fast."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["mutant"]


def test_every_mistake_replaces_text_that_the_code_has():
    absent = [f"{mutant['file']}: {mutant['old']!r}" for mutant in MUTANTS if mutant["old"] not in (ROOT / mutant["file"]).read_text()]
    assert absent == []


def test_every_mistake_names_tests_that_exist():
    named = {test.split("::")[0] for mutant in MUTANTS for test in mutant["tests"]}
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_every_mistake_changes_the_text():
    assert [mutant for mutant in MUTANTS if mutant["old"] == mutant["new"]] == []
