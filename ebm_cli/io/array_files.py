"""Arrays from NPY and NPZ files of somebody else: sizes are compared with the length of the file before memory is taken for them."""

import zipfile
from math import prod
from typing import BinaryIO

import numpy as np

ZIP = b"PK"
MOST_COMPRESSED = 1100  # the compression of NPZ files makes a file at most 1032 times smaller
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load(file: BinaryIO) -> np.ndarray | dict[str, np.ndarray]:
    """The array in an NPY file, or the arrays in an NPZ file by name. Raises `ValueError`, also for arrays of objects."""
    size, is_archive = file.seek(0, 2), False
    file.seek(0)
    if file.read(2) == ZIP:
        is_archive = True
        try:
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    if entry.file_size > MOST_COMPRESSED * min(entry.compress_size, size):
                        raise ValueError(f"{entry.filename} would have {entry.file_size} bytes, but the file has {size}")
                    with archive.open(entry) as part:
                        _check(part, entry.file_size)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:  # RuntimeError: it is encrypted
            raise ValueError(str(error)) from None
    else:
        file.seek(0)
        _check(file, size)
    file.seek(0)
    try:
        found = np.load(file, allow_pickle=False)
        return {name: found[name] for name in found.files} if is_archive else found
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(str(error)) from None


def _check(file: BinaryIO, size: int) -> None:
    """Refuse an array whose header describes more than the `size` bytes of its file."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"the NPY format {version} is not read")
    shape, _, dtype = HEADERS[version](file)
    if min(shape, default=0) < 0 or file.tell() + prod(shape) * dtype.itemsize > size:
        raise ValueError(f"the header describes an array of shape {shape}, but the file has {size} bytes")
