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

from tests.harness.runner.executors import test_pool
from tests.harness.runner.executors.test_pool import GRID, WORDS

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scontrol", "scancel")
SLURM = "partition=gpu,gpus=0,parallel=2"


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


def is_submitted(out: Path) -> bool:
    """Whether the run knows the ids of both jobs."""
    paths = list((out / "slurm" / "submissions").glob("*.json"))
    return len(paths) == 2 and all(json.loads(path.read_text())["id"] for path in paths)


def has_checkpoint(out: Path) -> bool:
    return any((out / "checkpoints").glob("*.pt"))
