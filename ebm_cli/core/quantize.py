"""Numbers rounded to the values that k bits can represent, as couplings and fields of hardware are.

    q = round(v / step) step,    step = max |v| / (2^(k-1) - 1)

These are the signed integers of k bits without the most negative one, so that -q is representable if q is: k = 2 gives -1, 0 and 1 times
max |v|. The gradient is that of v (Bengio et al. 2013, arXiv:1308.3432), so that quantized couplings can be trained.
"""

import torch
from torch import Tensor


def quantized(values: Tensor, n_bits: int | None) -> Tensor:
    """The values rounded to `n_bits`, with one step for all of them; None leaves them as they are."""
    if n_bits is None:
        return values
    step = values.detach().abs().amax().clamp(min=torch.finfo(values.dtype).tiny) / (2 ** (n_bits - 1) - 1)
    return values + ((values.detach() / step).round() * step - values.detach())
