"""Where Slurm jobs go: the cluster, by submitit and Slurm's own commands, or processes of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import io
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.core.errors import UserError, shorten
from harness.core.process import build_child_environment, set_child_environment
from harness.core.slurm_options import SlurmOptions
from harness.runner.executors.slurm_task import PackTask

COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel")
PREEMPTION_SIGNAL = "USR1"
DEFAULT_ARRAY_LIMIT = 1000
"""Tasks of an array where `scontrol show config` does not say: MaxArraySize is 1001 unless it is set."""
COMMAND_SECONDS = 120.0
TRACE_LINES = 40
"""Last lines of a job's log that a failed record keeps."""
MAX_TIMEOUTS = 10**6
"""submitit gives up after so many requeues; a pack that makes no progress ends before (slurm_task.py)."""
LIMIT_WORDS = ("limit", "invalid job array", "too many", "maximum", "temporarily unable")
"""Parts of sbatch's message if fewer jobs, or the same jobs later, may be accepted; in lower case."""


class Refused(Exception):
    """A submission that was refused, with the cluster's own message; `by_limit`: fewer jobs or later may do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.by_limit = any(word in message.lower() for word in LIMIT_WORDS)


@dataclasses.dataclass(frozen=True)
class JobState:
    """A job that waits or runs: Slurm's state, and its reason to wait."""

    state: str
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class JobEnd:
    """How a job ended: Slurm's state ('' if unknown), the last line of its log, and its last lines."""

    state: str
    line: str
    trace: str


class Cluster(Protocol):
    """Submits jobs and knows of them afterwards; jobs are named as squeue names them, 123 or 123_4."""

    most: int | None
    """Most jobs to submit at a time; None: as many as there are."""
    array_limit: int

    def submit(self, tasks: Sequence[PackTask]) -> list[str]:
        """The ids of the jobs. Raises Refused."""
        ...

    def list_active(self) -> Mapping[str, JobState] | None:
        """All jobs of this run that wait or run; None if the cluster does not answer."""
        ...

    def describe_end(self, job_id: str) -> JobEnd: ...

    def cancel(self, job_ids: Collection[str]) -> None: ...

    def format_cancel(self, job_ids: Collection[str]) -> str:
        """The command that cancels these jobs."""
        ...


def check_cluster(options: SlurmOptions) -> None:
    """Raise UserError if submitit or a command of Slurm is missing."""
    try:
        # read when submitit is imported, here and on the nodes; the harness handles SIGUSR1 between two steps
        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = PREEMPTION_SIGNAL
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--executor slurm needs submitit ({error}); install it: pip install 'lorasp-harness[slurm]'"
        ) from error
    missing = [name for name in COMMANDS if shutil.which(name) is None] if options.cluster == "slurm" else []
    if missing:
        raise UserError(
            f"--executor slurm: no command {', '.join(missing)} here; run it on a login node of the cluster, or add "
            "cluster=local to --slurm to rehearse on this machine"
        )


def open_cluster(options: SlurmOptions, gpus: str, folder: Path) -> Cluster:
    """The cluster of --slurm; submitit's files are in `folder`, `gpus` are those of a job."""
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return SlurmCluster(options, gpus, folder) if options.cluster == "slurm" else LocalCluster(options, gpus, folder)


class SlurmCluster:
    """Job arrays by submitit's SlurmExecutor; all jobs of a folder have one name, by which squeue lists them."""

    most: int | None = None

    def __init__(self, options: SlurmOptions, gpus: str, folder: Path) -> None:
        import submitit

        self.folder = folder
        self.name = f"lorasp-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        self.array_limit = read_array_limit()
        self._executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
        variables = {**build_child_environment(), "SUBMITIT_PREEMPT_SIGNAL": PREEMPTION_SIGNAL}
        flags: dict[str, Any] = {**options.flags, "requeue": True}
        if gpus != "0" and "gres" not in flags:
            flags["gpus-per-node"] = gpus
        parameters = {
            "job_name": self.name,
            "time": options.minutes,
            "signal_delay_s": options.grace,
            "array_parallelism": options.parallel,
            # a site may keep the environment of sbatch from its jobs
            "setup": [f"export {name}={shlex.quote(value)}" for name, value in variables.items()],
            "additional_parameters": flags,
            "cpus_per_task": options.cpus,
            "mem": None if options.mem is None else f"{options.mem // 2**20}M",
        }
        self._executor.update_parameters(**{k: v for k, v in parameters.items() if v is not None})

    def submit(self, tasks: Sequence[PackTask]) -> list[str]:
        printed = io.StringIO()
        try:
            # submitit prints the message of sbatch before it raises
            with contextlib.redirect_stderr(printed), _shield_children():
                return [job.job_id for job in self._executor.submit_array(tasks)]
        except Exception as error:  # submitit's own types, and whatever starting a process raises
            raise Refused(summarize_sbatch(str(error) or printed.getvalue())) from error

    def list_active(self) -> Mapping[str, JobState] | None:
        words = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--name", self.name]
        answer = run_command([*words, "--format", "%i|%T|%r"])
        if answer is None:
            return None
        rows = [line.strip().split("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
        return {job_id: JobState(state, reason) for job_id, state, reason in rows}

    def describe_end(self, job_id: str) -> JobEnd:
        # accounting may be off: the state is unknown then
        answer = run_command(["sacct", "--noheader", "--allocations", "--parsable2", "--format", "State", "-j", job_id])
        lines = (answer or "").split("\n")
        return _read_log(self.folder, job_id, lines[0].strip())

    def cancel(self, job_ids: Collection[str]) -> None:
        if job_ids:
            run_command(["scancel", *sorted(job_ids)])

    def format_cancel(self, job_ids: Collection[str]) -> str:
        return f"scancel --name {self.name}"


class LocalCluster:
    """Processes of this machine by submitit's LocalExecutor: to rehearse a run without a cluster."""

    array_limit = 10_000

    def __init__(self, options: SlurmOptions, gpus: str, folder: Path) -> None:
        import submitit

        self.folder = folder
        self.most: int | None = options.parallel
        self._jobs: dict[str, Any] = {}
        self._executor = submitit.LocalExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
        self._executor.update_parameters(
            timeout_min=options.minutes, signal_delay_s=options.grace, gpus_per_node=int(gpus != "0")
        )

    def submit(self, tasks: Sequence[PackTask]) -> list[str]:
        with set_child_environment(), _shield_children():
            jobs = [self._executor.submit(task) for task in tasks]
        self._jobs |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def list_active(self) -> Mapping[str, JobState]:
        import psutil

        active = {job_id: JobState("RUNNING") for job_id, job in self._jobs.items() if not job.done()}
        for process in psutil.process_iter(["pid", "cmdline"]):
            words = process.info["cmdline"] or []
            # the controllers of jobs that an earlier run started
            if "submitit.local._local" in words and str(self.folder) in words:
                active.setdefault(str(process.info["pid"]), JobState("RUNNING"))
        ended = {job_id for job_id, job in self._jobs.items() if job.done()}
        return {job_id: state for job_id, state in active.items() if job_id not in ended}

    def describe_end(self, job_id: str) -> JobEnd:
        return _read_log(self.folder, job_id, "")

    def cancel(self, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(job_id), signal.SIGTERM)

    def format_cancel(self, job_ids: Collection[str]) -> str:
        return f"kill {' '.join(sorted(job_ids))}"


# ---------------------------------------------------------------- commands and logs


def run_command(words: Sequence[str]) -> str | None:
    """What a command prints; None if it fails."""
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return result.stdout


def read_array_limit() -> int:
    """Most tasks of a job array: indices are below MaxArraySize."""
    match = re.search(r"^\s*MaxArraySize\s*=\s*([0-9]+)", run_command(["scontrol", "show", "config"]) or "", re.M)
    return max(1, int(match[1])) if match else DEFAULT_ARRAY_LIMIT


def summarize_sbatch(text: str) -> str:
    """The lines of sbatch's message as one."""
    lines = [re.sub(r"^sbatch: (error: )?", "", line.strip()) for line in text.splitlines()]
    return shorten("; ".join(dict.fromkeys(filter(None, lines)))) or "no message"


def _read_log(folder: Path, job_id: str, state: str) -> JobEnd:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (folder / f"{job_id}_0_log.err").read_text(errors="replace").splitlines()
    lines = [line for line in lines if line.strip()][-TRACE_LINES:]
    return JobEnd(state, shorten(lines[-1].strip()) if lines else "nothing in its log", "\n".join(lines))


@contextlib.contextmanager
def _shield_children() -> Iterator[None]:
    """A context whose child processes do not get Ctrl-C or the end of the terminal, which are meant for the run."""
    # unlike ignored signals, blocked ones still reach this process when the context ends
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
