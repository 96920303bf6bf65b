"""The packs that Slurm has: submit them, collect what their jobs leave, and find jobs that ended without an outcome."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.failure import Failure
from harness.core.provenance import get_utc_time
from harness.core.text import count_noun
from harness.planning.schedule import count_steps
from harness.runner.executors.base import read_seconds
from harness.runner.executors.restarts import MAX_KILLS, build_kill_failure, describe_restart
from harness.runner.executors.slurm_cluster import Cluster, Refused
from harness.runner.executors.slurm_files import JobFiles, PackHeader, Submission, name_pack
from harness.runner.executors.slurm_task import PackTask
from harness.runner.executors.worker import Finished, Refused as RefusedByNode
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener

QUEUE_SECONDS = 30.0
"""Between two calls of squeue; LORASP_HARNESS_SLURM_SECONDS overrides it."""
FOLDER_SECONDS = 2.0
"""Between two looks at the shared folder."""
LOST_STATES = ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
"""Ends of a job that are not its pack's fault."""
MAX_LOSSES = 10
"""Such ends of a pack in one run; further ones count as kills, since a pack may be what ends its nodes."""
MAX_MISSES = 2
"""Calls of squeue in a row that must miss a job: its outcome may be late on a network file system."""
USUAL_REASONS = frozenset({"", "None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency"})
"""Reasons to wait that end by themselves."""


@dataclasses.dataclass
class Submitted:
    """A pack that a job trains; `misses` counts calls of squeue in a row without it."""

    job: PackJob
    submission: Submission
    is_announced: bool = False
    misses: int = 0

    @property
    def id(self) -> str:
        return self.submission.id or ""


class PackQueue:
    """The packs of one call of `run` that Slurm has, by the names of their files."""

    def __init__(self, files: JobFiles, cluster: Cluster, header: PackHeader, listener: Listener) -> None:
        self.files, self.cluster, self.header, self.listener = files, cluster, header, listener
        self.submitted: dict[str, Submitted] = {}
        self.is_waiting = self._has_submitted = False
        self._kills: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self._cancelled: list[str] = []
        self._array_limit = self.cluster.array_limit
        self._interval = read_seconds("LORASP_HARNESS_SLURM_SECONDS", QUEUE_SECONDS)
        self._next_call = self._next_submission = 0.0

    # ------------------------------------------------------------ submitting

    def adopt(self, jobs: deque[PackJob]) -> None:
        """Take over the jobs that an earlier run submitted, and drop their cells from `jobs`."""
        wanted = {key for job in jobs for key in job.own_pack.keys}
        save_adapters, sharpness = any(job.save_adapters for job in jobs), any(job.sharpness for job in jobs)
        foreign_ids: set[str] = set()
        stale_ids: set[str] = set()
        for name in self.files.list_names("submissions"):
            submission, job = self.files.read_submission(name), self._read_pack(name)
            if submission is not None and submission.id is None and not self.files.has_outcome(name):
                submission = self.files.replace_token(name, submission)
            if submission is not None and job is not None and not wanted & set(job.own_pack.keys):
                foreign_ids.add(submission.id or "")  # cells of another command with the same folder
            elif submission is None or job is None or save_adapters > job.save_adapters or sharpness > job.sharpness:
                stale_ids |= {submission.id} if submission is not None and submission.id else set()
                self.files.discard(name)
            else:
                self.submitted[name] = Submitted(job, submission)
                self._kills[name] = submission.kills
        adopted_ids = {entry.id for entry in self.submitted.values()}
        # a run that was killed while it submitted may have left jobs that nobody waits for
        stale_ids |= set(self.cluster.list_active() or ()) - adopted_ids - foreign_ids
        self.cluster.cancel(stale_ids)
        if self.submitted:
            self._has_submitted = True
            self.listener.note(f"Slurm: {count_noun(len(self.submitted), 'job')} of an earlier command taken over")
        keys = {key for entry in self.submitted.values() for key in entry.job.own_pack.keys}
        remaining = [trimmed for job in jobs if (trimmed := _drop_cells(job, keys)) is not None]
        jobs.clear()
        jobs.extend(remaining)

    def submit(self, jobs: deque[PackJob]) -> None:
        """Submit `jobs` as arrays as large as the cluster takes. Raises UserError with sbatch's message."""
        if jobs and time.monotonic() < self._next_submission:
            self.wait()
            return
        while jobs:
            room = len(jobs) if self.cluster.most is None else self.cluster.most - len(self.submitted)
            chunk = [jobs.popleft() for _ in range(min(room, len(jobs), self._array_limit))]
            if not chunk:
                self.wait()
                return
            try:
                self._submit_array(chunk)
            except Refused as refusal:
                jobs.extendleft(reversed(chunk))
                if refusal.by_limit and len(chunk) > 1:
                    self._array_limit = len(chunk) // 2
                elif refusal.by_limit and self._has_submitted:  # a job leaves the queue after its outcome is collected
                    self._note_once(f"Slurm takes no more jobs now ({refusal}); the others follow")
                    self._array_limit = self.cluster.array_limit
                    self._next_submission = time.monotonic() + self._interval
                    return
                else:
                    hint = "correct --slurm" if not self.submitted else "submitted jobs continue; correct --slurm"
                    raise UserError(f"sbatch refuses: {refusal}; {hint}, and the same command resumes") from refusal

    def _submit_array(self, chunk: list[PackJob]) -> None:
        """Submit one array. Raises Refused."""
        entries = {}
        for job in chunk:
            name = self.files.write_pack(job, self.header)
            submission = Submission(secrets.token_hex(8), kills=self._kills[name])
            self.files.write_submission(name, submission)
            entries[name] = Submitted(job, submission)
        tasks = [PackTask(self.files.folder, name, entry.submission.token) for name, entry in entries.items()]
        try:
            job_ids = self.cluster.submit(tasks)
        except Refused:
            for name in entries:
                self.files.discard(name)
            raise
        for (name, entry), job_id in zip(entries.items(), job_ids, strict=True):
            entry.submission = dataclasses.replace(entry.submission, id=job_id)
            self.files.write_submission(name, entry.submission)
        self.submitted |= entries
        self._has_submitted = True
        self.listener.note(f"Slurm: {count_noun(len(entries), 'job')} submitted ({job_ids[0]} to {job_ids[-1]})")

    # ------------------------------------------------------------ collecting

    def wait(self) -> None:
        self.is_waiting = True
        try:
            time.sleep(min(FOLDER_SECONDS, self._interval))
        finally:
            self.is_waiting = False

    def announce(self) -> None:
        """Tell the listener of packs that have begun."""
        begun = set(self.files.list_names("starts"))
        for name, entry in self.submitted.items():
            if name in begun and not entry.is_announced:
                entry.is_announced, pack = True, entry.job.own_pack
                steps = max(count_steps(member.cell.protocol, member.train_rows) for member in pack.members)
                self.listener.on_pack_start(pack.first.cell.task, len(pack.members), steps, pack.keys, entry.id)

    def collect(self) -> Iterator[PackOutcome]:
        """Outcomes that jobs have left. Raises UserError if a node refuses the run."""
        for name in self.files.list_names("outcomes"):
            entry = self.submitted.get(name)
            if entry is None:
                continue
            try:
                report = self.files.read_outcome(name)
            except Exception as error:  # damaged, or written by other versions: the job counts as ended without it
                self.listener.note(f"Slurm job {entry.id}: its outcome does not read ({type(error).__name__})")
                self.files.path("outcomes", name).unlink(missing_ok=True)
                continue
            if not isinstance(report.message, Finished):
                raise self._give_up(entry, report.message)
            for line in report.notes:
                self.listener.note(line)
            if report.machine is not None:
                self.files.write_machine(report.machine, self.header.setup.slurm or "")
            environment = None if report.machine is None else report.machine.environment
            fields = {f.name: getattr(report.message, f.name) for f in dataclasses.fields(report.message)}
            yield PackOutcome(entry.job, environment=environment, worker=entry.id, **fields)
            # the caller has stored the records by now
            self._forget(name, logs=report.message.failure is not None)

    def recover(self, jobs: deque[PackJob]) -> Iterator[PackOutcome]:
        """Find jobs that ended without an outcome: their packs go to `jobs`, or are outcomes with a failure."""
        if time.monotonic() < self._next_call:
            return
        active = self.cluster.list_active()
        self._next_call = time.monotonic() + self._interval
        if active is None:
            self._note_once("squeue does not answer; waiting for outcomes")
            return
        finished = set(self.files.list_names("outcomes"))
        for name, entry in list(self.submitted.items()):
            state = active.get(entry.id)
            entry.misses = entry.misses + 1 if state is None and name not in finished else 0
            if state is not None and state.state == "PENDING" and state.reason not in USUAL_REASONS:
                self._note_once(f"Slurm: jobs wait: {state.reason}")
            if entry.misses >= MAX_MISSES:
                outcome = self._resolve_end(name, entry, jobs)
                if outcome is not None:
                    yield outcome
                    self._forget(name, logs=True)

    def _resolve_end(self, name: str, entry: Submitted, jobs: deque[PackJob]) -> PackOutcome | None:
        """After a job has ended without an outcome: the pack again, or its failure."""
        end = self.cluster.describe_end(entry.id)
        if end.state.startswith("CANCELLED"):  # by scancel: whoever did it does not want it again now
            self._cancelled.append(entry.id)
            self._forget(name)
            return None
        if end.state.startswith("OUT_OF_ME"):
            line = f"its Slurm job {entry.id} ran out of host memory ({end.state})"
            return PackOutcome(entry.job, get_utc_time(), failure=Failure(line, end.trace or line, memory=True))
        what = end.state or "state unknown"
        is_lost = what in LOST_STATES and self._losses[name] < MAX_LOSSES
        (self._losses if is_lost else self._kills)[name] += 1
        if self._kills[name] >= MAX_KILLS:
            failure = build_kill_failure("Slurm job", f"job {entry.id}: {what}; {end.line}", end.trace)
            return PackOutcome(entry.job, get_utc_time(), failure=failure)
        why = f"Slurm job {entry.id} ended ({what})"
        self.listener.note(describe_restart(entry.job, why, "the last checkpoint"))
        self._forget(name, logs=True)
        jobs.append(entry.job)
        return None

    def _forget(self, name: str, *, logs: bool = False) -> None:
        entry = self.submitted.pop(name)
        self.files.discard(name, entry.submission.id, logs=logs)

    # ------------------------------------------------------------ ends of the run

    def finish(self) -> None:
        """Raise UserError if jobs were cancelled: their cells have no record."""
        if self._cancelled:
            raise UserError(
                f"{count_noun(len(self._cancelled), 'Slurm job')} cancelled ({', '.join(self._cancelled[:5])}); all "
                "other cells are stored, and the same command submits the rest"
            )

    def say_goodbye(self) -> None:
        """Say that the jobs continue, and how to cancel them."""
        ids = {entry.id for entry in self.submitted.values()}
        if ids:
            verb = "continues" if len(ids) == 1 else "continue"
            self.listener.note(
                f"Slurm: {count_noun(len(ids), 'job')} {verb}; the same command collects their results; to cancel: "
                f"{self.cluster.format_cancel(ids)}"
            )

    def _give_up(self, entry: Submitted, message: RefusedByNode) -> UserError:
        """Cancel all jobs, since each would meet the same error; returns it."""
        finished = {name for name in self.files.list_names("outcomes") if self._has_finished(name)}
        self.cluster.cancel({other.id for name, other in self.submitted.items() if name not in finished})
        for name in self.submitted.keys() - finished:  # what others have finished is collected by the next command
            self._forget(name, logs=True)
        return UserError(f"Slurm job {entry.id}: {message.message}")

    def _read_pack(self, name: str) -> PackJob | None:
        """A pack that an earlier run submitted; None if this one cannot use it."""
        try:
            header = self.files.read_header(name)
            if dict(header.versions) != dict(self.header.versions):
                return None
            # its job would refuse plugins that were edited in between, unless it has ended before
            if dict(header.digests) != dict(self.header.digests) and not self.files.has_outcome(name):
                return None
            job = self.files.read_pack(name)
        except Exception:  # damaged, or of other versions of the code
            return None
        return job if name_pack(job) == name else None

    def _has_finished(self, name: str) -> bool:
        """Whether a job has left an outcome, and not a refusal."""
        try:
            return isinstance(self.files.read_outcome(name).message, Finished)
        except Exception:  # damaged, or of other versions of the code
            return False

    def _note_once(self, line: str) -> None:
        if line not in self._reasons:
            self._reasons.add(line)
            self.listener.note(line)


def _drop_cells(job: PackJob, keys: set[str]) -> PackJob | None:
    """The job without some cells; None if none are left."""
    slots = [slot for slot in job.slots if job.pack.members[slot].key not in keys]
    if len(slots) == len(job.slots):
        return job
    return dataclasses.replace(job, pack=job.pack.select(slots), start=None) if slots else None
