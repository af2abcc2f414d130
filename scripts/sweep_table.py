"""Runs the sweep shown in docs/: three objectives, four learning rates, four seeds each, on moons, 2,000 steps.

    python scripts/sweep_table.py [key=value ...]

Additional words are added to the line or replace those that set the same key (for a trial: experiment=smoke). The output of the command is
stored in results/sweep.json with the commit and the versions that made it.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import ROOT, made_by, with_words

from ebm_cli.runs.run import Run

LINE = ("train", "-m", "objective=ssm,nce,pcd", "dataset=moons", "optimizer.lr=0.001,0.003,0.01,0.03", "seeds=4", "trainer.n_steps=2000")


def main():
    words = with_words(LINE, sys.argv[1:])
    with tempfile.TemporaryDirectory() as outputs:
        start = time.perf_counter()
        command = [Path(sys.executable).with_name("ebm"), *words]
        done = subprocess.run(command, env=os.environ | {"EBM_OUTPUTS": outputs}, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        made = made_by(*(Run(path.parent) for path in Path(outputs).glob("runs/*/environment.json")))
    print(done.stdout)
    printed = done.stdout.replace(outputs, "outputs")
    found = {"line": shlex.join(["ebm", *words]), "printed": printed, "seconds": seconds, "made_by": made}
    (ROOT / "results" / "sweep.json").write_text(json.dumps(found, indent=1) + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
