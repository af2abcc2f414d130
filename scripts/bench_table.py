"""Measures a large table: the seconds until its columns are standardized, and the peak memory of that and of a training run.

python scripts/bench_table.py [N_ROWS]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_COLUMNS, BLOCK = 10, 10_000
LOAD = """
import sys
from ebm_cli.config import schema
from ebm_cli.config.compatibility import options
schema.build(options("dataset", [])["table"] | {"path": sys.argv[1]}).standardization
"""


def write(path, n):
    """n rows of Gaussian columns, with 17 digits."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write(",".join(f"c{i}" for i in range(N_COLUMNS)) + "\n")
        for first in range(0, n, BLOCK):
            rows = rng.standard_normal((min(BLOCK, n - first), N_COLUMNS)).tolist()
            file.write("\n".join(",".join(map(repr, row)) for row in rows) + "\n")


def measured(name, *command, **variables):
    """Run a command with one thread. Print its seconds, and the largest peak memory of the commands so far."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # GiB on Linux
    print(f"{name:<40} {time.perf_counter() - start:6.1f} s {peak:6.2f} GiB", flush=True)


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        write(path, n)
        print(f"{n} rows, {N_COLUMNS} columns, {path.stat().st_size / 1e6:.0f} MB")
        measured("import alone", sys.executable, "-c", "import torch, ebm_cli.datasets.table")
        measured("load and standardize", sys.executable, "-c", LOAD, str(path))
        subprocess.run(["gzip", "-k", "-1", path], check=True)
        measured("load and standardize, .csv.gz", sys.executable, "-c", LOAD, f"{path}.gz")
        words = ("objective=nce", "metric=[]", "figure=[]", "trainer.n_steps=1000", "draws.n_samples=100", "draws.n_steps=50", "device=cpu")
        line = ("-m", "ebm_cli", "train", "dataset=table", f"dataset.path={path}", *words)
        measured("train 1,000 steps and draw", sys.executable, *line, EBM_OUTPUTS=folder)


if __name__ == "__main__":
    main()
