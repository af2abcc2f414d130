"""TensorBoard (https://www.tensorflow.org/tensorboard): event files under `tensorboard/` in the run's folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ebm_cli.errors import bad
from ebm_cli.loggers.guarded_logger import flat
from ebm_cli.types import Positive

if TYPE_CHECKING:
    from ebm_cli.runs.run import Run

FOLDER = "tensorboard"


@dataclass
class TensorBoard:
    """Writes rows as scalars, figures as images, and the config and the summary as text. `flush_secs` is in seconds."""

    flush_secs: Positive
    _writer: Any = field(init=False, default=None)

    @property
    def where(self) -> str:
        return FOLDER

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `InputError` if the package is not installed."""
        if find_spec("tensorboard") is None:
            raise bad("logger=tensorboard: the package tensorboard is not installed", "pip install 'ebm-cli[tensorboard]'")

    def start(self, run: "Run", config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run, self._first_seed, self._last = run, config["seed"], step
        self._began = run.read("environment.json")["created"]
        folder = run.path / FOLDER  # `Run.lock` has checked that it is no link
        # a purge makes readers drop all earlier events; all rows are then written again, including those lost with a killed process
        self._writer = SummaryWriter(folder, purge_step=0 if folder.exists() else None, flush_secs=self.flush_secs)
        self._writer.add_text("config", _block(config), 0)
        for row in run.rows():
            if row["step"] <= step:
                self.row(row)

    def row(self, row: Mapping[str, Any]) -> None:
        self._last = row["step"]
        for key, value in flat(row, self._first_seed).items():
            if key != "step":
                self._writer.add_scalar(key, value, row["step"], walltime=self._began + row["seconds"])

    def end(self, state: str, summary: Mapping[str, Any] | None) -> None:
        from matplotlib.image import imread

        if self._writer is None:
            return
        for path in sorted(self._run.figures.glob("*.png")):
            self._writer.add_image(f"figures/{path.stem}", imread(path), self._last, dataformats="HWC")
        self._writer.add_text("state", state, self._last)
        if summary:
            self._writer.add_text("summary", _block(summary), self._last)
        self._writer.close()


def _block(data: Mapping[str, Any]) -> str:
    """JSON as a Markdown code block."""
    return f"```json\n{json.dumps(data, indent=1)}\n```"
