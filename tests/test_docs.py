"""README and docs/ are correct: generated parts are up to date, links resolve, commands compose, and examples run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from lines import last_of_each_key

from ebm_cli import __main__
from ebm_cli.config import compose, hydra_section

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
SHORT = "experiment=smoke metric=[] figure=[] draws.n_samples=40 draws.n_chains=20 draws.n_steps=4 device=cpu"


def test_generated_parts_are_up_to_date():
    """`make docs` writes the generated parts."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "docs.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_is_described():
    commands = (ROOT / "docs" / "commands.md").read_text()
    assert all(f"`ebm {verb}`" in commands for verb in __main__.COMMANDS)


def test_the_readme_links_every_page():
    readme = (ROOT / "README.md").read_text()
    assert all(f"({page.relative_to(ROOT)})" in readme for page in PAGES if page.name != "README.md")
    assert len(readme.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        assert path.is_file(), f"{page.name}: {target}"
        assert not heading or heading in headings(path), f"{page.name}: {target}"


def headings(path):
    """The anchors of a page."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"^ebm train (?!.*(?:--help|--cfg|--config-dir|\bresume=))(.+?)(?: +#.*)?$", TEXT, re.MULTILINE)))
)
def test_every_train_line_composes(line, tmp_path):
    Path("data.csv").write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(30)))
    words = [word for word in shlex.split(line) if word != "-m"]
    for composed in compose.one_at_a_time(hydra_section.of_hydra(words).words):
        assert not compose.compose(composed).problems


def followed(page, words, outputs):
    """Write the files of a page, run its commands with short runs, and return the names of the runs."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, re.DOTALL):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    (commands,) = re.findall(r"```\n(export .*?)```", page, re.DOTALL)
    lines = [shorter(line, words) if line.startswith("ebm train") else line for line in commands.splitlines()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d passed", done.stdout)
    return sorted(path.name.rpartition("-")[0] for path in (outputs / "runs").iterdir())


def shorter(line, words):
    """A line with short runs: these words replace those of the line that set the same keys."""
    return shlex.join(last_of_each_key([*shlex.split(line), *SHORT.split(), *words.split()]))


def test_the_objective_of_the_readme(tmp_path):
    """The README is followed literally in an empty folder, except that the runs are short."""
    names = followed((ROOT / "README.md").read_text(), "energy.width=8 trainer.n_steps=20", tmp_path / "outputs")
    assert names == ["moons-dsm-s0", "moons-dsm-s1", "moons-dsm-s2", *["moons-robust-s0"] * 2, "moons-robust-s1", "moons-robust-s2"]


def test_the_components_of_the_extending_page(tmp_path):
    """An objective, a dataset, an energy and a figure. On the images an energy of zero has the loss d/2 = 32; that of 300 steps was 14."""
    words = "energy.width=8 trainer.n_steps=300 figure=[gallery,training]"
    assert followed((ROOT / "docs" / "extending.md").read_text(), words, tmp_path / "outputs") == ["digits-dsm-s0", "moons-ranking-s0"]
    run, _ = sorted((tmp_path / "outputs" / "runs").iterdir())
    assert json.loads((run / "summary.json").read_text())["test_loss"] < 25
    assert sorted(path.name for path in (run / "figures").iterdir()) == ["gallery.png", "training.png"]
