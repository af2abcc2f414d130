"""YAML by the C library of PyYAML where it is available, several times as fast as the Python code. Only plain data are read and written."""

from typing import Any

import yaml

Error = yaml.YAMLError
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def load(text: str) -> Any:
    """The data in a YAML text. Raises `Error` if it is not valid YAML or contains tags of Python objects."""
    return yaml.load(text, _LOADER)


def dump(data: Any) -> str:
    """Data as YAML, with keys in their order."""
    return yaml.dump(data, Dumper=_DUMPER, sort_keys=False)
