"""The marks by which a folder is known as a run that this program made: its id is the hash of its config and of its data files."""

from ebm_cli.config import roles
from ebm_cli.errors import InputError, bad
from ebm_cli.runs.run import RUN_AGAIN, SCHEMA, Run


def has_marks(run: Run) -> bool:
    """Whether the id of a run is the hash of its config.yaml, of the sha256 in its dataset.json, and of those in its environment.json."""
    try:
        facts = run.read("environment.json")
        hashes = run.read("dataset.json").get("sha256", ""), facts.get("files", {})
        return roles.identity(run.config(), *hashes, schema=SCHEMA) == facts.get("id")
    except InputError:
        return False


def check(run: Run) -> None:
    """Refuse a run whose config.yaml or dataset.json is not the one that it was trained with."""
    if not has_marks(run):
        message = f"{run.path.name}: its id is not that of its config.yaml and dataset.json, so one of them was changed or exchanged"
        raise bad(message, f"put the original file back, or {RUN_AGAIN}")
