"""What a Slurm job runs on its node: one pack, from its last checkpoint if there is one.

submitit loads PackTask ──> claim the pack ──> train ──> JobReport
                                                │
        SIGUSR1: the time limit is near         ├──> checkpoint, submitit requeues the job
        SIGTERM: preempted, cancelled           └──> checkpoint, the job ends; Slurm or the run starts it again
"""

from __future__ import annotations

import dataclasses
import platform
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.failure import Failure
from harness.core.interrupt import catch_signals
from harness.core.listener import SilentListener
from harness.core.process import wait_passively
from harness.core.provenance import get_utc_time, get_version
from harness.core.terminal import print_lines
from harness.runner.executors.job_pickle import check_plugins
from harness.runner.executors.slurm_files import JobFiles, JobReport, PackHeader, Start
from harness.runner.executors.worker import Finished, Refused
from harness.training.pack_job import PackJob

MAX_IDLE_STARTS = 5
"""Times in a row that a job may reach its time limit from the same step; then its pack counts as failed."""
BATCH_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm sends before it ends a job."""
PROGRESS_SECONDS = 30.0
"""Between two lines of progress in a job's log."""


class PackTask:
    """The callable of a job: trains the pack `name` of `folder` if `token` is still the one of its submission."""

    def __init__(self, folder: Path, name: str, token: str) -> None:
        self.folder, self.name, self.token = folder, name, token

    def __call__(self) -> None:
        wait_passively()
        files = JobFiles(self.folder)
        start = self._claim(files)
        if start is None:
            print_lines(["this pack is trained by another job"], sys.stderr)
            return
        requeue = _release_signals()
        with catch_signals() as catcher:
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, BATCH_SIGNALS)
                report = self._train(files, start)
                # from here on the report is written, whatever signal comes
                for number in BATCH_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
            except KeyboardInterrupt:
                report = None
        if report is not None:
            files.write_outcome(self.name, report)
        elif catcher.number != signal.SIGUSR1 or requeue is None:
            raise SystemExit(catcher.exit_code)
        elif start.idle >= MAX_IDLE_STARTS - 1:
            line = f"its job reached the time limit {MAX_IDLE_STARTS} times at step {start.step}; give a longer time="
            finished = Finished(get_utc_time(), {}, None, Failure(line, trace=line, memory=False), False)
            files.write_outcome(self.name, JobReport(finished))
        else:
            requeue(signal.SIGUSR1, None)  # ends the process

    def checkpoint(self) -> Any:
        """The submission after a requeue, for submitit: the same, since the state is in the pack's checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _claim(self, files: JobFiles) -> Start | None:
        """Write that this job begins; None if another one may have begun."""
        start, earlier = Start(self.token, _get_job_id(), socket.gethostname()), files.read_start(self.name)
        if earlier is not None and earlier.token == self.token:
            # counted here, since the time limit may come again and again before torch has loaded
            start.step, start.idle = earlier.step, earlier.idle + 1
        submission = files.read_submission(self.name)
        if submission is None or submission.token != self.token or files.has_outcome(self.name):
            return None
        files.write_start(self.name, start)
        # read again, now that the start is written: see slurm_files.py
        submission = files.read_submission(self.name)
        return start if submission is not None and submission.token == self.token else None

    def _train(self, files: JobFiles, start: Start) -> JobReport:
        """The report of the pack. Raises KeyboardInterrupt after a signal, when the checkpoint is written."""
        from harness.core.registry import load_same
        from harness.runner.executors.in_process import LocalExecutor
        from harness.training.checkpoint import Checkpoints

        header, listener = files.read_header(self.name), JobListener()
        try:
            _check_versions(header)
            load_same(header.setup.plugins, header.digests)
            job = files.read_pack(self.name)
            check_plugins(job)
            executor = LocalExecutor(header.setup)
            machine = executor.describe()
            made_by = {**header.made_by, **machine.environment.model_dump()}
            checkpoints = Checkpoints(header.checkpoints, made_by, listener.note)
            job = _resume(job, checkpoints)
            if job.start is not None and job.start.step > start.step:  # the start before made progress
                start.step, start.idle = job.start.step, 0
                files.write_start(self.name, start)
            (outcome,) = executor.run(deque([job]), checkpoints, listener)
        except UserError as error:
            return JobReport(Refused(f"{socket.gethostname()}: {error}"))
        if outcome.interrupted:
            raise KeyboardInterrupt
        return JobReport(Finished.of(outcome), machine, tuple(listener.notes))


class JobListener(SilentListener):
    """Writes progress to the job's log and keeps the notes for the run."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.notes: list[str] = []
        self.last_step = 0.0

    def on_pack_start(self, task: str, cells: int, steps: int, keys: Sequence[str] = (), worker: str = "") -> None:
        print_lines([f"{task}: {cells} cells, {steps} steps"])

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        if time.monotonic() - self.last_step >= PROGRESS_SECONDS:
            self.last_step = time.monotonic()
            print_lines([f"step {step}"])

    def note(self, line: str, worker: str = "") -> None:
        self.notes.append(line)
        super().note(line)


def get_versions() -> dict[str, str]:
    """The versions that a run and its jobs must share."""
    return {
        "Python": platform.python_version(),
        **{name: get_version(name) for name in ("lorasp-harness", "torch", "transformers", "numpy")},
    }


def _check_versions(header: PackHeader) -> None:
    """Raise UserError if this process has other versions than the run that submitted the pack."""
    versions = get_versions()
    for name, version in header.versions.items():
        if versions.get(name) != version:
            raise UserError(
                f"{name} {versions.get(name)} on the node, {version} where the run was started; use one environment "
                "on a folder that all nodes see"
            )


def _resume(job: PackJob, checkpoints: Any) -> PackJob:
    """The job from its last checkpoint on disk, if that is later than its own."""
    saved = checkpoints.read(job.pack, job.slots)
    if saved is None or (job.start is not None and saved.step < job.start.step):
        return job
    return dataclasses.replace(job, start=saved)


def _get_job_id() -> str:
    """The id of this job as submitit and squeue write it; '' outside of submitit."""
    import submitit

    try:
        return str(submitit.JobEnvironment().job_id)
    except (RuntimeError, KeyError):
        return ""


def _release_signals() -> Callable[..., None] | None:
    """Take `BATCH_SIGNALS` from submitit, which would end the process within a step; returns its handler.

    They stay blocked: between two handlers a signal would kill the process.
    """
    handler = signal.getsignal(signal.SIGUSR1)
    if not callable(handler) or "submitit" not in getattr(handler, "__module__", ""):
        return None
    signal.pthread_sigmask(signal.SIG_BLOCK, BATCH_SIGNALS)
    for number in BATCH_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    return handler
