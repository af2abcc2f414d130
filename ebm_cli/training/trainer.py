"""The trainer: its state, and the training step that updates it.

All learned numbers of a model are in one vector `theta` (*m, P), and the parameters that the objective reads are views of it. So clipping,
masking, the optimizer and the moving average take one kernel each, for a single model as for a stack. A step never copies a value to the
host.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ebm_cli.config.settings import TrainerSettings
from ebm_cli.core.chain import Compiled
from ebm_cli.core.contracts import Dataset, Objective, Optimizer, Reference, Regularizer
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.errors import bad
from ebm_cli.training.selection import Selection
from ebm_cli.training.snapshot_buffer import SnapshotBuffer
from ebm_cli.types import Info, Params

N_FIT = 10_000  # the mean and scale of the data, the reference and the initial state of the objective are fitted to at most so many points
N_FIT_FINITE = 50_000  # the same for finite data, except for the state of the objective; a reference that is the model has no limit


@dataclass
class TrainState:
    """The state of training, as a checkpoint stores it."""

    theta: Tensor  # (*m, P)
    ema: Tensor  # (*m, P)
    optimizer: Params  # the optimizer's state for theta
    carry: Params  # the state of the objective
    alive: Tensor  # (*m,), false from the first step at which the loss or gradient of a model is not finite
    n_good: Tensor  # (*m,), the number of steps taken while alive; for a diverged model the index of its first bad step
    loss_sum: Tensor  # (*m,), the sum of the losses since the last `read`
    limit: Tensor  # (*m,), the step after which a model does not change
    selection: Params  # of the selected parameters, (*m,): their number, their step, and the evaluations since then (see selection.py)
    selected: Tensor | None = None  # (*m, P); None if there is no selection
    n_summed: int = 0  # the number of losses in `loss_sum`
    step: int = 0
    info: Info = field(default_factory=dict)  # the infos of the last step; a checkpoint does not store them


class Trainer:
    """Minimizes `objective` plus `regularizers` on `dataset`, for a single seed or for a stack of seeds at once."""

    def __init__(
        self,
        settings: TrainerSettings,
        dataset: Dataset,
        energy: Callable[..., nn.Module],
        reference: Reference,
        objective: Objective,
        regularizers: list[Regularizer],
        optimizer: Optimizer,
        *,
        seeds: int | tuple[int, ...],
        device: torch.device | str = "cpu",
        fits_only: bool = False,
    ) -> None:
        """`fits_only`: the energy has nothing to train, and the fitted reference is the model."""
        self.settings, self.objective, self.optimizer, self.energy = settings, objective, optimizer, energy
        self.fits_only = fits_only
        self.regularizers, self.rng = regularizers, Rng(seeds, device)
        self.first_step = 0  # the step at which the schedule begins; it is positive if the run continues another run
        self.snapshots = SnapshotBuffer(frozenset())  # none; what is kept does not change training
        self.origin = 0  # the step at which the parameters were initialized; it is positive if they are refitted
        self._begin(dataset, lambda x, rng: self._fitted(reference, x, rng))
        if settings.refit and not self.learns:
            self._begin(dataset.joined(), self.reference.refit)
        self.compiled, self.value_and_gradient = objective, self._value_and_gradient
        if settings.compile:
            self._compile()

    def _begin(self, dataset: Dataset, fit: Callable[[Tensor, Rng], FittedReference]) -> None:
        """Fit the reference to the training events by `fit`, and initialize the parameters and the state."""
        settings, objective, device = self.settings, self.objective, self.rng.generator.device
        self.dataset = dataset
        n = N_FIT if dataset.n_train is None else dataset.n_train if self.fits_only else min(dataset.n_train, N_FIT_FINITE)
        m, x = self.rng.model_shape, dataset.split("train", n, self.rng).x
        self.fit = {"mean": x.mean(len(m)), "scale": event_scale(x, len(dataset.shape))}
        self.reference = fit(x, self.rng.at("reference"))
        modules = [self._build(self.energy, k).to(device) for k in range(len(self.rng.seed_list))]
        self.model = Model(modules[0], event_ndim=len(dataset.shape), stacked=bool(m), space=dataset.space)
        leaves = {
            name: torch.stack([tensors(module)[name].detach() for module in modules]).reshape(m + leaf.shape)
            for name, leaf in tensors(modules[0]).items()
        }
        first = x.narrow(len(m), 0, min(N_FIT, x.shape[len(m)]))
        extra, carry = objective.init(self.model, self.reference.named | leaves, first, self.rng.at("objective"))
        self.buffers = self.reference.named | {name: leaves.pop(name) for name, _ in modules[0].named_buffers()}
        self.shapes = {name: leaf.shape[len(m) :] for name, leaf in (leaves | extra).items()}
        theta = torch.cat([x.new_empty(*m, 0), *(leaf.reshape(*m, -1) for leaf in (leaves | extra).values())], -1)
        self.frozen = self.named(theta)  # views of theta, which change with it
        self.params = {name: leaf.detach().requires_grad_(name in self.shapes) for name, leaf in self.frozen.items()}
        alive = torch.ones(m, dtype=torch.bool, device=device)
        n_good, loss_sum = torch.zeros_like(alive, dtype=torch.int64), torch.zeros_like(alive, dtype=theta.dtype)
        self.state = TrainState(theta, theta.clone(), self.optimizer.init(theta), carry, alive, n_good, loss_sum, n_good, {})
        self.selection = None
        if settings.select:
            self.selection = Selection(settings.select, self.model, objective, self.reference, dataset, self.rng)
        if settings.refit and dataset.n_train is None:
            raise bad("trainer.refit: this dataset draws new events at every step, so there is nothing to add", "trainer.refit=false")
        self.begin_selection()

    def _fitted(self, reference: Reference, x: Tensor, rng: Rng) -> FittedReference:
        held_out = self.dataset.split("validation", N_FIT, self.rng).x
        return FittedReference.fit(reference.on(self.dataset.space), x, self.dataset.shape, rng, held_out)

    def begin_selection(self) -> None:
        """Forget which step was selected."""
        state = self.state
        state.limit, state.selection = torch.full_like(state.n_good, self.settings.n_steps), Selection.begin(state.theta)
        state.selected = state.ema.clone() if self.selection else None
        self.last_step = self.settings.n_steps

    def _build(self, energy: Callable[..., nn.Module], model: int) -> nn.Module:
        """The network of one model of the stack, with the mean, scale and reference that are fitted to its data."""
        mean, scale, reference = self.fit["mean"], self.fit["scale"], self.reference
        if self.rng.model_shape:
            mean, scale, reference = mean[model], scale[model], reference.select(model)
        on_cpu = FittedReference(reference.reference, {name: value.cpu() for name, value in reference.params.items()}, reference.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng.integer(self.rng.seed_list[model], "weights"))
            return energy(space=self.dataset.space, shape=self.dataset.shape, mean=mean.cpu(), scale=scale.cpu(), reference=on_cpu)

    def _compile(self) -> None:
        """Compile the loss with its gradient, and the transition of the objective's sampler."""
        if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
            raise bad(f"trainer.compile: torch {torch.__version__} cannot trace gradients", "install torch 2.13 or later")
        torch._dynamo.config.trace_autograd_ops = True
        self.value_and_gradient = torch.compile(self._value_and_gradient, fullgraph=True)
        if hasattr(self.objective, "sampler"):
            self.compiled = replace(self.objective, sampler=Compiled(self.objective.sampler))

    def named(self, theta: Tensor) -> Params:
        """The parameters by name, as views of a vector `state.theta` or `state.ema`, together with the buffers."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(theta.shape[:-1] + shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        } | self.buffers

    def steps(self) -> Iterator[int]:
        """Train to the end, and yield the number of the step after each step."""
        while self.state.step < self.last_step:
            self.step()
            yield self.state.step

    def step(self) -> None:
        """Take a training step, which updates the state in place. No value leaves the device."""
        state, age = self.state, self.state.step - self.origin
        rng = self.rng.at("step").at(age)
        x, label = self.batch(age)
        aux, state.carry, info = self.compiled.prepare(self.model, self.frozen | label, state.carry, x, rng)
        loss, gradient, more = self.value_and_gradient(self.params | label, x, aux)
        norm = torch.linalg.vector_norm(gradient, dim=-1)
        self._update(loss, gradient, norm, age)
        if state.step in self.snapshots.steps:
            self.snapshots.take(state.step, state.ema, self.objective.shown(self.model, x, aux), x.ndim - 1 - self.model.event_ndim)
        state.loss_sum += loss
        state.n_summed += 1
        state.info = {"grad_norm": norm} | info | more

    def batch(self, step: int) -> tuple[Tensor, Params]:
        """The events of a step, and, for a conditional model, their labels as parameters."""
        batch = self.dataset.batch(step, self.settings.batch_size, self.rng)
        return batch.x, {"label": batch.y} if self.model.takes_labels else {}

    def _value_and_gradient(self, params: Params, x: Tensor, aux: Params) -> tuple[Tensor, Tensor, Info]:
        """The mean loss (*m,), its gradient (*m, P), and the infos.

        The loss of a model depends on its own parameters only, so the gradient of the sum over models gives the gradient of each.
        """
        loss, info = self.compiled.loss(self.model, params, x, aux)
        for regularizer in self.regularizers:
            loss = loss + regularizer.penalty(self.model, params, x, aux | info)
        loss = loss.mean(-1)
        leaves = [params[name] for name in self.shapes]
        gradients = torch.autograd.grad(loss.sum(), leaves, allow_unused=True, materialize_grads=True)
        info = {name: value.detach() for name, value in info.items()}
        return loss.detach(), torch.cat([gradient.reshape(*loss.shape, -1) for gradient in gradients], -1), info

    @torch.no_grad()
    def _update(self, loss: Tensor, gradient: Tensor, norm: Tensor, age: int) -> None:
        """Take an optimizer step with clipped gradients. A model whose loss or gradient is not finite is not changed from then on."""
        state, settings = self.state, self.settings
        state.alive &= (norm + loss).isfinite()
        state.n_good += state.alive
        changes = (state.alive & (state.step < state.limit)).unsqueeze(-1)
        if settings.max_grad_norm is not None:
            gradient = gradient * (settings.max_grad_norm / norm).clamp(max=1).unsqueeze(-1)
        before = state.theta.clone()
        lr = self.optimizer.lr_at(age - self.first_step, settings.n_steps - self.first_step)
        self.optimizer.update(state.theta, torch.where(changes, gradient, 0), state.optimizer, step=age, lr=lr)
        state.theta.copy_(torch.where(changes, state.theta, before))
        state.step += 1
        weight = max(1 - settings.ema_decay, 1 / (age + 11)) if settings.ema_decay else 1.0
        state.ema.copy_(torch.where(changes, state.ema.lerp(state.theta, weight), state.ema))

    @torch.no_grad()
    def select(self) -> Tensor:
        """Measure the averaged parameters on the validation events, and select them if they are the best so far.

        Returns the number, (*m,). A model that has used up its patience does not change any more, and the last step is that of the last
        model.
        """
        state, patience = self.state, self.settings.patience
        number, best = self.selection.number(self.named(state.ema), state.carry), state.selection
        running = state.step <= state.limit
        better = running & (number < best["number"])
        state.selected = torch.where(better.unsqueeze(-1), state.ema, state.selected)
        step = torch.full_like(best["step"], state.step)
        misses = torch.where(better, 0, best["misses"] + running)
        chosen = {"number": torch.where(better, number, best["number"]), "step": torch.where(better, step, best["step"])}
        state.selection = chosen | {"misses": misses}
        if patience is not None:
            state.limit = torch.where(running & (misses >= patience), step, state.limit)
            self.last_step = int(state.limit.max())
        return number

    def refit(self, origin: int, selection: Params) -> None:
        """Begin again, on the training and validation events together, for the selected number of steps of each model.

        `origin` is the step at which the selection ended. Models that have diverged stay diverged.
        """
        alive, n_good = self.state.alive, self.state.n_good
        self._begin(self.dataset.joined(), self.reference.refit)
        self.origin, self.first_step, self.selection = origin, 0, None
        self.state.alive, self.state.n_good, self.state.selection, self.state.selected = alive, n_good, selection, None
        self.state.step, self.state.limit = origin, origin + selection["step"]
        self.last_step = int(self.state.limit.max())

    @property
    def learns(self) -> bool:
        """Whether there are parameters to train."""
        return bool(self.shapes)

    @property
    def refitted(self) -> bool:
        """Whether the parameters are those of the refit."""
        return self.origin > 0

    def results(self) -> Params:
        """The parameters that results use: the selected ones, or else the current average."""
        return self.named(self.state.ema if self.state.selected is None else self.state.selected)

    def read(self) -> dict[str, Any]:
        """The mean loss since the last call and the infos of the last step, as Python numbers (for a stack, a list over its models)."""
        state, m = self.state, len(self.rng.model_shape)
        means = {name: value.reshape(*value.shape[:m], -1).float().mean(-1).tolist() for name, value in state.info.items()}
        row = {"step": state.step, "loss": (state.loss_sum / state.n_summed).tolist()} | means
        state.loss_sum.zero_()
        state.n_summed = 0
        return row

    def dead(self) -> dict[int, int]:
        """The seeds whose training has diverged, each with the first step at which its loss or gradient was not finite."""
        alive, n_good = self.state.alive.reshape(-1).tolist(), self.state.n_good.reshape(-1).tolist()
        return {seed: n for seed, ok, n in zip(self.rng.seed_list, alive, n_good, strict=True) if not ok}


class Stopwatch:
    """The seconds spent on training. Evaluation, checkpoints and figures are not counted."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._since = seconds, time.perf_counter()

    def pause(self) -> float:
        """Stop the clock. Returns the seconds so far."""
        self.seconds += time.perf_counter() - self._since
        return self.seconds

    def go_on(self) -> None:
        """Start the clock again."""
        self._since = time.perf_counter()
