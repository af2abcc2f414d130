"""Files inside a run folder, which may come from somebody else: no link inside it is followed, and no special file is opened.

A file with a second name (a hard link) is read, but never written through: a copy takes its place in the folder first.

Every function takes the folder, `root`, and a path inside it. Each part of the path below `root` is opened by itself with O_NOFOLLOW, so
nobody can exchange it for a link between a check and its use. Only the standard library is used.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ebm_cli.errors import bad
from ebm_cli.io.atomic import naming

MOST = 1 << 30  # bytes of a text file; longer files are not read into memory
MOST_BINARY = 1 << 36
HINT = "replace that entry of the folder by a copy of the file, or delete the entry"


def read(root: Path, path: Path, most: int = MOST) -> bytes:
    """The content of a file. Raises `FileNotFoundError`, another `OSError`, or `InputError` if it is no regular file or too long."""
    with _parent(root, path) as (folder, name):
        _check(folder, name, path)
        with open(name, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise bad(f"{path} is too long: it has {size} bytes, and at most {most} are read", "the file is damaged, or not from ebm")
            return file.read(size)


@contextmanager
def replacing(root: Path, path: Path) -> Iterator[BinaryIO]:
    """A file that is written under a temporary name, synced, and then renamed to `path`. Until then the old content stays in place."""
    with _parent(root, path) as (folder, name):
        _check(folder, name, path)
        partial = f".{name}.{os.getpid()}"
        _unlink(partial, folder)
        try:
            with open(partial, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            _unlink(partial, folder)


def append(root: Path, path: Path, text: str) -> None:
    """Append text to a file, which is created if it does not exist."""
    unshare(root, path)
    with _parent(root, path) as (folder, name):
        _check(folder, name, path)
        flags = os.O_NOFOLLOW | os.O_NONBLOCK
        with open(name, "a", encoding="utf-8", opener=lambda name, own: os.open(name, own | flags, 0o666, dir_fd=folder)) as file:
            file.write(text)


def unshare(root: Path, path: Path) -> None:
    """If a file has a second name, put a copy in its place, so that what is appended to it does not change the other file."""
    with suppress(FileNotFoundError):
        if path.lstat().st_nlink > 1:
            content = read(root, path, MOST_BINARY)
            with replacing(root, path) as file:
                file.write(content)


def make_folder(root: Path, path: Path) -> Path:
    """The folder `path`, which is created if it does not exist."""
    with _parent(root, path) as (folder, name):
        try:
            os.mkdir(name, dir_fd=folder)
        except FileExistsError:
            os.close(_enter(folder, name, path))
    return path


def fault(path: Path, *, folder: bool = False) -> str:
    """What is wrong with an entry of a run folder, without opening it; "" if it is a regular file (a folder) or does not exist."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    if stat.S_ISLNK(mode):
        return f"{path.name} is a link, and links inside a run are not followed"
    if folder:
        return "" if stat.S_ISDIR(mode) else f"{path.name} is not a folder"
    return "" if stat.S_ISREG(mode) else f"{path.name} is not a regular file"


@contextmanager
def _parent(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """The descriptor of the folder of a path, and the name of the path in this folder."""
    *folders, name = path.relative_to(root).parts
    if {"..", ""} & {*folders, name}:
        raise bad(f"{path} is not inside {root}")
    descriptor, place = os.open(root, os.O_RDONLY | os.O_DIRECTORY), root
    try:
        for folder in folders:
            place = place / folder
            inner = _enter(descriptor, folder, place)
            os.close(descriptor)
            descriptor = inner
        with naming(path):
            yield descriptor, name
    finally:
        os.close(descriptor)


def _enter(parent: int, name: str, path: Path) -> int:
    """The descriptor of a folder inside another."""
    if wrong := fault(path, folder=True):
        raise bad(f"{path.parent}: {wrong}", HINT)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _check(folder: int, name: str, path: Path) -> None:
    """Refuse a link and a special file without opening it."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise bad(f"{path.parent}: {fault(path)}", HINT)


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
