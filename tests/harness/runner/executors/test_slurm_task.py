"""One pack as a Slurm job runs it, by submitit's debug executor; and who may train a pack after a run was killed."""

from __future__ import annotations

import dataclasses
import io
from collections import deque
from pathlib import Path

import pytest

from harness.core.listener import SilentListener
from harness.planning.packs import Pack
from harness.runner.execute import build_setup
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.in_process import LocalExecutor
from harness.runner.executors.slurm_files import JobFiles, PackHeader, Start, Submission
from harness.runner.executors.slurm_task import PackTask, get_versions
from harness.runner.executors.worker import Finished, Refused
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob
from tests.harness.sittings import planned

submitit = pytest.importorskip("submitit")


def prepare(folder: Path, **versions: str) -> tuple[JobFiles, str, PackJob, ExecutorSetup]:
    """A pack of two cells on the shared folder, submitted with the token 'one'."""
    plan, spec = planned("lora", (3, 5), device="cpu")
    job, setup, files = PackJob(Pack(plan.cells)), build_setup(spec), JobFiles(folder / "slurm")
    files.prepare()
    header = PackHeader(setup, folder / "checkpoints", {}, get_versions() | versions)
    name = files.write_pack(job, header)
    files.write_submission(name, Submission("one"))
    return files, name, job, setup


def test_a_job_leaves_the_outcome_of_one_process(tmp_path: Path) -> None:
    files, name, job, setup = prepare(tmp_path)
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    report = files.read_outcome(name)
    assert (
        isinstance(report.message, Finished) and report.machine is not None and report.machine.environment.threads == 1
    )
    listener = SilentListener(io.StringIO())
    checkpoints = Checkpoints(tmp_path / "none", {}, listener.note)
    (expected,) = LocalExecutor(setup).run(deque([job]), checkpoints, listener)
    assert report.message.results.keys() == expected.results.keys() == {0, 1}
    for slot, result in expected.results.items():
        assert report.message.results[slot].scores == result.scores
        assert report.message.results[slot].trained.curve == result.trained.curve
    # a second start of the same job, as by a requeue that comes too late, trains nothing
    written = files.path("outcomes", name).stat().st_mtime_ns
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    assert files.path("outcomes", name).stat().st_mtime_ns == written


def test_other_versions_on_a_node_are_refused(tmp_path: Path) -> None:
    files, name, _, _ = prepare(tmp_path, torch="0.4.1")
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    message = files.read_outcome(name).message
    assert isinstance(message, Refused) and "0.4.1 where the run was started" in message.message


@pytest.mark.parametrize("begun", [True, False])
def test_after_a_kill_either_the_job_or_the_next_run_has_the_pack(tmp_path: Path, begun: bool) -> None:
    """The job begins before or after the next run looks; it never trains a pack that the next run submits again."""
    files, name, _, _ = prepare(tmp_path)
    submission = files.read_submission(name)
    assert submission == Submission("one")
    if begun:
        files.write_start(name, Start("one", "7_1", "node"))
        assert files.replace_token(name, submission) == dataclasses.replace(submission, id="7_1")
        assert files.read_submission(name) == Submission("one", "7_1")
    else:
        assert files.replace_token(name, submission) is None
        submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
        assert files.read_start(name) is None and not files.path("outcomes", name).exists()
