"""The hash of a data file."""

from hashlib import file_digest
from pathlib import Path

from ebm_cli.errors import bad


def of_file(path: str, key: str, kinds: str) -> str:
    """The sha256 of the file, read in blocks. `key` and `kinds` are for the error: where the path is given and which files there are."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise bad(f"{key}: there is no file {path!r}", f"give the path of {kinds}")
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
