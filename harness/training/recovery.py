"""Decide what follows when a pack fails: results to record, jobs that retry, or a final failure.

    out of memory during training   halves that resume from the last completed step
    out of memory at any other time halves that train from the beginning
    checkpoint does not match       the unfinished cells from the beginning
    another error in a pack         every unfinished cell alone, from the beginning
    any error of a cell alone       final

The functions are pure: they train nothing and write nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.planning.packs import split_slots
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.failure import Failure
    from harness.training.checkpoint import PackCheckpoint
    from harness.training.result import Result


@dataclasses.dataclass(frozen=True)
class Recovery:
    """The reaction to a failure: results by slot that finished before it, jobs that retry the others, and a note.

    Without jobs the failure is final for the job's one cell.
    """

    results: Mapping[int, Result]
    jobs: tuple[PackJob, ...] = ()
    note: str = ""


def recover(outcome: PackOutcome) -> Recovery:
    """The recovery from a failed outcome: a pack is split on out of memory; after another error cells train alone.

    Halves resume from the last completed step if the failure holds a checkpoint, else they train from the beginning.
    So a cell counts as failed only if it fails alone.
    """
    job, failure = outcome.job, outcome.failure
    assert failure is not None
    checkpoint = failure.checkpoint or job.start
    finished = _finished_results(checkpoint)
    unfinished = job.pack.select([slot for slot in job.slots if slot not in finished])
    if failure.checkpoint is not None:
        parts = [failure.checkpoint.select_members(half) for half in split_slots(failure.checkpoint.members)]
        jobs = [dataclasses.replace(job, start=part) for part in parts]
        note = f"{len(parts)} smaller packs resume from step {failure.checkpoint.step}"
    elif failure.unfit:
        jobs = [dataclasses.replace(job, pack=unfinished, start=None)]
        note = "from the beginning"
    elif len(job.pack.members) > 1:
        # if memory is not the cause, one cell is at fault; halving would train the others several times
        packs = unfinished.split() if failure.memory else unfinished.split_into_cells()
        jobs = [dataclasses.replace(job, pack=pack, start=None) for pack in packs]
        note = f"trying {len(packs)} smaller packs"
    else:
        return Recovery(finished)
    return Recovery(finished, tuple(jobs), _describe(job, failure, note))


def _finished_results(checkpoint: PackCheckpoint | None) -> dict[int, Result]:
    """Results by slot of members that left the pack before the failure."""
    if checkpoint is None:
        return {}
    return {
        slot: dataclasses.replace(result, phases=checkpoint.spent)
        for slot, result in checkpoint.results.items()
        if slot not in checkpoint.members
    }


def _describe(job: PackJob, failure: Failure, what: str) -> str:
    return f"{job.pack.first.cell.task}: {failure.line}; {what}"
