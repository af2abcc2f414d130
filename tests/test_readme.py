"""README says what is so: its generated parts are those of the scripts, its commands exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ebm_cli import __main__, config, hydra_nodes

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_generated_parts_are_up_to_date():
    """`make readme` writes them."""
    assert subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"]).returncode == 0


def test_every_verb_is_shown():
    assert all(f"ebm {verb}" in README for verb in __main__.COMMANDS)


@pytest.mark.parametrize("line", re.findall(r"^ebm train (?!.*--help)(.+?)(?: +#.*)?$", README, re.MULTILINE))
def test_every_train_line_composes(line, tmp_path):
    Path("data.csv").write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(30)))
    words = [word for word in shlex.split(line) if word != "-m"]
    for one in config.star(hydra_nodes.of_hydra(words).words):
        assert not config.compose(one).problems


def test_pictures_are_there():
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[.*?\]\((.+?)\)", README))
