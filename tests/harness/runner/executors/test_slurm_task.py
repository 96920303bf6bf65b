"""One pack as a Slurm job runs it, by submitit's debug executor; and who may train a pack after a run was killed."""

from __future__ import annotations

import dataclasses
import io
from collections import deque
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.listener import SilentListener
from harness.core.method import METHODS
from harness.core.registry import get_plugin_digests, load_plugin
from harness.planning.packs import Pack
from harness.runner.execute import build_setup
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.in_process import LocalExecutor
from harness.runner.executors.job_pickle import check_plugins
from harness.runner.executors.slurm_files import JobFiles, PackHeader, Start, Submission
from harness.runner.executors.slurm_task import PackTask, get_versions
from harness.runner.executors.worker import Finished, Refused
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob
from tests.harness.runner.executors.plugins import LOCAL
from tests.harness.sittings import planned
from tests.harness.test_plugins import registered

submitit = pytest.importorskip("submitit")


def prepare(folder: Path, *plugins: Path, **versions: str) -> tuple[JobFiles, str, PackJob, ExecutorSetup]:
    """A pack of two cells on the shared folder, submitted with the token 'one'."""
    plan, spec = planned("lora", (3, 5), device="cpu", plugin=plugins)
    job, setup, files = PackJob(Pack(plan.cells)), build_setup(spec), JobFiles(folder / "slurm")
    files.prepare()
    header = PackHeader(setup, folder / "checkpoints", {}, get_versions() | versions, get_plugin_digests(plugins))
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
        assert report.message.results[slot].history.curve == result.history.curve
    # a second start of the same job, as by a requeue that comes too late, trains nothing
    written = files.path("outcomes", name).stat().st_mtime_ns
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    assert files.path("outcomes", name).stat().st_mtime_ns == written


def test_other_versions_on_a_node_are_refused(tmp_path: Path) -> None:
    files, name, _, _ = prepare(tmp_path, torch="0.4.1")
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    message = files.read_outcome(name).message
    assert isinstance(message, Refused) and "0.4.1 where the run was started" in message.message


def test_a_plugin_that_was_edited_after_submission_is_refused(tmp_path: Path) -> None:
    """Results of the edited code would be stored under keys with the digest of the first."""
    plugin = tmp_path / "own.py"
    plugin.write_text("VALUE = 1\n")
    load_plugin(plugin)
    files, name, _, _ = prepare(tmp_path, plugin)
    plugin.write_text("VALUE = 2\n")
    submitit.DebugExecutor(files.jobs).submit(PackTask(files.folder, name, "one")).result()
    message = files.read_outcome(name).message
    assert isinstance(message, Refused) and f"'{plugin}' changed after the run loaded it" in message.message


def test_a_method_of_a_loop_in_a_plugin_can_be_written_and_read(tmp_path: Path) -> None:
    """Pickle cannot name its class."""
    (tmp_path / "local.py").write_text(LOCAL)
    with registered():
        load_plugin(tmp_path / "local.py")
        plan, _ = planned("half", (3, 5), device="cpu")
        files, job = JobFiles(tmp_path / "slurm"), PackJob(Pack(plan.cells))
        files.prepare()
        name = files.write_pack(job, PackHeader(ExecutorSetup("cpu"), tmp_path, {}, {}, {}))
        read = files.read_pack(name)
    assert [member.key for member in read.pack.members] == [member.key for member in job.pack.members]
    assert {type(member.method) for member in read.pack.members} == {type(job.pack.first.method)}


def test_a_plugin_of_another_source_on_a_node_is_refused(tmp_path: Path) -> None:
    """As with an installed plugin that was upgraded after the run had started."""
    (tmp_path / "local.py").write_text(LOCAL)
    with registered():
        load_plugin(tmp_path / "local.py")
        plan, _ = planned("half", (3, 5), device="cpu")
        job = PackJob(Pack(plan.cells))
        check_plugins(job)
        METHODS.sources["half"] = "0" * 64
        with pytest.raises(UserError, match="method half has another source here"):
            check_plugins(job)


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
