"""Tables of tests, with the values of the YAML file of the option except for those that a test gives."""

from ebm_cli.config.compatibility import options
from ebm_cli.datasets.table import TableDataset

TRANSFORM = {"transform": "standard"}  # tests of the other keys read its numbers off the data
DEFAULTS = {name: value for name, value in options("dataset", [])["table"].items() if name != "_target_"} | TRANSFORM


def table(path, columns=None, **values):
    """The dataset of a file."""
    return TableDataset(**(DEFAULTS | {"path": str(path), "columns": columns} | values))
