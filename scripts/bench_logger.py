"""What logging costs: the default run (ssm on moons, a row each 100 steps) with a logger against the same run without.

    python scripts/bench_logger.py [--rounds 40]

Both train side by side in one process, on one thread, in turns of ten steps, so that what else the machine does befalls both; a round is
a row of each. The median ratio of the rounds is printed, in CPU seconds of the process, and the time on the clock of a row alone. Both
write metrics.jsonl. wandb logs offline; what starts and ends it (a second or two of each run) is not in these numbers.
"""

import argparse
import os
import statistics
import tempfile
import time

import torch

from ebm_cli.config import compose
from ebm_cli.runner import train
from ebm_cli.runner.experiment import Experiment

LINE = ["objective=ssm", "dataset=moons", "device=cpu"]
LOGGERS = {"wandb": ["logger=wandb", "logger.mode=offline"], "tensorboard": ["logger=tensorboard"]}
TURN = 10  # steps


class Side:
    """A run in training, with its logger or without."""

    def __init__(self, folder, *words):
        os.environ["EBM_OUTPUTS"] = folder
        composed = compose.compose([*LINE, *words])
        self.experiment = Experiment.of(composed)
        self.run, self.trainer = self.experiment.run, self.experiment.trainer()
        self.run.path.mkdir(parents=True)
        train.create(self.experiment, composed)
        self.mirrors, self.row_seconds = self.experiment.mirrors(), []
        for mirror in self.mirrors:
            mirror.start(self.run, self.experiment.config, 0)

    def steps(self):
        """CPU seconds of a turn."""
        start = time.process_time()
        for _ in range(TURN):
            self.trainer.step()
        return time.process_time() - start

    def row(self):
        """CPU seconds of a row."""
        start = time.process_time()
        row = self.trainer.read() | {"seconds": 0.0}
        self.run.append(row)
        before = time.perf_counter()
        for mirror in self.mirrors:
            mirror.row(row)
        self.row_seconds.append(time.perf_counter() - before)
        return time.process_time() - start

    def end(self):
        for mirror in self.mirrors:
            mirror.end("finished", {})


def compare(logged, plain):
    """CPU seconds of a round: up to a row of each. What a logger does in the background is counted with the steps that follow its row."""
    totals = {logged: logged.row(), plain: 0.0}
    for _ in range(plain.trainer.settings.log_every // TURN):
        for side in (logged, plain):
            totals[side] += side.steps()
    return totals[logged], totals[plain] + plain.row()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=40)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; medians of {rounds} rounds")
    print(f"{'logger':12} {'with, CPU ms per row':>21} {'without':>9} {'ratio':>7} {'the row alone, ms':>18}")
    for name, words in LOGGERS.items():
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            plain, logged = Side(one), Side(other, *words)
            plain.steps(), logged.steps()
            pairs = [compare(logged, plain) for _ in range(rounds + 1)][1:]  # the first is for what is imported late
            logged.end()
        a, b = (statistics.median(seconds) * 1e3 for seconds in zip(*pairs, strict=True))
        ratio, row = statistics.median(x / y for x, y in pairs), statistics.median(logged.row_seconds) * 1e3
        print(f"{name:12} {a:21.1f} {b:9.1f} {ratio:7.3f} {row:18.2f}", flush=True)


if __name__ == "__main__":
    main()
