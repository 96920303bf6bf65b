"""Runs of the command with `--executor slurm`, on the commands of fake_slurm.py."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.runner.executors.slurm_files import JobFiles
from harness.training.checkpoint import build_file_name
from tests.harness.runner.executors import test_pool
from tests.harness.runner.executors.test_pool import GRID, WORDS

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scontrol", "scancel")
SLURM = "partition=gpu,gpus=0,parallel=2"
LONG_STEPS = 120
LONG = ("--epochs", str(LONG_STEPS))
"""Flags of a run that takes so many steps: 8 an epoch, so that its epochs do not end it before."""


class FakeSlurm:
    """A folder with Slurm's commands, and what they have done."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, folder / "bin"
        for name in ("jobs", "orders", "bin"):
            (folder / name).mkdir(parents=True)
        script = Path(__file__).with_name("fake_slurm.py")
        for name in COMMANDS:
            shim = self.commands / name
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {script} {name} "$@"\n')
            shim.chmod(0o755)
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{self.commands}{os.pathsep}{os.environ['PATH']}",
            "FAKE_SLURM": str(folder),
            "LORASP_HARNESS_SLURM_SECONDS": "0.5",
            "LORASP_HARNESS_CHECKPOINT_SECONDS": "0",
        }

    def start(
        self, out: Path, *words: str, grid: str = GRID, steps: int = 30, **variables: str
    ) -> subprocess.Popen[str]:
        slurm = ["--executor", "slurm", "--slurm", SLURM] if "--slurm" not in words else ["--executor", "slurm"]
        return start(out, *words, *slurm, grid=grid, steps=steps, environment={**self.environment, **variables})

    def jobs(self) -> dict[str, dict[str, object]]:
        return {path.stem: json.loads(path.read_text()) for path in (self.folder / "jobs").glob("*.json")}

    def states(self) -> list[str]:
        return [str(job["state"]) for job in self.jobs().values()]

    def order(self, job: str, what: str) -> None:
        (self.folder / "orders" / f"{job}.{what}").touch()

    def end(self) -> None:
        for _ in range(200):
            active = [name for name, job in self.jobs().items() if job["state"] in ("PENDING", "RUNNING")]
            if not active:
                return
            for name in active:
                self.order(name, "cancel")
                self.order(name, "kill")
            time.sleep(0.1)


def start(
    out: Path, *words: str, grid: str = GRID, steps: int = 30, environment: dict[str, str]
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", *WORDS, *grid.split(), "--max-steps", str(steps)]
    return subprocess.Popen(
        [*command, "--out", str(out), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


finish = functools.partial(test_pool.finish, timeout=500)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 400
    while not happened():
        assert process is None or process.poll() is None, process.communicate(timeout=60)[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_submitted(out: Path, count: int = 2) -> bool:
    """Whether the run knows the ids of so many jobs."""
    paths = list((out / "slurm" / "submissions").glob("*.json"))
    return len(paths) == count and all(json.loads(path.read_text())["id"] for path in paths)


def start_long(slurm: FakeSlurm, out: Path) -> subprocess.Popen[str]:
    """A run whose packs train for so long that a busy machine disturbs each before its end."""
    return slurm.start(out, *LONG, steps=LONG_STEPS)


def find_pack(out: Path, job_id: str) -> tuple[JobFiles, str]:
    """The files of a run, and the name of the pack that a submitted job trains."""
    files = JobFiles(out / "slurm")
    for name in files.list_names("submissions"):
        submission = files.read_submission(name)
        if submission is not None and submission.id == job_id:
            return files, name
    raise AssertionError(f"no pack of job {job_id}")


def find_checkpoint(out: Path, job_id: str) -> Path:
    """Where the pack of a submitted job has its checkpoint."""
    files, name = find_pack(out, job_id)
    return out / "checkpoints" / build_file_name(files.read_pack(name).own_pack.keys)


def has_begun(files: JobFiles, name: str, idle: int) -> bool:
    """Whether the job of a pack has begun to load, after so many starts without progress."""
    start = files.read_start(name)
    return start is not None and start.idle == idle


def wait_for_progress(slurm: FakeSlurm, job: str, runs: int, checkpoint: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the start of a job with this number has written a checkpoint."""

    def read_time() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    wait_until(lambda: slurm.jobs()[job]["runs"] == runs, process)
    before = read_time()  # an earlier start may have written it
    wait_until(lambda: read_time() > before, process)
