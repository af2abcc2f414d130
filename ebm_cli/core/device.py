"""Choose the device of a run."""

from typing import Any

import torch

from ebm_cli.errors import bad
from ebm_cli.types import DEVICES


def pick_device(device: Any) -> torch.device:
    """The torch device of this name. `auto` takes the first of CUDA, MPS and CPU that is available."""
    device = str(device)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    kind, _, index = device.partition(":")
    there = [name for name, there in available.items() if there]
    if kind not in available or (index and (kind != "cuda" or not index.isdigit())):
        raise bad(f"device: there is no device {device!r}", f"choose one of {', '.join(DEVICES)}")
    if not available[kind]:
        raise bad(f"device: {device} is not available to torch on this machine", f"use device={there[0]}")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise bad(f"device: there is no {device}; torch sees {torch.cuda.device_count()} GPUs", "use device=cuda:0")
    return torch.device(device)
