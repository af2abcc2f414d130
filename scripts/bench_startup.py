"""How long the command takes to answer: median wall-clock seconds of several starts, beside the bound that a test holds them to.

python scripts/bench_startup.py
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUNDS = {"ebm --help": 0.1, "ebm train --cfg job": 0.5, "ebm runs (50 runs)": 0.3}
LINES = {"ebm --help": ["--help"], "ebm train --cfg job": ["train", "--cfg", "job"], "ebm runs (50 runs)": ["runs"]}


def fifty_runs(outputs):
    """Run folders as `ebm runs` reads them."""
    for i in range(50):
        folder = outputs / "runs" / f"moons-ssm-s{i}-{i:010x}"
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps({"id": f"{i:010x}", "created": time.time() - i, "differs": [f"seed={i}"]}))
        (folder / "status.json").write_text(json.dumps({"state": "finished"}))
        (folder / "summary.json").write_text(
            json.dumps({"id": f"{i:010x}", "kl": 0.01, "nll": 1.02, "sliced_wasserstein": 0.02, "reasons": {}})
        )


def measure(rounds=9):
    """Seconds by line."""
    with tempfile.TemporaryDirectory() as folder:
        fifty_runs(Path(folder))
        environment = os.environ | {"EBM_OUTPUTS": folder}
        found = {}
        for name, words in LINES.items():
            times = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                subprocess.run([Path(sys.executable).with_name("ebm"), *words], env=environment, check=True, capture_output=True)
                times.append(time.perf_counter() - start)
            found[name] = statistics.median(times[1:])
        return found


if __name__ == "__main__":
    for line, seconds in measure().items():
        print(f"{line:22} {seconds:6.3f} s   (bound {BOUNDS[line]} s)")
