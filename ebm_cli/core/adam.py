"""One step of Adam, in place. Kingma & Ba 2015, arXiv:1412.6980.

m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2,    theta <- theta - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
"""

import math

from torch import Tensor


def adam_(
    theta: Tensor, gradient: Tensor, m: Tensor, v: Tensor, *, t: int | Tensor, lr: float, betas: tuple[float, float], eps: float
) -> None:
    """Step t = 1, 2, ...; all tensors have the same shape. `t` may be a tensor that broadcasts against them and stays on the device."""
    b1, b2 = betas
    m.lerp_(gradient, 1 - b1)
    v.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
    scale, rate = (v / _total_weight(b2, t)).sqrt_().add_(eps), lr / _total_weight(b1, t)
    if isinstance(t, Tensor):
        theta.sub_(rate * m / scale)
    else:
        theta.addcdiv_(m, scale, value=-rate)


def _total_weight(b: float, t: int | Tensor) -> float | Tensor:
    """1 - b^t, the total weight of a moving average. For a tensor t, expm1 avoids the cancellation of 1 - b^t in single precision."""
    return -(t * math.log(b)).expm1() if isinstance(t, Tensor) and b > 0 else 1 - b**t
