"""Trackio: its local database (TRACKIO_DIR), unless TRACKIO_SPACE_ID names a space on the hub."""

from __future__ import annotations

import os
from typing import Any

from results.loggers.base import LOGGERS, PROJECT, LoggedCell, Logger


@LOGGERS.register("trackio")
class TrackioLogger(Logger):
    """A run of project TRACKIO_PROJECT (default: lorasp-harness) per cell, named by its key."""

    package = "trackio"

    @classmethod
    def load(cls) -> Any:
        import trackio

        return trackio

    def write(self, cell: LoggedCell) -> None:
        trackio = self.load()
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            # names of a project must differ, and two runs of the harness may have cells of one name
            name=f"{cell.name} {cell.key}",
            group=cell.group,
            config=dict(cell.config),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            for step, loss in cell.curve:
                trackio.log({"loss": loss}, step=step)
            if cell.scores:
                trackio.log({f"score/{name}": value for name, value in cell.scores.items()}, step=cell.steps)
        finally:
            trackio.finish()
