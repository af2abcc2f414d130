"""Measures the cost of a training step against a hand-written PyTorch loop of the same method.

    python scripts/bench_step.py [--rounds 15] [--compiled]

Both draw fresh moons, include the tilt, clip the gradient, average the parameters and follow the cosine schedule. They run in one process
on one thread, in alternating turns of a few steps, and the script prints the median ratio over turns. It also prints the cost of the parts
of a step, and the cost per model of a stack of eight seeds against a single model.
"""

import argparse
import math
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import softplus

from ebm_cli.config import compose
from ebm_cli.runner.experiment import Experiment

BATCH, N_STEPS, HIDDEN, N_TRANSITIONS = 256, 6000, 64, 15


class Energy(nn.Module):
    """A plain implementation of the energy: two hidden layers on standardized inputs, and the tilt."""

    def __init__(self, mean, scale):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x):
        u = (x - self.mean) / self.scale
        return self.net(u).squeeze(-1) + 0.5 * (u * u).sum(-1)


def moons(n):
    """Fresh draws from moons."""
    angle = torch.rand(n) * 2 * math.pi
    side = torch.where(angle < math.pi, -0.25, 0.25)
    return torch.stack([angle.cos() + 2 * side, angle.sin() + side], -1) + 0.1 * torch.randn(n, 2)


class Loop:
    """The hand-written training loop of an objective."""

    def __init__(self, objective, compiled):
        data = moons(10_000)
        self.energy = Energy(data.mean(0), data.std(0))
        self.log_z = nn.Parameter(torch.zeros(()))
        self.noise = torch.distributions.MultivariateNormal(data.mean(0), data.T.cov())
        self.buffer = data.mean(0) + data.std(0) * torch.randn(8192, 2)
        self.start = (data.mean(0), data.std(0))
        self.parameters = [*self.energy.parameters(), *([self.log_z] if objective == "nce" else [])]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=5e-3, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, N_STEPS)
        self.draw = getattr(self, f"draw_{objective}")
        self.loss = getattr(self, f"loss_{objective}")
        if compiled:
            self.loss = torch.compile(self.loss)
            self.mala_step = torch.compile(self.mala_step)

    def step(self):
        x = moons(BATCH)
        loss = self.loss(x, *self.draw(x))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()
        self.schedule.step()
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 0.001)

    def draw_ssm(self, x):
        return (torch.randn_like(x).sign(),)

    def loss_ssm(self, x, v):
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        score = -gradient
        (vjp,) = torch.autograd.grad(score, x, v, create_graph=True)
        return ((vjp * v).sum(-1) + 0.5 * (score * score).sum(-1)).mean()

    def draw_nce(self, x):
        noise = self.noise.sample((4 * len(x),))
        points = torch.cat([x, noise])
        return points, self.noise.log_prob(points) + math.log(4)

    def loss_nce(self, x, points, offset):
        h = -self.energy(points) - self.log_z - offset
        return (softplus(-h[:BATCH]) + softplus(h[BATCH:]).view(BATCH, 4).sum(-1)).mean()

    def draw_pcd(self, x):
        slots = torch.randperm(len(self.buffer))[: len(x)]
        mean, std = self.start
        y = torch.where(torch.rand(len(x), 1) < 0.01, mean + std * torch.randn_like(x), self.buffer[slots])
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        energy, gradient = self.energy_and_gradient(y)
        for _ in range(N_TRANSITIONS):
            y, energy, gradient = self.mala_step(y, energy, gradient, torch.randn_like(y), torch.rand(len(y)).log())
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.buffer[slots] = y
        return (y,)

    def energy_and_gradient(self, y):
        y = y.detach().requires_grad_()
        energy = self.energy(y)
        return energy.detach(), torch.autograd.grad(energy.sum(), y)[0]

    def mala_step(self, y, energy, gradient, z, log_uniform, eps=0.01):
        proposal = y - eps * gradient + math.sqrt(2 * eps) * z
        new_energy, new_gradient = self.energy_and_gradient(proposal)
        forward = -(z * z).sum(-1) / 2
        backward = -((y - proposal + eps * new_gradient) ** 2).sum(-1) / (4 * eps)
        accept = log_uniform < energy - new_energy + backward - forward
        move = accept.unsqueeze(-1)
        return torch.where(move, proposal, y), torch.where(accept, new_energy, energy), torch.where(move, new_gradient, gradient)

    def loss_pcd(self, x, y):
        positive, negative = self.energy(torch.cat([x, y])).chunk(2)
        return (positive - negative + 0.001 * (positive * positive + negative * negative)).mean()


def ours(objective, compiled, *words):
    sizes = [
        f"trainer.batch_size={BATCH}",
        f"trainer.n_steps={N_STEPS}",
        "energy=mlp",
        f"energy.hidden=[{HIDDEN},{HIDDEN}]",
        "optimizer.lr=0.005",
    ]
    sizes += [f"objective.n_steps={N_TRANSITIONS}", "objective.n_chains=8192"] if objective == "pcd" else []
    line = ["dataset=moons", f"objective={objective}", "device=cpu", f"trainer.compile={str(compiled).lower()}", *sizes, *words]
    return Experiment.of(compose.compose(line)).trainer()


def seconds(step, n):
    start = time.perf_counter()
    for _ in range(n):
        step()
    return (time.perf_counter() - start) / n


def compare(a, b, rounds, n):
    """Median seconds of a step of each and their median ratio, measured in alternating turns."""
    for step in (a, b):
        seconds(step, 3)
    pairs = [(seconds(a, n), seconds(b, n)) for _ in range(rounds)]
    return statistics.median(x for x, _ in pairs), statistics.median(y for _, y in pairs), statistics.median(x / y for x, y in pairs)


def parts(trainer, n):
    """Milliseconds of the parts of a step."""
    rng, state = trainer.rng.at("bench"), trainer.state
    x = trainer.dataset.batch(0, BATCH, trainer.rng).x
    aux, _, _ = trainer.objective.prepare(trainer.model, trainer.frozen, state.carry, x, rng)
    loss, gradient, _ = trainer.value_and_gradient(trainer.params, x, aux)
    norm = gradient.norm(dim=-1)
    found = {
        "data": lambda: trainer.dataset.batch(0, BATCH, trainer.rng).x,
        "prepare": lambda: trainer.objective.prepare(trainer.model, trainer.frozen, state.carry, x, rng),
        "loss and gradient": lambda: trainer.value_and_gradient(trainer.params, x, aux),
        "update": lambda: trainer._update(loss, gradient, norm),
    }
    return {name: statistics.median(seconds(part, n) for _ in range(7)) * 1e3 for name, part in found.items()}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--compiled", action="store_true", help="also compare with torch.compile on both sides (minutes of compilation)")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch._dynamo.config.trace_autograd_ops = True
    print(f"torch {torch.__version__}, one thread, batch {BATCH}, hidden {HIDDEN}-{HIDDEN}; medians of {options.rounds} rounds")
    print(f"{'objective':10} {'mode':9} {'ebm ms':>8} {'by hand ms':>11} {'ratio':>7}   parts of a step of ebm, in ms")
    for compiled in (False, True) if options.compiled else (False,):
        for objective, n in (("ssm", 40), ("nce", 40), ("pcd", 4)):
            trainer, loop = ours(objective, compiled), Loop(objective, compiled)
            a, b, ratio = compare(trainer.step, loop.step, options.rounds, n)
            where = "  ".join(f"{name} {value:.2f}" for name, value in parts(trainer, n).items())
            mode = "compiled" if compiled else "eager"
            print(f"{objective:10} {mode:9} {a * 1e3:8.2f} {b * 1e3:11.2f} {ratio:7.3f}   {where}", flush=True)
    print(f"\n{'objective':10} {'seeds=8, ms per model':>22} {'single ms':>10} {'ratio':>7}")
    for objective, n in (("ssm", 8), ("nce", 8), ("pcd", 1)):
        stack, single = ours(objective, False, "seeds=8"), ours(objective, False)
        a, b, ratio = compare(stack.step, single.step, options.rounds, n)
        print(f"{objective:10} {a * 1e3 / 8:22.2f} {b * 1e3:10.2f} {ratio / 8:7.3f}", flush=True)


if __name__ == "__main__":
    main()
