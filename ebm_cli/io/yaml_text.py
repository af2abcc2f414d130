"""YAML by the C library of PyYAML where it is available, several times as fast as the Python code. Only plain data are read and written."""

from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml

DEEPEST = 50  # levels of nesting
Error = yaml.YAMLError
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(text: str) -> Any:
    """The data in a YAML text. Raises `Error` if it is not valid YAML or contains tags of Python objects."""
    return yaml.load(text, _LOADER)


def load_tree(text: str) -> Any:
    """`load` for a file from somebody else: a plain tree, of bounded depth. Aliases, by which a short text can stand for a huge one, and
    tags are errors. A text is parsed once: comparisons read the config of each run for its id and for its values."""
    return deepcopy(_tree(text))


@lru_cache(maxsize=512)
def _tree(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            raise Error("aliases are not allowed here" if isinstance(event, yaml.AliasEvent) else "the nesting is too deep")
    return load(text)


def dump(data: Any) -> str:
    """Data as YAML, with keys in their order and without aliases."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)
