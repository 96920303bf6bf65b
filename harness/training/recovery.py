"""What follows when a pack failed: results to keep, further jobs, or a final failure. A pure function."""

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
    """`results` of slots that had finished before the failure; `jobs` that follow; `note` says what is done.

    Without jobs, the failure is final for the job's one cell.
    """

    results: Mapping[int, Result]
    jobs: tuple[PackJob, ...] = ()
    note: str = ""


def recover(outcome: PackOutcome) -> Recovery:
    """On out-of-memory the halves of a pack go on; after another error each cell trains alone.

    Halves resume from the last completed step where the failure holds it, and train from the beginning otherwise.
    So only a cell that fails alone is a failure.
    """
    job, failure = outcome.job, outcome.failure
    assert failure is not None
    checkpoint = failure.checkpoint or job.start
    finished = _finished_results(checkpoint)
    unfinished = job.pack.select([slot for slot in job.slots if slot not in finished])
    if failure.checkpoint is not None:
        parts = [failure.checkpoint.part(half) for half in split_slots(failure.checkpoint.members)]
        jobs = [dataclasses.replace(job, start=part) for part in parts]
        note = f"{len(parts)} smaller packs resume from step {failure.checkpoint.step}"
    elif failure.unfit:
        jobs = [dataclasses.replace(job, pack=unfinished, start=None)]
        note = "from the beginning"
    elif len(job.pack.members) > 1:
        packs = unfinished.split() if failure.memory else unfinished.split_into_cells()
        jobs = [dataclasses.replace(job, pack=pack, start=None) for pack in packs]
        note = f"trying {len(packs)} smaller packs"
    else:
        return Recovery(finished)
    return Recovery(finished, tuple(jobs), _describe(job, failure, note))


def _finished_results(checkpoint: PackCheckpoint | None) -> dict[int, Result]:
    """Results by slot of members that had left the pack."""
    if checkpoint is None:
        return {}
    left = {slot: result for slot, result in checkpoint.results.items() if slot not in checkpoint.members}
    return {slot: dataclasses.replace(result, phases=checkpoint.spent) for slot, result in left.items()}


def _describe(job: PackJob, failure: Failure, what: str) -> str:
    return f"{job.pack.first.cell.task}: {failure.line}; {what}"
