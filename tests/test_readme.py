"""README says what is so: its generated parts are those of the scripts, its commands exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ebm_cli import __main__
from ebm_cli.config import compose, hydra_section

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_generated_parts_are_up_to_date():
    """`make readme` writes them."""
    assert subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"]).returncode == 0


def test_every_verb_is_shown():
    assert all(f"ebm {verb}" in README for verb in __main__.COMMANDS)


@pytest.mark.parametrize("line", re.findall(r"^ebm train (?!.*(?:--help|--config-dir))(.+?)(?: +#.*)?$", README, re.MULTILINE))
def test_every_train_line_composes(line, tmp_path):
    Path("data.csv").write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(30)))
    words = [word for word in shlex.split(line) if word != "-m"]
    for one in compose.one_at_a_time(hydra_section.of_hydra(words).words):
        assert not compose.compose(one).problems


def test_pictures_are_there():
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[.*?\]\((.+?)\)", README))


def test_the_objective_in_three_files(tmp_path, monkeypatch):
    """As the section says, to the letter, in an empty folder; only the runs are made short."""
    section = README.partition("## Add your own objective in three files")[2].partition("\n## ")[0]
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", section, re.DOTALL):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    (commands,) = re.findall(r"```\n(export .*?)```", section, re.DOTALL)
    short = "experiment=smoke trainer.n_steps=20 energy.width=8 metric=[] draws.n_samples=40 draws.n_steps=4 device=cpu"
    lines = [f"{line} {short}" if line.startswith("ebm train") else line for line in commands.splitlines()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    runs = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "outputs" / "runs").iterdir())
    assert runs == ["moons-dsm-s0", "moons-dsm-s1", "moons-dsm-s2", *["moons-robust-s0"] * 2, "moons-robust-s1", "moons-robust-s2"]
