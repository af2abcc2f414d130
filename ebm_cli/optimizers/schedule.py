"""Learning-rate schedules."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def factor(schedule: Schedule, step: int, n_steps: int, n_warmup_steps: int) -> float:
    """The factor on the learning rate at step 0 .. n_steps - 1: a linear warm-up, then a constant or half a cosine down to zero."""
    if step < n_warmup_steps:
        return (step + 1) / (n_warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - n_warmup_steps) / max(n_steps - n_warmup_steps, 1))) / 2
