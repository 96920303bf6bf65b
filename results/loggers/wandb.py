"""Weights & Biases: offline below OUT/wandb, unless WANDB_MODE says otherwise; `wandb sync` uploads such runs."""

from __future__ import annotations

import os
from typing import Any

from results.loggers.base import LOGGERS, PROJECT, LoggedCell, Logger


@LOGGERS.register("wandb")
class WandbLogger(Logger):
    """A run of project WANDB_PROJECT (default: lorasp-harness) per cell, with the cell's key as its id."""

    package = "wandb"

    @classmethod
    def load(cls) -> Any:
        # wandb sends reports of its errors to its makers unless told otherwise, also offline
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        return wandb

    def write(self, cell: LoggedCell) -> None:
        wandb = self.load()
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            # a run must not wait for a login, and nothing leaves the machine that the user did not send
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(self.out),
            id=cell.key,
            resume="allow",
            name=cell.name,
            group=cell.group,
            config=dict(cell.config),
            settings=wandb.Settings(silent=True, console="off", save_code=False, x_disable_stats=True),
        )
        for step, loss in cell.curve:
            run.log({"loss": loss}, step=step)
        run.summary.update(cell.scores)
        run.finish(exit_code=0 if cell.is_ok else 1)
