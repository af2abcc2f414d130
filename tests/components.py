"""Custom components for the tests of the contracts: one of each kind, and a dataset for each space of events.

Their options are the files of tests/options. A command uses them with `--config-dir tests/options` and EBM_ALLOW=components.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from ebm_cli.core.contracts import Energy, Reference, Sampler
from ebm_cli.core.densities import Density
from ebm_cli.core.discrete_density import DiscreteDensity
from ebm_cli.core.figure import Figure, Scene
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, constant
from ebm_cli.core.rng import Rng
from ebm_cli.energies.network import EnergyNetwork, Positivity
from ebm_cli.types import Batch, Count, Info, NonNegative, Params, Share, Space, SplitName

OPTIONS = Path(__file__).parent / "options"
ALLOWED = "components"
SPACES = {  # the options of each space by group, where they differ from the defaults; the test chooses the energy of a real space
    "real": {"dataset": "moons"},
    "image": {"dataset": "gaussian_images", "energy": "convolution"},
    "binary": {"dataset": "chain_of_bits", "energy": "couplings", "reference": "bernoulli", "sampler": "gibbs"},
    "labelled": {"dataset": "two_classes", "energy": "class_centres"},
}


@dataclass(frozen=True)
class ChainOfBits(DiscreteDensity):
    """A Markov chain of `n_bits` bits. The first bit is fair; each other bit differs from the previous bit with probability `flip`."""

    n_bits: Count
    flip: Share

    @property
    def space(self) -> Space:
        return Space((self.n_bits,), "binary")

    def draw(self, n: int, rng: Rng) -> Tensor:
        u = rng.uniform("flips", n, self.n_bits)
        flips = torch.cat([u[..., :1] < 0.5, u[..., 1:] < self.flip], -1)
        return (flips.cumsum(-1) % 2).to(u)

    def log_prob(self, x: Tensor) -> Tensor:
        flips = (x[..., 1:] - x[..., :-1]).abs().sum(-1).double()
        return -math.log(2) + flips * math.log(self.flip) + (self.n_bits - 1 - flips) * math.log1p(-self.flip)


@dataclass(frozen=True)
class GaussianImages(Density):
    """Images of 1 x 8 x 8 pixels: a horizontal ramp plus Gaussian noise of unit variance.

    The noise of the pixels (i, j) and (k, l) has the correlation `correlation`^(|i - k| + |j - l|).
    """

    correlation: Share

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, 8, 8

    @property
    def box(self) -> list[tuple[float, float]]:
        return [(m - 6.5, m + 6.5) for m in self.mean.flatten().tolist()]

    @property
    def length_scale(self) -> float:
        return torch.linalg.eigvalsh(self._covariance)[0].item()  # its square is the smallest eigenvalue for all pixels

    def draw(self, n: int, rng: Rng) -> Tensor:
        z = rng.normal("pixels", n, *self.shape)
        mean, factor = (constant(values, z) for values in self._numbers)
        return mean + factor @ z @ factor.mT

    def log_prob(self, x: Tensor) -> Tensor:
        covariance = torch.kron(self._covariance, self._covariance)
        distribution = MultivariateNormal(self.mean.flatten().to(x.device), covariance.to(x.device))
        return distribution.log_prob(x.flatten(-3).double())

    @cached_property
    def mean(self) -> Tensor:
        return torch.linspace(-1, 1, 8, dtype=torch.double).expand(self.shape).contiguous()

    @cached_property
    def _numbers(self) -> tuple[list, list]:
        """The mean, and the Cholesky factor of the covariance of a row."""
        return self.mean.tolist(), torch.linalg.cholesky(self._covariance).tolist()

    @cached_property
    def _covariance(self) -> Tensor:
        """The covariance of a row of pixels, which is also that of a column."""
        place = torch.arange(8, dtype=torch.double)
        return self.correlation ** (place.unsqueeze(-1) - place).abs()


@dataclass(frozen=True)
class TwoClasses(Density):
    """Labelled events in the plane, with label probabilities p(y) = weight_y and p(x | y) = N(centre_y, std_y^2 I)."""

    provides: ClassVar[frozenset[str]] = frozenset({"real", "density", "labels"})
    centre: ClassVar[tuple[tuple[float, float], ...]] = ((-2.0, 0.0), (2.0, 1.0))
    std: ClassVar[tuple[float, float]] = (0.5, 1.0)
    weight: ClassVar[tuple[float, float]] = (0.25, 0.75)
    shape: ClassVar[tuple[int]] = (2,)
    box: ClassVar[tuple[tuple[float, float], ...]] = ((-6.0, 9.0), (-6.0, 8.0))
    length_scale: ClassVar[float] = 0.5

    def batch(self, step: int, n: int, rng: Rng) -> Batch:
        return self.labelled(n, rng.at("data").at(step))

    def split(self, name: SplitName, n: int, rng: Rng) -> Batch:
        return self.labelled(n, rng.at("split").at(name))

    def labelled(self, n: int, rng: Rng) -> Batch:
        z, y = rng.normal("noise", n, 2), (rng.uniform("label", n) > self.weight[0]).long()
        return Batch(constant(self.centre, z)[y] + constant(self.std, z)[y].unsqueeze(-1) * z, y)

    def draw(self, n: int, rng: Rng) -> Tensor:
        return self.labelled(n, rng).x

    def log_prob(self, x: Tensor) -> Tensor:
        joint = []
        for centre, std, weight in zip(self.centre, self.std, self.weight, strict=True):
            squared = (x.double() - torch.tensor(centre, dtype=torch.double, device=x.device)).square().sum(-1)
            joint.append(math.log(weight) - squared / (2 * std**2) - 2 * math.log(std) - math.log(2 * math.pi))
        return torch.logsumexp(torch.stack(joint), 0)


class Convolution(EnergyNetwork):
    """Two convolutions and a linear layer, x (B, c, h, w) -> E(x) (B,), tilted like every network."""

    def __init__(
        self,
        shape: Sequence[int],
        mean: Tensor,
        scale: Tensor,
        reference: FittedReference,
        *,
        channels: Count,
        positive: Positivity,
        tilt: NonNegative,
    ) -> None:
        super().__init__(shape, mean, scale, reference, positive=positive, tilt=tilt)
        height, width = ((n + 1) // 2 for n in shape[1:])
        layers = [nn.Conv2d(shape[0], channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, 1))
        self.start()

    def shaped(self, u: Tensor) -> Tensor:
        return u


class Couplings(nn.Module, Energy):
    """A fully visible Boltzmann machine on bits, E(x) = -b'x - sum over i < j of J_ij x_i x_j."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def __init__(self, space: Space) -> None:
        super().__init__()
        n = math.prod(space.shape)
        self.bias, self.coupling = nn.Parameter(torch.zeros(n)), nn.Parameter(0.01 * torch.randn(n, n))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return -flat @ self.bias - ((flat @ self.coupling.triu(1)) * flat).sum(-1)


class ClassCentres(nn.Module, Energy):
    """A Gaussian for each label, E(x, y) = |x - c_y|^2 / (2 s_y^2) + d log s_y. Z = (2 pi)^(d/2) for every label."""

    takes_labels: ClassVar[bool] = True

    def __init__(self, shape: Sequence[int], mean: Tensor, scale: Tensor, *, n_labels: Count) -> None:
        super().__init__()
        self.centre = nn.Parameter(mean + scale * torch.randn(n_labels, *shape))
        self.log_std = nn.Parameter(scale.mean().log().expand(n_labels).clone())

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        away, log_std = (x - self.centre[label]).flatten(1), self.log_std[label]
        return 0.5 * (-2 * log_std).exp() * away.square().sum(-1) + away.shape[-1] * log_std


class State(NamedTuple):
    x: Tensor  # (*m, B, *d)


@dataclass(frozen=True)
class Gibbs(Sampler):
    """A transition draws every bit in turn given the other bits. There is no step size. Geman & Geman 1984."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary", "energy"})
    exact: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def init(self, model: Model, params: Params, x: Tensor) -> State:
        return State(x)

    def noise(self, rng: Rng, state: State, n_steps: int) -> tuple[Tensor]:
        return (rng.uniform("bits", n_steps, *state.x.shape[len(rng.model_shape) :]),)

    def step(self, model: Model, params: Params, state: State, noise: tuple[Tensor]) -> tuple[State, Info]:
        x, shape, batch = state.x, state.x.shape[state.x.ndim - model.event_ndim :], -1 - model.event_ndim
        for unit in torch.eye(shape.numel(), dtype=x.dtype, device=x.device).unflatten(-1, shape):
            off = x * (1 - unit)
            energy_off, energy_on = model.energy(params, torch.cat([off, off + unit], batch)).detach().chunk(2, -1)
            on = torch.sigmoid(energy_off - energy_on).reshape(*x.shape[: x.ndim - model.event_ndim], *[1] * model.event_ndim)
            x = off + unit * (noise[0] < on)
        return State(x), {"divergence": torch.zeros(x.shape[: x.ndim - model.event_ndim], dtype=torch.bool, device=x.device)}


@dataclass(frozen=True)
class Rows(Figure):
    """The first samples of bits, with one sample in each row."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def plot(self, scene: Scene) -> Drawing:
        drawing = Drawing()
        drawing.subplots().imshow(scene.samples[:64], cmap="Greys", vmin=0, vmax=1)
        return drawing


@dataclass(frozen=True)
class MeanImage(Figure):
    """The mean of the samples, for events that are images."""

    suffix: ClassVar[str] = ".pdf"

    def lacking(self, scene: Scene) -> str | None:
        return None if len(scene.shape) == 3 else "the events are not images"

    def plot(self, scene: Scene) -> Drawing:
        drawing = Drawing()
        drawing.subplots().imshow(scene.samples.mean(0).reshape(scene.draws.shape[-3:])[0])
        return drawing


@dataclass(frozen=True)
class FairBits(Reference):
    """Independent fair bits. Only their number is taken from the data."""

    requires: ClassVar[frozenset[str]] = frozenset({"binary"})

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        return {"half": torch.full_like(x[..., 0, :], 0.5)}

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        half = params["half"].unsqueeze(-2)
        return (rng.uniform(stream, n, half.shape[-1]) < half).to(half)

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        return params["half"].log().sum(-1, keepdim=True).expand(x.shape[:-1])
