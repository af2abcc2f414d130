"""Mutation tests: inserts the mistakes of scripts/mutants.toml one by one; a test must fail for each.

    python scripts/mutants.py [WORD ...]     only the mutants whose file contains one of the words

Each mutant is a copy of the tree in which one piece of text is replaced. Its tests must fail there and pass on an unchanged copy. The exit
code is 1 if a mutant survives. The mistakes are those seen in public EBM code, and wrong signs and factors.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("ebm_cli", "conf", "scripts", "tests", "pyproject.toml")
LIMIT_S = 300


def passes(tests: Sequence[str], mutant: dict[str, Any] | None = None) -> bool:
    """Whether tests pass on a copy of the tree, with the mistake of `mutant` inserted if given."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder, name))
        if mutant:
            path = Path(folder, mutant["file"])
            text = path.read_text()
            assert mutant["old"] in text, f"{mutant['file']} no longer reads {mutant['old']!r}"
            path.write_text(text.replace(mutant["old"], mutant["new"], 1))
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        if ended.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout[-2000:]}")
        return ended.returncode == 0


def main() -> int:
    mutants = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["mutant"]
    words = sys.argv[1:]
    mutants = [mutant for mutant in mutants if not words or any(word in mutant["file"] for word in words)]
    n_jobs = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(n_jobs) as pool:
        files = sorted({test for mutant in mutants for test in mutant["tests"]})
        broken = [file for file, good in zip(files, pool.map(lambda file: passes([file]), files), strict=True) if not good]
        survivors = []
        for mutant, good in zip(mutants, pool.map(lambda mutant: passes(mutant["tests"], mutant), mutants), strict=True):
            survivors += [mutant] if good else []
            print(f"{'SURVIVES' if good else 'dies    '}  {mutant['file']}: {mutant['old']!r} -> {mutant['new']!r}", flush=True)
    for file in broken:
        print(f"BROKEN    {file} fails on the unchanged tree")
    print(f"{len(mutants)} mutants, {len(survivors)} survive")
    return 1 if survivors or broken else 0


if __name__ == "__main__":
    sys.exit(main())
