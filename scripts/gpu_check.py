"""Checks every component on a GPU against the CPU, and measures its speed there.

    python3 scripts/gpu_check.py [--device cuda] [--steps 200] [--only WORD ...] [--skip WORD ...] [--json FILE]

It runs from a checkout, with any Python that has the packages of pyproject.toml; nothing needs to be installed. It prints one table to
standard output, and writes FILE (outputs/gpu_check.json) after every check. `--only` and `--skip` select the rows that contain a word:
`--only compiled`, `--only pcd`. The exit code is 1 if a check fails, and 0 if there is no GPU. `--device cpu` compares the CPU with itself:
every deviation must then be zero.

A CPU and a GPU generate different random numbers. Where both are compared, all draws are those of the CPU, copied to the GPU. Rounding
errors grow during training, so each step (and each transition of a chain) begins at the state of the CPU. `deviation` is then

    training       the 95 % quantile over the steps of the largest of three: the difference of the losses relative to max(1, |loss|), the
                   relative difference of the gradient norms, and the sum of the differences of the updates over the sum of the updates
    sampler        the fraction of transitions that end elsewhere: where log u = log alpha to rounding, the two may decide differently
    metric         the largest difference of its numbers relative to max(1, |number|)
    dataset, energy, loaded run   the largest difference of values relative to max(1, |value|)

    resume         the largest difference of parameters between a resumed and an uninterrupted run, both on the GPU: it must be zero
    draws          the largest difference between the draws of a stack and those of its single runs, both on the GPU: it must be zero

A training row also takes three steps in which torch raises an error if the CPU waits for the GPU. Speeds are steps per second with the
device's own draws. `MiB` is the GPU memory that is allocated after the check, and `peak` the maximum during the check.
"""

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ebm_cli" / "plugins"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from ebm_cli import console, load_run
from ebm_cli.config import compatibility, compose, option_files, schema
from ebm_cli.core.chain import Draws
from ebm_cli.core.rng import Rng
from ebm_cli.errors import InputError
from ebm_cli.runner import evaluate
from ebm_cli.runner.experiment import Experiment
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import provenance
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
PATHS = (str(ROOT), str(ROOT / "ebm_cli" / "plugins"))
TRAINING, SAMPLING, VALUES, DOUBLE = 1e-3, 1e-2, 1e-4, 1e-9  # tolerances of deviations
MEASURES, CHAINS, TESTS = 1e-3, 0.05, 0.1  # of metrics; of those with chains of their own; of p-values and standard errors
ELSEWHERE = 1e-3  # distance between the ends of a transition, relative to max(1, |x|)
LEAK = 64.0  # MiB
ENERGIES = ("mlp", "noise_mlp", "score_mlp")  # tried first for each objective
OBJECTIVES = ("ssm", "dsm_multi", "pseudo_likelihood")  # tried first for each energy
DATASETS = ("moons", "bars_and_stripes", "categorical_table")  # tried in this order for each pair
OF_DATA = ("mlp", "potts", "binary_mlp")  # energies for data of each kind
DISCRETE = tuple(("dataset=bars_and_stripes", "objective=pseudo_likelihood", f"energy={name}") for name in ("binary_mlp", "rbm"))
MEASURED = ("objective=nce", "energy=mlp", "dataset=eight_gaussians", "dataset.n_train=2000")  # the run of which metrics are computed
HEADS = ("check", "component", "deviation", "tolerance", "steps/s", "CPU steps/s", "MiB", "peak", "seconds", "result")


class Skip(Exception):
    """A check does not apply; the message is the reason."""


N_RESUME = 20  # steps of the check of checkpoints; beyond the last step a model does not change


@dataclass
class Row:
    """A check and its result."""

    check: str
    component: str
    deviation: float | None = None
    tolerance: float | None = None
    rate: float | None = None  # steps per second on the device
    cpu_rate: float | None = None
    mib: float | None = None
    peak_mib: float | None = None
    seconds: float = 0.0
    result: str = "ok"

    @property
    def failed(self) -> bool:
        return self.result.startswith("FAILED")

    def cells(self) -> list[str]:
        numbers = (self.deviation, self.tolerance, self.rate, self.cpu_rate, self.mib, self.peak_mib)
        return [self.check, self.component, *(console.text(number) for number in numbers), f"{self.seconds:.1f}", self.result]


@dataclass
class Checker:
    """The settings of all checks. `words` are added to every config of a training run, `words_of` to that of one option."""

    device: torch.device
    n_steps: int
    words: tuple[str, ...] = ()
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpu_check_")))
    words_of: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def checks(self) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
        """Each check with its component and the function that makes its numbers."""
        pairs = list(self.pairs())
        for objective, energy in pairs:
            words, name = self.line(objective, energy), f"{objective} {energy}"
            yield "training", name, partial(self.training, words, self.n_steps, timed=True)
            yield "stack", name, partial(self.training, (*words, "seeds=3"), self.n_steps // 4)
            yield "resume", name, partial(self.resume, words)
        for objective in dict.fromkeys(objective for objective, _ in pairs):
            energy = dict(reversed(pairs))[objective]
            words = (*self.line(objective, energy), "trainer.compile=true")
            yield "compiled", f"{objective} {energy}", partial(self.training, words, self.n_steps, timed=True)
        for group in ("regularizer", "optimizer", "reference"):
            for name in options(group):
                choice = f"{group}=[{name}]" if group == "regularizer" else f"{group}={name}"
                words = ("objective=nce", "energy=mlp", choice, *self.words_of.get(name, ()))
                yield group, name, partial(self.training, words, self.n_steps // 4)
        for group, check in {"dataset": self.dataset, "sampler": self.sampler, "metric": self.metric}.items():
            for name in options(group):
                yield group, name, partial(check, name)
        for name, node in options("energy").items():
            if compatibility.analytic(node):
                yield "energy", name, partial(self.energy, name)
        yield "draws", "Rng", self.draws
        yield "sweep", "two jobs at once", self.sweep

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every objective with an energy that it can train, and every other trainable energy with an objective that trains it."""
        energies = first(ENERGIES, [name for name, node in options("energy").items() if compatibility.trainable(node)])
        objectives = first(OBJECTIVES, options("objective"))
        found = [next((objective, energy) for energy in energies if fits(objective, energy)) for objective in objectives]
        others = [energy for energy in energies if energy not in {energy for _, energy in found}]
        return iter(found + [next((objective, energy) for objective in objectives if fits(objective, energy)) for energy in others])

    def line(self, objective: str, energy: str) -> tuple[str, ...]:
        """The words of a line that trains an energy."""
        return *self.words_of_data(data_of(objective, energy)), f"objective={objective}", f"energy={energy}"

    def words_of_data(self, name: str) -> list[str]:
        """The words that choose a dataset. A table is written for those that need one: of numbers, or of two columns of bits."""
        if options("dataset")[name].get("path") != "???":
            return [f"dataset={name}"]
        n, m = (7, 11) if name == "table" else (2, 2)
        path = self.folder / f"{name}.csv"
        path.write_text("a,b\n" + "".join(f"{i % n},{i * i // (1 if name == 'table' else 3) % m}\n" for i in range(200)))
        return [f"dataset={name}", f"dataset.path='{path}'"]

    def experiment(self, words: Sequence[str], device: torch.device | str) -> Experiment:
        """The experiment of a config on a device."""
        line = with_words(["metric=[]", f"trainer.n_steps={max(self.n_steps, N_RESUME)}", "device=cpu", *self.words], words)
        experiment = Experiment.of(compose.compose(line))
        return Experiment(experiment.config, experiment.dataset, torch.device(device), experiment.run)

    def trainer(self, words: Sequence[str], device: torch.device | str) -> Trainer:
        return self.experiment(words, device).trainer()

    def training(self, words: Sequence[str], n_steps: int, *, timed: bool = False) -> dict[str, Any]:
        """Training steps on both devices, each from the state of the CPU; steps in which the CPU must not wait; and speeds."""
        if "trainer.compile=true" in words and not hasattr(torch._dynamo.config, "trace_autograd_ops"):
            raise Skip(f"torch {torch.__version__} cannot trace gradients")
        eager = [word for word in words if word != "trainer.compile=true"]
        try:
            with copied_draws():
                cpu, other = self.trainer(eager, "cpu"), self.trainer(words, self.device)
                found = deviations(cpu, other, max(n_steps, 1))
        except InputError as error:
            raise Skip(str(error)) from None
        with no_waiting(self.device):
            for _ in range(3):
                other.step()
        numbers = {"deviation": torch.tensor(found).quantile(0.95).item(), "tolerance": TRAINING}
        if timed:
            n = min(50, n_steps)
            numbers |= {"rate": rate(other, n), "cpu_rate": rate(cpu, n)}
        return numbers

    def resume(self, words: Sequence[str]) -> dict[str, Any]:
        """N_RESUME steps, and half of them before and half after a checkpoint, on the device."""
        whole, before, after = (self.trainer(words, self.device) for _ in range(3))
        for trainer, n in ((whole, N_RESUME), (before, N_RESUME // 2)):
            for _ in range(n):
                trainer.step()
        checkpoint.load(checkpoint.save(self.folder / "checkpoints", before), after)
        for _ in range(N_RESUME // 2):
            after.step()
        return {"deviation": (whole.state.theta - after.state.theta).abs().max().item(), "tolerance": 0.0}

    def trained(self, words: Sequence[str]) -> tuple[Trainer, Trainer]:
        """A trainer on each device in the same state, after a quarter of the steps."""
        cpu, other = self.trainer(words, "cpu"), self.trainer(words, self.device)
        for _ in range(max(self.n_steps // 4, 1)):
            cpu.step()
        give(cpu, other)
        return cpu, other

    def dataset(self, name: str) -> dict[str, Any]:
        """Batches, splits and log-densities."""
        pairs = ((objective, energy) for objective in OBJECTIVES for energy in OF_DATA if fits(objective, energy, [name]))
        objective, energy = next(pairs)  # the line of a dataset must be possible
        words = [*self.words_of_data(name), f"objective={objective}", f"energy={energy}"]
        if "n_train" in options("dataset")[name]:
            words += ["dataset.n_train=200"]
        data, pairs = self.experiment(words, "cpu").dataset, []
        with copied_draws():
            for device in ("cpu", self.device):
                rng = Rng((0, 1), device)
                batches = [data.batch(3, 64, rng), *(data.split(part, 64, rng) for part in ("train", "validation", "test"))]
                values = [part for batch in batches for part in batch if part is not None]
                if any(value.device.type != torch.device(device).type for value in values):
                    raise RuntimeError(f"events are not on {device}")
                values += [data.log_prob(batch.x) for batch in batches if "density" in data.provides]
                values += [data.mode(batch.x) for batch in batches if getattr(data, "n_modes", None)]
                pairs.append(values)
        return {"deviation": max(itertools.starmap(apart, zip(*pairs, strict=True))), "tolerance": VALUES}

    def energy(self, name: str) -> dict[str, Any]:
        """An analytic energy and its score at points near its mass, and samples drawn on the device."""
        config = compose.compose([f"energy={name}"]).config
        if "runs" in config["energy"]:
            raise Skip("it needs runs: see sweep")
        energies = [schema.build(config["energy"], at="energy") for _ in range(2)]
        cpu, other = map(TrainedModel.of_target, energies, (0, 0), (torch.device("cpu"), self.device))
        x = cpu.reference.draw(500, cpu.rng)
        found = []
        for trained in (cpu, other):
            here = x.to(trained.fit["mean"])
            found.append([trained.model.energy(trained.params, here), trained.model.score(trained.params, here)])
        self.draw(other, schema.build(config["sampler"]))
        return {"deviation": max(itertools.starmap(apart, zip(*found, strict=True))), "tolerance": VALUES}

    def sampler(self, name: str) -> dict[str, Any]:
        """Transitions on both devices, each from the state of the CPU, and samples drawn on the device."""
        kernel = schema.build(options("sampler")[name])
        for words in (("objective=nce", "energy=mlp"), ("objective=dsm_multi", "energy=noise_mlp"), *DISCRETE):
            with copied_draws():
                cpu, other = (TrainedModel.of(trainer) for trainer in self.trained(words))
            if kernel.requires <= cpu.provides:
                break
        else:
            raise Skip(f"it needs {', '.join(sorted(kernel.requires))}")
        state = kernel.init(cpu.model, cpu.params, cpu.reference.draw(256, cpu.rng))
        missed, n = 0.0, max(self.n_steps // 4, 1)
        for step in range(n):
            noise = tuple(part.squeeze(0) for part in kernel.noise(cpu.rng.at(step), state, 1))
            there = type(state)(*(part.to(self.device) for part in state)), tuple(part.to(self.device) for part in noise)
            state, _ = kernel.step(cpu.model, cpu.params, state, noise)
            found, _ = kernel.step(other.model, other.params, *there)
            distance = (found.x.cpu() - state.x).abs() / state.x.abs().clamp(min=1)
            missed += (distance.flatten(1).amax(-1) > ELSEWHERE).double().mean().item()
        self.draw(other, kernel)
        return {"deviation": missed / n, "tolerance": SAMPLING}

    def draw(self, trained: TrainedModel, kernel: Any) -> None:
        """Draw samples on the device, with its own random numbers. They must be finite."""
        samples, _ = trained.draw(kernel, Draws(64, 32, 20))
        if not samples.isfinite().all():
            raise ArithmeticError("samples are not finite")

    def metric(self, name: str) -> dict[str, Any]:
        """The numbers of a metric for the same model and samples. A reason instead of a number must be given on both devices."""
        with copied_draws():
            cpu, other = self.trained(MEASURED)
            (metric,) = self.experiment([*MEASURED, f"metric=[{name}]"], "cpu").metrics().values()
            x = cpu.dataset.split("test", 2000, cpu.rng).x.unflatten(0, (100, 20))
            numbers, found = (
                evaluate.evaluate_models(TrainedModel.of(own), own.dataset, {name: metric}, x.to(own.state.theta), final=True)[0]
                for own in (cpu, other)
            )
        ratios, tolerance = [0.0], CHAINS if hasattr(metric, "sampler") else MEASURES
        for key, value in numbers.items():
            if isinstance(value, str) or isinstance(found[key], str):
                if isinstance(value, str) != isinstance(found[key], str):
                    raise ArithmeticError(f"{key} is {found[key]} and on the CPU {value}")
                continue
            allowed = max(TESTS, tolerance) if key in metric.unaveraged else tolerance
            ratios.append(abs(found[key] - value) / max(1.0, abs(value)) * tolerance / allowed)
        return {"deviation": max(ratios), "tolerance": tolerance}

    def draws(self) -> dict[str, Any]:
        """The rows of a stack's draws are those of the single runs, and a draw is repeatable."""
        stack, difference = Rng((5, 6), self.device), 0.0
        for ask in (
            lambda rng: rng.normal("a", 1001, 3),
            lambda rng: rng.uniform("a", 1001, 3),
            lambda rng: rng.integers("a", 17, 1001),
            lambda rng: rng.permutation("a", 1001),
        ):
            alone = [ask(Rng(seed, self.device)) for seed in stack.seeds]
            difference = max(difference, (ask(stack) - torch.stack(alone)).abs().max().item())
            if torch.equal(*alone):
                raise ArithmeticError("two seeds have the same draws")
        return {"deviation": difference, "tolerance": 0.0}

    def sweep(self) -> dict[str, Any]:
        """A sweep with two jobs at once on the device, then every command that takes a device, and a run loaded in Python."""
        places = ["hydra.launcher.gpus=0", "hydra.launcher.cpu_jobs=2"]
        if self.device.type == "cuda":
            places = ["hydra.launcher.gpus=1", "hydra.launcher.jobs_per_gpu=2"]
        device, few = f"device={self.device.type}", ["n_samples=64", "n_chains=32", "n_steps=20"]
        small = [f"trainer.n_steps={self.n_steps}", "figure=[]", "metric=[]", *(f"draws.{word}" for word in few)]
        self.ebm("train", "-m", "objective=nce", "energy=mlp", "seed=0,1", *places, device, *small)
        state = json.loads(next(self.folder.glob("outputs/sweeps/*/sweep.json")).read_text())
        if [run["state"] for run in state["runs"]] != ["finished", "finished"]:
            raise RuntimeError(f"the jobs ended as {[run['state'] for run in state['runs']]}")
        run = Path(state["runs"][0]["path"])
        on = json.loads((run / "environment.json").read_text())["device"]
        if torch.device(on).type != self.device.type:
            raise RuntimeError(f"a job ran on {on}")
        (self.folder / "points.csv").write_text("".join(f"{i / 10},{-i / 7}\n" for i in range(20)))
        self.ebm("evaluate", str(run), "metric=[quadrature]", device)
        self.ebm("sample", str(run), device, *few)
        self.ebm("sample", "energy=compose", f"energy.runs=['{run}']", "energy.how=tempering", "figure=[]", device, *few)
        self.ebm("score", str(run), f"data={self.folder / 'points.csv'}", "header=false", device)
        x = torch.linspace(-2, 2, 40).view(20, 2)
        cpu, other = (load_run(run, device=name) for name in ("cpu", self.device.type))
        if not other.score(x).isfinite().all() or len(other.sample(8, "n_chains=4", "n_steps=4")) != 8:
            raise ArithmeticError("a loaded run has no scores or samples")
        if not torch.equal(*other.energy(torch.cat([x, x])).chunk(2)):
            raise ArithmeticError("equal rows have different energies")
        return {"deviation": apart(cpu.energy(x), other.energy(x)), "tolerance": DOUBLE}

    def ebm(self, *words: str) -> None:
        """Run a command of this checkout. An error is raised with its output if it fails."""
        path = os.pathsep.join([*PATHS, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"EBM_OUTPUTS": str(self.folder / "outputs"), "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-m", "ebm_cli", *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ebm {words[0]} ended with {done.returncode}: {done.stderr.strip()}")


def options(group: str) -> dict[str, Any]:
    """The node of every option of a group, read from its file."""
    return {name: option_files.node_of(found.path) for name, found in option_files.groups()[group].items()}


def first(names: Sequence[str], others: Any) -> list[str]:
    """All `others`, beginning with `names`."""
    return [*names, *(name for name in others if name not in names)]


def fits(objective: str, energy: str, datasets: Sequence[str] = DATASETS) -> bool:
    """Whether an objective can train an energy on one of the datasets, and uses its noise levels if it has any."""
    return data_of(objective, energy, datasets) is not None


def data_of(objective: str, energy: str, datasets: Sequence[str] = DATASETS) -> str | None:
    """The first of the datasets on which an objective can train an energy."""
    for dataset in datasets:
        chosen = {"objective": objective, "energy": energy, "dataset": dataset}
        nodes = {group: options(group)[name] for group, name in chosen.items()}
        needs = compatibility.requires(nodes["objective"], "objective") | compatibility.requires(nodes["energy"], "energy")
        provides = compatibility.provides(nodes)
        if needs <= provides and ("noise_level" in needs) == ("noise_level" in provides):
            return dataset
    return None


def with_words(line: Sequence[str], words: Sequence[str]) -> list[str]:
    """A line with additional words, which replace words of the line that set the same key."""
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in line if word.partition("=")[0] not in given), *words]


@contextmanager
def copied_draws() -> Iterator[None]:
    """Within the context all random numbers are those of the CPU, copied to the device that asks for them."""
    plain = Rng._fill

    def fill(self: Rng, *arguments: Any) -> Tensor:
        return plain(Rng(self.seeds, _path=self.path), *arguments).to(self.generator.device)

    with patch.object(Rng, "_fill", fill):
        yield


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Within the context torch raises an error if the CPU waits for the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def give(source: Trainer, target: Trainer) -> None:
    """Copy the state of a trainer, with its buffers, into a trainer of the same config on another device."""
    a, b = source.state, target.state
    for here, there in ((a.theta, b.theta), (a.ema, b.ema)):
        views = target.named(there)
        for name, value in source.named(here).items():
            views[name].copy_(value)
    device = b.theta.device
    b.optimizer, b.carry = ({name: value.to(device, copy=True) for name, value in part.items()} for part in (a.optimizer, a.carry))
    b.alive, b.n_good, b.loss_sum = (value.to(device, copy=True) for value in (a.alive, a.n_good, a.loss_sum))
    b.n_summed, b.step = a.n_summed, a.step


def deviations(cpu: Trainer, other: Trainer, n_steps: int) -> list[float]:
    """The deviation of each step."""
    found = []
    for _ in range(n_steps):
        give(cpu, other)
        before = cpu.state.theta.clone()
        for trainer in (cpu, other):
            trainer.step()
        (loss, norm), (loss2, norm2) = (
            [torch.tensor(row[key], dtype=torch.double) for key in ("loss", "grad_norm")] for row in (cpu.read(), other.read())
        )
        moved, moved2 = cpu.state.theta - before, other.state.theta.cpu() - before
        update = (moved2 - moved).abs().sum() / moved.abs().sum().clamp(min=1e-30)
        parts = [apart(loss, loss2), ((norm2 - norm).abs() / norm.clamp(min=1e-30)).max().item(), update.item()]
        found.append(max(part if part == part else float("inf") for part in parts))  # a NaN compares as false
    return found


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to max(1, |a|). Entries that are infinite must be equal."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    difference = torch.where(a == b, 0.0, (a - b).abs() / a.abs().clamp(min=1))
    return difference.nan_to_num(nan=torch.inf).max().item() if len(difference.flatten()) else 0.0


def rate(trainer: Trainer, n: int) -> float:
    """Steps per second over n steps. `read` waits for the device."""
    trainer.step()
    trainer.read()
    start = time.perf_counter()
    for _ in range(n):
        trainer.step()
    trainer.read()
    return n / (time.perf_counter() - start)


def perform(row: Row, function: Callable[[], dict[str, Any]], device: torch.device) -> None:
    """Run a check and complete its row."""
    gpu, start = device.type == "cuda", time.perf_counter()
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        for name, value in function().items():
            setattr(row, name, value)
        if not row.deviation <= row.tolerance:
            row.result = "FAILED"
    except Skip as skip:
        row.result = f"skipped: {skip}"
    except Exception as error:
        traceback.print_exc()
        row.result = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    row.seconds = time.perf_counter() - start
    if gpu:
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()
        row.mib, row.peak_mib = (n / 2**20 for n in (torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)))
        if row.mib > LEAK and not row.failed:
            row.result = f"FAILED: more than {LEAK:.0f} MiB remain allocated"


def check(checker: Checker, only: Sequence[str], skip: Sequence[str], save: Callable[[list[Row]], None]) -> list[Row]:
    """Perform the selected checks. Each row is shown on standard error and saved when it is complete."""
    rows: list[Row] = []
    for name, component, function in checker.checks():
        label = f"{name} {component}".split()
        if (only and not set(only) & set(label)) or set(skip) & set(label):
            continue
        rows.append(Row(name, component))
        perform(rows[-1], function, checker.device)
        print("  ".join(rows[-1].cells()), file=sys.stderr, flush=True)
        save(rows)
    return rows


def main(argv: Sequence[str] | None = None, words: tuple[str, ...] = ()) -> int:
    """`words` are added to every config."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--steps", type=int, default=200)
    arguments.add_argument("--only", nargs="+", default=(), metavar="WORD")
    arguments.add_argument("--skip", nargs="+", default=(), metavar="WORD")
    arguments.add_argument("--json", type=Path, default=ROOT / "outputs" / "gpu_check.json", metavar="FILE")
    given = arguments.parse_args(argv)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"gpu_check: torch {torch.__version__} sees no GPU; nothing was checked")
        return 0
    facts: Mapping[str, Any] = provenance.facts(device) | {"n_steps": given.steps}

    def save(rows: list[Row]) -> None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(facts | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n")

    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        rows = check(Checker(device, given.steps, words, Path(folder)), given.only, given.skip, save)
    commit = facts["git"].get("commit", "unknown")[:10] + ("+" if facts["git"].get("dirty") else "")
    print(f"{facts['device_name']}, torch {torch.__version__}, commit {commit}")
    console.table(HEADS, [row.cells() for row in rows], right=HEADS[2:-1])
    n_failed, n_skipped = sum(row.failed for row in rows), sum(row.result.startswith("skipped") for row in rows)
    print(f"{len(rows)} checks: {len(rows) - n_failed - n_skipped} passed, {n_skipped} skipped, {n_failed} failed; {given.json}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
