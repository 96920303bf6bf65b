"""What follows when the process of a pack ends without an outcome.

first time     the pack again, from its last checkpoint, with the note of `describe_restart`
second time    the failure of `build_kill_failure`; recovery.py then lets each cell of the pack train alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.core.failure import Failure
from harness.core.text import count_noun

if TYPE_CHECKING:
    from harness.training.checkpoint import PackCheckpoint
    from harness.training.pack_job import PackJob

MAX_KILLS = 2
"""Processes, or jobs of Slurm, that a pack may end before it counts as failed."""


def build_kill_failure(what: str, reason: str = "", trace: str = "") -> Failure:
    """The failure of a pack that has ended `MAX_KILLS` processes; `what` names one, `trace` defaults to the line."""
    line = f"its {what} ended {MAX_KILLS} times" + (f" ({reason})" if reason else "")
    return Failure(line, trace or line, memory=False)


def describe_start(start: PackCheckpoint | None) -> str:
    """'step 3' or 'the beginning'."""
    return "the beginning" if start is None else f"step {start.step}"


def describe_restart(job: PackJob, why: str, where: str) -> str:
    """The note that a pack trains again, and from where."""
    return f"{job.pack.first.cell.task}: {why}; {count_noun(len(job.slots), 'cell')} again from {where}"
