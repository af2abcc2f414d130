"""A normalizing flow, fitted by maximum likelihood: neural splines in autoregressive layers. Durkan et al. 2019, arXiv:1906.04032.

    log q(x) = log N(z; 0, I) + log |dz/du| - sum log scale,    z = T(u),    u = (x - mean) / scale

T is a composition of `n_transforms` layers. In a layer, coordinate i is mapped by a monotonic rational-quadratic spline, whose parameters
are the output of a masked network of the coordinates before it (Germain et al. 2015, arXiv:1502.03509). The order of the coordinates is
reversed from layer to layer. Outside [-5, 5] the splines are the identity.

Adam minimizes -log q on minibatches of the training events. The averaged parameters with the greatest likelihood of the validation events
are kept, and the fit ends when it has not grown for `patience` evaluations. A refit on further events takes the same number of steps. zuko
(github.com/probabilists/zuko) implements the layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ebm_cli.core.adam import adam_
from ebm_cli.core.contracts import Reference
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import spread
from ebm_cli.errors import bad
from ebm_cli.types import Count, Params, Positive

EVERY = 50  # steps between evaluations on the validation events
N_HELD_OUT = 2048  # maximum number of validation events
N_BATCH = 256  # events of a minibatch
AVERAGE = 0.02  # weight of a step in the moving average of the parameters
BETAS, EPS, CLIP = (0.9, 0.999), 1e-8, 10.0  # of Adam, and the bound on the gradient norm


@dataclass(frozen=True)
class Flow(Reference):
    """`n_transforms` layers of splines with `n_bins` bins; `hidden` are the widths of their networks; at most `n_steps` of Adam.

    `bound` is the largest |f| of a network that is tilted by it, E = f - log q, in nats.
    """

    n_transforms: Count
    n_bins: Count
    hidden: Sequence[Count]
    lr: Positive
    n_steps: Count
    patience: Count
    bound: Positive | None

    @property
    def bound_of_networks(self) -> float | None:
        return self.bound

    def fit(self, x: Tensor, shape: tuple[int, ...], rng: Rng, held_out: Tensor | None = None) -> Params:
        network = self._network(x.shape[-1])  # refuses a missing package before it asks for events
        if held_out is None or not held_out.shape[-2]:
            raise bad("reference=flow ends its fit on validation events, and there are none", "reference=mixture reference.n_components=8")
        return self._each(network, x, rng, held_out[..., :N_HELD_OUT, :], [self.n_steps] * x[..., 0, 0].numel())

    def refit(self, params: Params, x: Tensor, shape: tuple[int, ...], rng: Rng) -> Params:
        """A new fit, of as many steps as the fit before."""
        return self._each(self._network(x.shape[-1]), x, rng, None, params["n_steps"].reshape(-1).tolist())

    def draw(self, params: Params, n: int, rng: Rng, stream: str) -> Tensor:
        z = rng.normal(stream, n, params["mean"].shape[-1])
        with torch.no_grad():
            u = self._call(params, "draw", z)
        return params["mean"].unsqueeze(-2) + params["scale"].unsqueeze(-2) * u

    def log_prob(self, params: Params, x: Tensor) -> Tensor:
        u = (x - params["mean"].unsqueeze(-2)) / params["scale"].unsqueeze(-2)
        return self._call(params, "log_prob", u) - params["scale"].log().sum(-1, keepdim=True)

    def _each(self, network: "Network", x: Tensor, rng: Rng, held_out: Tensor | None, n_steps: Sequence[int]) -> Params:
        """The tensors of a fit for each model."""
        mean, scale = x.mean(-2), spread(x, -2)
        u, v = (None if part is None else (part - mean.unsqueeze(-2)) / scale.unsqueeze(-2) for part in (x, held_out))
        if not rng.model_shape:
            return {"mean": mean, "scale": scale} | self._fit(network, u, v, rng, n_steps[0])
        fits = [self._fit(network, u[m], None if v is None else v[m], rng.of(m), n) for m, n in enumerate(n_steps)]
        return {"mean": mean, "scale": scale} | {name: torch.stack([fit[name] for fit in fits]) for name in fits[0]}

    def _fit(self, network: "Network", u: Tensor, held_out: Tensor | None, rng: Rng, n_steps: int) -> Params:
        """Maximum likelihood on u, (N, d), for `n_steps`, or until the likelihood of the points `held_out` does not grow."""
        fixed, weights = self._start(network, rng, u)
        average = {name: value.clone() for name, value in weights.items()}
        best, best_nll, at, misses = average, math.inf, n_steps, 0
        m, v = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2))
        n_batch = min(N_BATCH, len(u))
        per_epoch = len(u) // n_batch
        for step in range(n_steps + 1):
            if held_out is not None and step % EVERY == 0:
                with torch.no_grad():
                    nll = -_call(network, fixed | average, "log_prob", held_out).double().mean().item()
                misses = 0 if nll < best_nll else misses + 1
                if misses == 0:
                    best, best_nll, at = {name: value.clone() for name, value in average.items()}, nll, step
                if misses >= self.patience or not math.isfinite(nll):
                    break
            if step == n_steps:
                break
            epoch, position = divmod(step, per_epoch)
            if position == 0:
                order = rng.at("epoch").permutation(str(epoch), len(u))
            batch = u[order[position * n_batch : (position + 1) * n_batch]]
            self._step(network, fixed, weights, batch, m, v, step)
            for name, value in weights.items():
                average[name].lerp_(value, max(AVERAGE, 1 / (step + 2)))
        kept = average if held_out is None else best
        return _stored(fixed | kept) | {"n_steps": torch.tensor(at, device=u.device)}

    def _step(self, network: "Network", fixed: Params, weights: Params, batch: Tensor, m: Params, v: Params, step: int) -> None:
        """A step of Adam, which updates `weights`, `m` and `v` in place. The gradient is clipped."""
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
            loss = -_call(network, fixed | leaves, "log_prob", batch).mean()
            gradients = torch.autograd.grad(loss, list(leaves.values()))
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        factor = (CLIP / norm).clamp(max=1)
        for (name, value), gradient in zip(weights.items(), gradients, strict=True):
            adam_(value, gradient * factor, m[name], v[name], t=step + 1, lr=self.lr, betas=BETAS, eps=EPS)

    def _start(self, network: "Network", rng: Rng, like: Tensor) -> tuple[Params, Params]:
        """The buffers of the network, and initial weights: uniform within 1/sqrt(n_in), the last layer of each network a tenth of it."""
        fixed = {name: value.to(like.device) for name, value in network.named_buffers()}
        weights, last = {}, f".{2 * len(self.hidden)}."
        for name, value in network.named_parameters():
            n_in = network.get_parameter(name.rpartition(".")[0] + ".weight").shape[1]
            drawn = 2 * rng.at("weights").uniform(name, *value.shape) - 1
            weights[name] = drawn.to(like) * (0.1 if last in name else 1.0) / n_in**0.5
        return fixed, weights

    def _call(self, params: Params, method: str, x: Tensor) -> Tensor:
        """Call a method of the network with fitted tensors, for each model of a stack."""
        network = self._network(params["mean"].shape[-1])
        own = {name: params[_key(name)] for name in network.names}
        if params["mean"].ndim == 1:
            return _call(network, own, method, x)
        return torch.stack([_call(network, {name: value[m] for name, value in own.items()}, method, x[m]) for m in range(len(x))])

    def _network(self, d: int) -> "Network":
        """The layers for events of d coordinates, without their tensors."""
        key = d, self.n_transforms, self.n_bins, tuple(self.hidden)
        if key not in _networks:
            _networks[key] = Network(_zuko().flows.NSF, *key)
        return _networks[key]


class Network(nn.Module):
    """The layers of a flow: u, (N, d) -> log-density, and z -> u."""

    def __init__(self, kind: Any, d: int, n_transforms: int, n_bins: int, hidden: Sequence[int]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            self.layers = kind(d, transforms=n_transforms, bins=n_bins, hidden_features=hidden, activation=nn.SiLU).transform
        self.names = [name for name, _ in (*self.named_parameters(), *self.named_buffers())]

    def forward(self, method: str, x: Tensor) -> Tensor:
        if method == "draw":
            return self.layers().inv(x)
        z, log_det = self.layers().call_and_ladj(x)
        return log_det - 0.5 * z.square().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


_networks: dict[tuple[Any, ...], Network] = {}


def _call(network: Network, tensors: Params, method: str, x: Tensor) -> Tensor:
    return torch.func.functional_call(network, tensors, (method, x))


def _stored(tensors: Params) -> Params:
    return {_key(name): value for name, value in tensors.items()}


def _key(name: str) -> str:
    """The name of a tensor of the network among those of the reference. Names of buffers have no dots."""
    return name.replace(".", "_")


def _zuko() -> Any:
    try:
        import zuko
    except ImportError:
        raise bad("reference=flow needs the package zuko", "pip install 'ebm-cli[flow]'") from None
    return zuko
