"""Gray images from files of the user's own: IDX (the format of MNIST), NPY and NPZ. IDX files may be compressed by gzip.

An IDX file of images begins with the bytes 0, 0, 8 (unsigned bytes), 3 (axes) and three sizes, (N, height, width), as big-endian 32-bit
integers. LeCun et al. 1998. An NPZ file has one array (N, height, width), or several, of which `x` is taken. Values are 0 to 255, or 0
to 1.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np

from ebm_cli.errors import bad
from ebm_cli.io import array_files, compressed

KINDS = "an IDX file (train-images-idx3-ubyte, also .gz), or a .npy or .npz file with an array (images, height, width)"
UNSIGNED_BYTES, N_AXES = 8, 3


def read(name: str, key: str) -> np.ndarray:
    """The images, (N, height, width), with values from 0 to 1 in single precision. `key` is the config key of the name, for messages."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise bad(f"{key}: there is no file {name!r}", f"give {KINDS}")
    try:
        images = _array(path) if path.suffix.lower() in (".npy", ".npz") else _idx(compressed.content(path, key))
    except (OSError, ValueError, EOFError, *compressed.FAULTS) as error:
        raise bad(f"{key}: {path.name} cannot be read: {str(error).splitlines()[0]}", f"give {KINDS}") from None
    if images.ndim == N_AXES + 1 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != N_AXES or not images.size or images.dtype.kind not in "buif":
        raise bad(f"{key}: {path.name} holds an array of shape {images.shape} and type {images.dtype}", f"give {KINDS}")
    least, most = images.min(), images.max()
    if not (least >= 0 and most <= 255):  # also with NaN
        raise bad(f"{key}: the values in {path.name} lie between {least} and {most}", "gray values are 0 to 255, or 0 to 1")
    images = images.astype(np.float32)
    return images / 255 if most > 1 else images


def _array(path: Path) -> np.ndarray:
    """The array of an NPY file, or the array `x` or the only array of an NPZ file."""
    with path.open("rb") as file:
        found = array_files.load(file)
    if isinstance(found, np.ndarray):
        return found
    if "x" not in found and len(found) != 1:
        raise ValueError(f"it has the arrays {', '.join(found) or 'none'}, and none of them is called x")
    return found["x"] if "x" in found else next(iter(found.values()))


def _idx(content: bytes) -> np.ndarray:
    """The array of an IDX file."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError("it does not begin like an IDX file")
    kind, n_axes = content[2], content[3]
    if kind != UNSIGNED_BYTES or n_axes != N_AXES:
        raise ValueError(f"it holds type {kind} with {n_axes} axes, not images of unsigned bytes (type 8 with 3 axes)")
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise ValueError("it ends within its header")
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    if prod(shape) != len(content) - start:
        raise ValueError(f"its header describes {' x '.join(map(str, shape))} bytes, but {len(content) - start} follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
