"""Mutation tests: inserts the mistakes of scripts/mutants.toml one by one; a test must fail for each.

    python scripts/mutants.py [WORD ...] [--store FILE] [--since COMMIT]

    WORD            only the mutants whose file contains one of the words
    --store FILE    continue: the mutants that died are recorded in this file, and are skipped while they, the file that they change and
                    their test files are unchanged
    --since COMMIT  skip the mutants that are the same in this commit, with the same file and the same test files

Each mutant is a copy of the tree in which one piece of text is replaced. Its tests must fail there and pass on an unchanged copy. The exit
code is 1 if a mutant survives. The mistakes are those seen in public EBM code, and wrong signs and factors.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("ebm_cli", "conf", "scripts", "tests", "pyproject.toml")
LIMIT_S = 300


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch._dynamo", "hydra", "scipy.stats", "matplotlib.figure", "safetensors.torch", "pytest", "sklearn"])


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
        process = SERVER.Process(target=run_tests, args=(folder, tests))
        process.start()
        process.join(LIMIT_S)
        if process.exitcode is None:  # a mistake without an end is found too
            print(f"{' '.join(tests)} did not end within {LIMIT_S} s", flush=True)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.exitcode not in (0, 1):
            raise RuntimeError(f"{' '.join(tests)} ended with {process.exitcode}:\n{Path(folder, 'output').read_text()[-2000:]}")
        return process.exitcode == 0


def run_tests(folder: str, tests: Sequence[str]) -> None:
    """The body of a child process, in which the packages are imported already, but not the package of the tree."""
    os.setsid()
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [folder, *(path for path in sys.path if not Path(path).is_relative_to(ROOT / "scripts"))]
    output = os.open("output", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))


def key(mutant: dict[str, Any], read: Callable[[str], bytes]) -> str:
    """The sha256 of a mutant, of the file that it changes, and of its test files. Helpers that the tests import are not part of it."""
    paths = (mutant["file"], *(test.partition("::")[0] for test in mutant["tests"]))
    contents = [hashlib.sha256(read(path)).hexdigest() for path in paths]
    return hashlib.sha256(json.dumps([mutant, contents], sort_keys=True).encode()).hexdigest()


def keys_of(commit: str) -> set[str]:
    """The keys of the mutants of a commit."""

    @cache
    def read(path: str) -> bytes:
        return subprocess.run(["git", "-C", ROOT, "show", f"{commit}:{path}"], check=True, capture_output=True).stdout

    return {key(mutant, read) for mutant in tomllib.loads(read("scripts/mutants.toml").decode())["mutant"]}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--store", type=Path, metavar="FILE")
    parser.add_argument("--since", metavar="COMMIT")
    args = parser.parse_args(words)
    mutants = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text())["mutant"]
    mutants = [mutant for mutant in mutants if not args.words or any(word in mutant["file"] for word in args.words)]
    died = set(args.store.read_text().split()) if args.store and args.store.exists() else set()
    known = died | (keys_of(args.since) if args.since else set())
    keys = [key(mutant, lambda path: (ROOT / path).read_bytes()) for mutant in mutants]
    n_skipped = sum(name in known for name in keys)
    pending = [(name, mutant) for name, mutant in zip(keys, mutants, strict=True) if name not in known]
    n_jobs = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(n_jobs) as pool:
        files = sorted({test for _, mutant in pending for test in mutant["tests"]})
        broken = [file for file, good in zip(files, pool.map(lambda file: passes([file]), files), strict=True) if not good]
        survivors = []
        for (name, mutant), good in zip(pending, pool.map(lambda one: passes(one[1]["tests"], one[1]), pending), strict=True):
            survivors += [mutant] if good else []
            print(f"{'SURVIVES' if good else 'dies    '}  {mutant['file']}: {mutant['old']!r} -> {mutant['new']!r}", flush=True)
            if args.store and not good and not {*mutant["tests"]} & {*broken}:
                with open(args.store, "a") as file:
                    file.write(f"{name}\n")
    for file in broken:
        print(f"BROKEN    {file} fails on the unchanged tree")
    print(f"{len(pending)} mutants, {len(survivors)} survive" + (f"; {n_skipped} were skipped" if n_skipped else ""))
    return 1 if survivors or broken else 0


if __name__ == "__main__":
    sys.exit(main())
