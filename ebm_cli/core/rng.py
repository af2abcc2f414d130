"""Random numbers as a function of (seed, stream, step), without a state to save or share.

Every draw re-seeds a generator with a 32-bit hash of the seed and a path of names and numbers. A stack of models has one seed per model,
and each row is drawn with its own seed, so that row m equals the draw of a single run with seed m.
"""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b

import torch
from torch import Tensor


class Rng:
    """`Rng(3).at(step).normal("directions", 256, 2)` is (256, 2); with seeds (0, 1, 2) it is (3, 256, 2)."""

    def __init__(
        self, seeds: int | tuple[int, ...], device: torch.device | str = "cpu", *, _parent: "Rng | None" = None, _path: str = ""
    ) -> None:
        self.seeds, self.path = seeds, _path
        self.generator = _parent.generator if _parent else torch.Generator(device)
        self.model_shape = () if isinstance(seeds, int) else (len(seeds),)

    @property
    def seed_list(self) -> list[int]:
        """The seed of every model, as a list also for a single model."""
        return [self.seeds] if isinstance(self.seeds, int) else list(self.seeds)

    def at(self, key: str | int) -> "Rng":
        """The same seeds with `key` appended to the path: `rng.at(step)`, `rng.at("chain").at(k)`."""
        return Rng(self.seeds, _parent=self, _path=f"{self.path}/{key}")

    def of(self, model: int) -> "Rng":
        """The generator of one model of a stack."""
        return Rng(self.seeds[model], _parent=self, _path=self.path) if self.model_shape else self

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal, (*m, *shape)."""
        return self._fill(stream, shape, Tensor.normal_)

    def normal_like(self, stream: str, x: Tensor) -> Tensor:
        """Standard normal in the shape of x, (*m, ...)."""
        return self._fill(stream, x.shape[len(self.model_shape) :], Tensor.normal_)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform on [0, 1), (*m, *shape)."""
        return self._fill(stream, shape, Tensor.uniform_)

    def integers(self, stream: str, high: int, *shape: int) -> Tensor:
        """Uniform on 0 .. high - 1, (*m, *shape)."""
        return self._fill(stream, shape, partial(Tensor.random_, to=high), torch.int64)

    def permutation(self, stream: str, n: int) -> Tensor:
        """A random order of 0 .. n - 1, (*m, n)."""
        return self._fill(stream, (n,), lambda row, generator: torch.randperm(n, generator=generator, out=row), torch.int64)

    def integer(self, seed: int, stream: str) -> int:
        """The 32-bit seed of a stream. The CPU generator of torch takes no more than 32 bits."""
        return int.from_bytes(blake2b(f"{seed}{self.path}/{stream}".encode(), digest_size=4).digest(), "big")

    def _fill(self, stream: str, shape: tuple[int, ...], fill: Callable[..., Tensor], dtype: torch.dtype | None = None) -> Tensor:
        out = torch.empty(self.model_shape + shape, device=self.generator.device, dtype=dtype)
        for seed, row in zip(self.seeds, out, strict=True) if self.model_shape else [(self.seeds, out)]:
            fill(row, generator=self.generator.manual_seed(self.integer(seed, stream)))
        return out
