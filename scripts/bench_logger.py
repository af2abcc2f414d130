"""Measures the cost of logging: the default run (ssm on moons, a row every 100 steps) with a logger against the same run without one.

    python scripts/bench_logger.py [--rounds 40]

Both runs train in one process on one thread, in alternating turns of ten steps, so that the load of the machine affects both; a round ends
with a row of each. The script prints the median ratio over rounds in CPU seconds of the process, and the wall-clock time of a single row.
Both runs write metrics.jsonl. wandb logs offline; its start and end (one or two seconds per run) are not included.
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
    """A run in training, with or without a logger."""

    def __init__(self, folder, *words):
        os.environ["EBM_OUTPUTS"] = folder
        composed = compose.compose([*LINE, *words])
        self.experiment = Experiment.of(composed)
        self.run, self.trainer = self.experiment.run, self.experiment.trainer()
        self.run.path.mkdir(parents=True)
        train.create(self.experiment, composed)
        self.loggers, self.row_seconds = self.experiment.loggers(), []
        for logger in self.loggers:
            logger.start(self.run, self.experiment.config, 0)

    def steps(self):
        """Train for a turn and return its CPU seconds."""
        start = time.process_time()
        for _ in range(TURN):
            self.trainer.step()
        return time.process_time() - start

    def row(self):
        """Log a row and return its CPU seconds."""
        start = time.process_time()
        row = self.trainer.read() | {"seconds": 0.0}
        self.run.append(row)
        before = time.perf_counter()
        for logger in self.loggers:
            logger.row(row)
        self.row_seconds.append(time.perf_counter() - before)
        return time.process_time() - start

    def end(self):
        for logger in self.loggers:
            logger.end("finished", {})


def compare(logged, plain):
    """CPU seconds of a round for each run. The background work of a logger is counted with the steps after its row."""
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
        with tempfile.TemporaryDirectory() as plain_folder, tempfile.TemporaryDirectory() as logged_folder:
            plain, logged = Side(plain_folder), Side(logged_folder, *words)
            plain.steps(), logged.steps()
            pairs = [compare(logged, plain) for _ in range(rounds + 1)][1:]  # the first round includes late imports
            logged.end()
        a, b = (statistics.median(seconds) * 1e3 for seconds in zip(*pairs, strict=True))
        ratio, row = statistics.median(x / y for x, y in pairs), statistics.median(logged.row_seconds) * 1e3
        print(f"{name:12} {a:21.1f} {b:9.1f} {ratio:7.3f} {row:18.2f}", flush=True)


if __name__ == "__main__":
    main()
