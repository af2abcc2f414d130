"""An emulated accelerator: its tensors are tensors of the CPU that pretend to be elsewhere.

It finds the mistakes that only a GPU would show: operations on tensors of two devices, tensors created on the wrong device, and values
read back during a step. Its numbers are those of the CPU, bit for bit. It is not a GPU: it has no kernels, no streams and no compiler.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("emulated")
DEVICE = torch.device("emulated", 0)
ATEN = torch.ops.aten
COPIES = (ATEN._to_copy.default, ATEN.copy_.default)  # the operations that take tensors of two devices


class Emulated(Tensor):
    """A tensor of the emulated device. `held` has its values, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Emulated":
        new = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        new.held = held
        return new

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return execute(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict) -> "Emulated":
        copied = Emulated(self.held.detach().clone())
        return torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied

    def __repr__(self) -> str:
        return f"Emulated({self.held!r})"


class Factories(TorchDispatchMode):
    """Intercepts the operations that create tensors on the emulated device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return execute(func, args, kwargs or {})


def execute(func: Any, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the CPU. The result is on the device that the arguments name, or on that of the tensors."""
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    here = [value for value in tensors if isinstance(value, Emulated)]
    strangers = [value for value in tensors if not isinstance(value, Emulated) and value.ndim]
    if here and strangers and func not in COPIES:
        raise RuntimeError(f"{func}: tensors on two devices, {DEVICE} and cpu")
    named = kwargs.get("device")
    there = torch.device(named).type == DEVICE.type if named is not None else bool(here)
    if func is ATEN.copy_.default:
        there = isinstance(args[0], Emulated)
    plain = {key: value for key, value in kwargs.items() if key != "device"} | ({"device": "cpu"} if named is not None else {})
    found = func(*tree_map(unwrapped, args), **tree_map(unwrapped, plain))
    if not there:
        return found
    return return_and_correct_aliasing(func, args, dict(kwargs), tree_map(wrapped, found))


def unwrapped(value: Any) -> Any:
    return value.held if isinstance(value, Emulated) else value


def wrapped(value: Any) -> Any:
    return Emulated(value) if isinstance(value, Tensor) and not isinstance(value, Emulated) else value


class Constructors(TorchFunctionMode):
    """Intercepts the functions that copy between host and device without the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func in (Tensor.tolist, Tensor.new_tensor) and isinstance(args[0], Emulated):
            found = func(args[0].cpu(), *args[1:], **kwargs)
            return found.to(DEVICE) if isinstance(found, Tensor) else found
        return func(*args, **kwargs)


class Generator(torch.Generator):
    """A generator. One of the emulated device draws the numbers of the CPU."""

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        new = super().__new__(cls, "cpu" if torch.device(device) == DEVICE else device)
        new.place = torch.device(device)
        return new

    @property
    def device(self) -> torch.device:
        return self.place


@contextmanager
def emulation() -> Iterator[torch.device]:
    """The device, which exists while the context is open."""
    with patch.object(torch, "Generator", Generator), Constructors(), Factories():
        yield DEVICE
