"""The files through which a run and its Slurm jobs talk; the run may end and another one take over.

    OUT/slurm/
      data/SHA256.pkl        rows of a task, once for all packs
      packs/NAME.pkl         a pack to train; NAME is a hash of its cells               written by the run
      submissions/NAME.json  {token, id, kills}: who may train it                        written by the run
      starts/NAME.json       {token, id, node, step, idle}: who has begun               written by the job
      outcomes/NAME.pkl      JobReport                                                  written by the job
      jobs/                  submitit's scripts, pickles and logs
      machine.json           the machine of the last outcome                            written by the run

A run that is killed while it submits does not know the id of its job. `token` makes sure that the pack is trained once
all the same: a job first writes its start and then reads the token; the next run first writes a new token and then
reads the start. So either the job finds another token and ends, or the run finds the start and waits for that job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import pickle
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import replace_file, write_atomically
from harness.core.record import Environment
from harness.runner.executors.base import ExecutorSetup, Machine
from harness.runner.executors.job_pickle import RegisteredClassPickler, explain_pickle_errors
from harness.runner.executors.worker import Finished, Refused
from harness.training.pack_job import PackJob

KINDS = {"packs": "pkl", "submissions": "json", "starts": "json", "outcomes": "pkl"}
SUBMITIT_FILES = ("submitted.pkl", "0_result.pkl", "0_log.out", "0_log.err")
"""Endings of the files that submitit writes for a job."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """A pack that was submitted; `id` is None until sbatch has answered, `kills` counts jobs that it ended."""

    token: str
    id: str | None = None
    kills: int = 0


@dataclasses.dataclass
class Start:
    """The last start of a pack's job: its Slurm id, where it runs, and the last step that a checkpoint had.

    `idle` counts the starts before it that had the same.
    """

    token: str
    id: str
    node: str
    step: int = 0
    idle: int = 0


@dataclasses.dataclass(frozen=True)
class PackHeader:
    """What a job needs before it can read its pack.

    `versions` are those of the run; `digests` are the sha256 of the plugin files when the run loaded them.
    """

    setup: ExecutorSetup
    checkpoints: Path
    made_by: Mapping[str, Any]
    versions: Mapping[str, str]
    digests: Mapping[Path, str]


@dataclasses.dataclass(frozen=True)
class JobReport:
    """What a job leaves: its outcome, the machine, and lines for the user."""

    message: Finished | Refused
    machine: Machine | None = None
    notes: tuple[str, ...] = ()


class JobFiles:
    """The files of a run's Slurm jobs under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._written_rows: dict[int, tuple[str, object]] = {}

    @property
    def jobs(self) -> Path:
        """The folder of submitit."""
        return self.folder / "jobs"

    def prepare(self) -> None:
        """Make the folders. Raises UserError."""
        try:
            for name in (*KINDS, "data", "jobs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror}; choose another --out") from error

    def path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.{KINDS[kind]}"

    def list_names(self, kind: str) -> list[str]:
        """Names of the packs that have a file of this kind, sorted; empty without the folder."""
        folder, suffix = self.folder / kind, f".{KINDS[kind]}"
        with contextlib.suppress(OSError):
            # changing the mode of a folder makes NFS clients read it again
            folder.chmod(folder.stat().st_mode)
        with contextlib.suppress(OSError):
            return sorted(
                p.name.removesuffix(suffix) for p in folder.iterdir() if p.suffix == suffix and p.name[0] != "."
            )
        return []

    # ------------------------------------------------------------ packs

    def write_pack(self, job: PackJob, header: PackHeader) -> str:
        """The name of the pack after writing it. Raises UserError for an object of a plugin that cannot be written."""
        name = name_pack(job)
        stream = io.BytesIO()
        pickle.dump(header, stream, protocol=pickle.HIGHEST_PROTOCOL)
        with explain_pickle_errors(job):
            _PackPickler(stream, self.folder / "data", self._written_rows).dump(job)
        write_atomically(self.path("packs", name), stream.getvalue())
        return name

    def read_header(self, name: str) -> PackHeader:
        """What precedes the pack, which needs the plugins that it names. Raises any error for a damaged file."""
        with self.path("packs", name).open("rb") as stream:
            header: PackHeader = pickle.load(stream)
            return header

    def read_pack(self, name: str) -> PackJob:
        """The pack, for a process that has loaded the plugins. Raises any error for a damaged file."""
        with self.path("packs", name).open("rb") as stream:
            pickle.load(stream)
            job: PackJob = _PackUnpickler(stream, self.folder / "data").load()
            return job

    # ------------------------------------------------------------ submissions, starts, outcomes

    def write_submission(self, name: str, submission: Submission) -> None:
        write_atomically(self.path("submissions", name), json.dumps(dataclasses.asdict(submission)).encode())

    def read_submission(self, name: str) -> Submission | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Submission(**json.loads(self.path("submissions", name).read_bytes()))
        return None

    def write_start(self, name: str, start: Start) -> None:
        replace_file(self.path("starts", name), json.dumps(dataclasses.asdict(start)).encode())

    def read_start(self, name: str) -> Start | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Start(**json.loads(self.path("starts", name).read_bytes()))
        return None

    def write_outcome(self, name: str, report: JobReport) -> None:
        write_atomically(self.path("outcomes", name), pickle.dumps(report, protocol=pickle.HIGHEST_PROTOCOL))

    def has_outcome(self, name: str) -> bool:
        return self.path("outcomes", name).exists()

    def read_outcome(self, name: str) -> JobReport:
        """Raises any error for a damaged file."""
        report: JobReport = pickle.loads(self.path("outcomes", name).read_bytes())
        return report

    def replace_token(self, name: str, submission: Submission) -> Submission | None:
        """The submission with its id, of a run that was killed while it submitted; None if no job has begun it.

        In the second case no job of that submission begins it any more.
        """
        self.write_submission(name, dataclasses.replace(submission, token=secrets.token_hex(8)))
        start = self.read_start(name)
        if start is None or start.token != submission.token:
            return None
        submission = dataclasses.replace(submission, id=start.id)
        self.write_submission(name, submission)
        return submission

    def discard(self, name: str, job_id: str | None = None, *, logs: bool = False) -> None:
        """Remove the files of a pack, and submitit's files of its job; the job's logs stay with `logs`."""
        # the submission first: without it no job begins
        for kind in ("submissions", "outcomes", "starts", "packs"):
            with contextlib.suppress(OSError):
                self.path(kind, name).unlink(missing_ok=True)
        if job_id is not None and not logs:
            for ending in SUBMITIT_FILES:
                with contextlib.suppress(OSError):
                    (self.jobs / f"{job_id}_{ending}").unlink(missing_ok=True)

    # ------------------------------------------------------------ machine

    def write_machine(self, machine: Machine, options: str) -> None:
        content = {"environment": machine.environment.model_dump(), "free": machine.free_memory, "slurm": options}
        write_atomically(self.folder / "machine.json", json.dumps(content).encode())

    def read_machine(self, options: str) -> Machine | None:
        """The machine of the last outcome, if it was asked for by the same --slurm."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads((self.folder / "machine.json").read_bytes())
            if content["slurm"] == options:
                return Machine(Environment(**content["environment"]), int(content["free"]))
        return None


def name_pack(job: PackJob) -> str:
    """A hash of the cells that the job trains and records."""
    return hashlib.sha256(" ".join(job.own_pack.keys).encode()).hexdigest()[:16]


class _PackPickler(RegisteredClassPickler):
    """Writes the rows of a task to a file of their own, named by their hash; `written` has those of earlier packs."""

    def __init__(self, stream: io.BytesIO, folder: Path, written: dict[int, tuple[str, object]]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.folder, self.written = folder, written

    def persistent_id(self, value: Any) -> str | None:
        from harness.core.method import TaskData

        if not isinstance(value, TaskData):
            return None
        if id(value) not in self.written:
            content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
            name = f"{hashlib.sha256(content).hexdigest()}.pkl"
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, content)
            # the object is kept, so that no other one gets its id
            self.written[id(value)] = name, value
        return self.written[id(value)][0]


class _PackUnpickler(pickle.Unpickler):
    """Reads the rows of a task once per pack."""

    def __init__(self, stream: Any, folder: Path) -> None:
        super().__init__(stream)
        self.folder = folder
        self.received: dict[str, object] = {}

    def persistent_load(self, pid: str) -> object:
        if pid not in self.received:
            self.received[pid] = pickle.loads((self.folder / pid).read_bytes())
        return self.received[pid]
