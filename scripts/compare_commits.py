"""Compares the working tree with an earlier commit: the parameters that the same lines train, and the time they take.

    python scripts/compare_commits.py parameters [--base COMMIT]
    python scripts/compare_commits.py steps [--base COMMIT] [--rounds 10]
    python scripts/compare_commits.py startup [--base COMMIT] [--rounds 20]

The commit is checked out into a temporary worktree and run with the packages of this environment. `parameters` compares the final
checkpoints of each line: it prints whether their common tensors are bit-identical and which tensors exist in only one of them; the exit
code is 1 if tensors differ. `steps` and `startup` run both in alternation on one core and print the mean ratio (working tree / commit)
with its 95 % Student t interval over the rounds.
"""

import argparse
import contextlib
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from ebm_cli.core.student_t import quantile

ROOT = Path(__file__).resolve().parents[1]
BASE = "50506be"  # the last commit of version 0.1
OBJECTIVES = ("ssm", "nce", "pcd", "dsm_multi", "exact")
SHORT = ("dataset=moons", "trainer.n_steps=300", "device=cpu")
COMMANDS = (["--help"], ["train", "--cfg", "job"], ["train", "--help"], ["runs"])


def lines(table):
    """The lines that are trained: the objectives on moons, and nce on a table."""
    yield from ([f"objective={objective}", *SHORT] for objective in OBJECTIVES)
    yield ["objective=nce", "dataset=table", f"dataset.path={table}", *SHORT[1:]]


def write_table(path):
    """Write a table of 300 rows and three columns, two of them correlated."""
    draw = random.Random(0).gauss
    rows = [(x, 0.5 * x + draw(0, 1), draw(3, 2)) for x in (draw(0, 1) for _ in range(300))]
    path.write_text("a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows))


@contextlib.contextmanager
def worktree(commit):
    """A checkout of a commit, removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "base")
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", path, commit], check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", path], check=True)


def ebm(tree, folder, *words):
    """Run the command of a source tree, with results in `folder`."""
    paths = os.pathsep.join(map(str, (tree, tree / "ebm_cli" / "plugins")))
    environment = os.environ | {"PYTHONPATH": paths, "EBM_OUTPUTS": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    subprocess.run([sys.executable, "-m", "ebm_cli", *words], cwd=folder, env=environment, check=True, capture_output=True)


def newest(folder, pattern):
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def compare_parameters(base):
    different = 0
    with worktree(base) as tree, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_table(folder / "table.csv")
        for line in lines(folder / "table.csv"):
            states = []
            for name, source in (("base", tree), ("new", ROOT)):
                (folder / name).mkdir(exist_ok=True)
                ebm(source, folder / name, "train", *line, "metric=[]", "draws.n_samples=100", "draws.n_steps=20")
                states.append(load_file(newest(folder / name, "runs/*/checkpoints/*/state.safetensors")))
            before, after = ({name: value for name, value in state.items() if name.startswith(("params.", "ema."))} for state in states)
            changed = sorted(name for name in before.keys() & after.keys() if not same(before[name], after[name]))
            moved = {"only before": before.keys() - after.keys(), "only after": after.keys() - before.keys()}
            moved = "; ".join(f"{when}: {', '.join(sorted(names))}" for when, names in moved.items() if names)
            different += bool(changed or not before.keys() & after.keys())
            print(
                f"{'differs' if changed else 'equal':8} {' '.join(line[:2])}  {', '.join(changed)}  ({moved or 'same names'})", flush=True
            )
    return different


def same(a, b):
    return a.dtype == b.dtype and torch.equal(a, b)


def compare_steps(base, rounds):
    with worktree(base) as tree, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for objective in OBJECTIVES:

            def seconds(source, words=(f"objective={objective}", "dataset=moons", "device=cpu")):
                """The seconds of 900 steps after the first 100."""
                options = ("trainer.n_steps=1000", "trainer.evaluate_every=10000", "force=true", "metric=[]")
                ebm(source, folder, "train", *words, *options, "draws.n_samples=10", "draws.n_steps=2")
                rows = (newest(folder, "runs/*/metrics.jsonl")).read_text().splitlines()
                first, last = (float(row.rpartition('"seconds": ')[2].rstrip("}")) for row in (rows[0], rows[-1]))
                return last - first

            show(f"objective={objective}", in_turns(seconds, tree, rounds))


def compare_startup(base, rounds):
    with worktree(base) as tree, tempfile.TemporaryDirectory() as folder:
        for words in COMMANDS:

            def seconds(source, words=words):
                start = time.perf_counter()
                ebm(source, Path(folder), *words)
                return time.perf_counter() - start

            show(f"ebm {' '.join(words)}", in_turns(seconds, tree, rounds))


def in_turns(seconds, tree, rounds):
    """Pairs of seconds (commit, working tree), measured in alternating order; the first pair is dropped."""
    pairs = []
    for i in range(rounds + 1):
        order = (tree, ROOT) if i % 2 else (ROOT, tree)
        found = {source: seconds(source) for source in order}
        pairs.append((found[tree], found[ROOT]))
    return pairs[1:]


def show(name, pairs):
    """Print the geometric mean of the ratios with its interval, and the medians."""
    logs = [math.log(new / old) for old, new in pairs]
    center, half = statistics.mean(logs), quantile(len(logs) - 1) * statistics.stdev(logs) / len(logs) ** 0.5
    low, ratio, high = (math.exp(center + side * half) for side in (-1, 0, 1))
    old, new = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{name:32} ratio {ratio:.3f} [{low:.3f}, {high:.3f}]   medians {old:.3f} s -> {new:.3f} s   n = {len(pairs)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["parameters", "steps", "startup"])
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    if given.what == "parameters":
        return int(bool(compare_parameters(given.base)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    {"steps": compare_steps, "startup": compare_startup}[given.what](given.base, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
