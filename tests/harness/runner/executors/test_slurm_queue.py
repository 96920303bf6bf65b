"""What becomes of a pack whose Slurm job ended without an outcome, by the state that Slurm reports."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.listener import SilentListener
from harness.planning.packs import Pack
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.slurm_cluster import JobEnd, JobState
from harness.runner.executors.slurm_files import JobFiles, PackHeader
from harness.runner.executors.slurm_queue import PackQueue
from harness.runner.executors.slurm_task import PackTask, get_versions
from harness.training.pack_job import PackJob, PackOutcome
from tests.harness.sittings import planned

pytest.importorskip("submitit")


class EndingCluster:
    """A cluster whose jobs have all ended in one state."""

    most: int | None = None
    array_limit = 100

    def __init__(self, state: str) -> None:
        self.state, self.submitted = state, 0

    def submit(self, tasks: Sequence[PackTask]) -> list[str]:
        self.submitted += len(tasks)
        return [f"{self.submitted}_{index}" for index in range(len(tasks))]

    def list_active(self) -> Mapping[str, JobState]:
        return {}

    def describe_end(self, job_id: str) -> JobEnd:
        return JobEnd(self.state, "last line", "the log")

    def cancel(self, job_ids: Collection[str]) -> None: ...

    def format_cancel(self, job_ids: Collection[str]) -> str:
        return "scancel"


@pytest.fixture(scope="module")
def job() -> PackJob:
    return PackJob(Pack(planned("lora", (3, 5), device="cpu")[0].cells))


def run_to_the_end(
    job: PackJob, folder: Path, cluster: EndingCluster, monkeypatch: pytest.MonkeyPatch, most: int = 30
) -> tuple[list[PackOutcome], PackQueue, str]:
    """The outcomes of a job after as many submissions as the queue makes, at most `most`; and what was said."""
    monkeypatch.setenv("LORASP_HARNESS_SLURM_SECONDS", "0.000001")
    files, listener = JobFiles(folder), SilentListener(io.StringIO())
    files.prepare()
    header = PackHeader(ExecutorSetup("cpu"), folder, {}, get_versions(), {})
    queue, jobs, outcomes = PackQueue(files, cluster, header, listener), deque([job]), list[PackOutcome]()
    while (jobs or queue.submitted) and cluster.submitted < most:
        queue.submit(jobs)
        outcomes += queue.recover(jobs)
    return outcomes, queue, listener.stream.getvalue()


@pytest.mark.parametrize("state", ["TIMEOUT", "FAILED", ""])
def test_a_pack_that_ends_two_jobs_fails_with_the_reason(
    job: PackJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    cluster = EndingCluster(state)
    (outcome,), _, said = run_to_the_end(job, tmp_path, cluster, monkeypatch)
    assert cluster.submitted == 2 and outcome.failure is not None and not outcome.failure.memory
    assert f"ended 2 times (job 2_0: {state or 'state unknown'}; last line)" in outcome.failure.line
    assert outcome.failure.trace == "the log"
    assert "2 cells again from the last checkpoint" in said


def test_lost_nodes_and_preemption_do_not_count_against_a_pack(
    job: PackJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL"):
        cluster = EndingCluster(state)
        (outcome,), _, _ = run_to_the_end(job, tmp_path / state, cluster, monkeypatch)
        # ten losses, and two further ones that count: the pack may be what ends its nodes
        assert cluster.submitted == 12 and outcome.failure is not None and state in outcome.failure.line


def test_a_pack_that_ran_out_of_host_memory_is_split(
    job: PackJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = EndingCluster("OUT_OF_MEMORY")
    (outcome,), _, _ = run_to_the_end(job, tmp_path, cluster, monkeypatch)
    assert cluster.submitted == 1 and outcome.failure is not None and outcome.failure.memory


def test_a_cancelled_job_ends_the_run_with_one_line(
    job: PackJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, queue, _ = run_to_the_end(job, tmp_path, EndingCluster("CANCELLED by 0"), monkeypatch)
    assert not outcomes
    with pytest.raises(UserError, match="1 Slurm job cancelled"):
        queue.finish()


@pytest.mark.parametrize("seconds", ["soon", "nan", "0"])
def test_a_wrong_number_of_seconds_between_calls_of_squeue_is_refused(
    seconds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORASP_HARNESS_SLURM_SECONDS", seconds)
    header = PackHeader(ExecutorSetup("cpu"), tmp_path, {}, {}, {})
    with pytest.raises(UserError, match=f"LORASP_HARNESS_SLURM_SECONDS={seconds}: allowed"):
        PackQueue(JobFiles(tmp_path), EndingCluster(""), header, SilentListener(io.StringIO()))
