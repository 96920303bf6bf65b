"""What scripts/kill_rounds.py does to a run: a process of the command, and attacks on it and on its workers."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

FLAGS = (
    "run --suite glue --methods lora,lorasp --max-steps 12 --train-rows 96 --eval-rows 16 --seeds 1 --threads 1 "
    "--devices cpu:2 --no-profile --formats md"
).split()
MARK = "LORASP_KILL_ROUND"
"""Environment variable by which all processes of a round are found."""
LIMIT_SECONDS = 600.0
HANG_SECONDS = 60
"""Silence after which the runs count a worker as hanging: a busy machine may be silent for long."""
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}


class Fault(Exception):
    """What the round has found."""


class Run:
    """One process of the command; `attack` may send signals to it and to its workers."""

    def __init__(self, out: Path, mark: str, file_limit: int | None = None) -> None:
        env = os.environ | {MARK: mark, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        env |= {"LORASP_HARNESS_CHECKPOINT_SECONDS": "0.5", "LORASP_HARNESS_WORKER_SECONDS": str(HANG_SECONDS)}

        def prepare() -> None:
            # a shell lets its background jobs ignore SIGINT, and a run leaves an ignored signal ignored
            for name in SIGNALS:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        self.out, self.mark, self.began = out, mark, time.monotonic()
        # beside the folder, whose disk may be full
        self.log = out.parent.with_suffix(".log")
        with self.log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness", *FLAGS, "--out", str(out)],
                stdout=stream,
                stderr=stream,
                env=env,
                preexec_fn=prepare,
                start_new_session=True,
            )

    def workers(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if get_name(child).startswith("worker ")]
        return []

    def wait(self) -> int:
        try:
            return self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Fault(f"the command has not ended after {LIMIT_SECONDS:.0f} s") from None

    def read_checkpoint_ages(self) -> list[float]:
        """Seconds since each pack that trains was last saved, for packs that have a checkpoint."""
        ages = []
        for path in (self.out / "checkpoints").glob("*.pt"):
            with contextlib.suppress(OSError):
                ages.append(time.time() - path.stat().st_mtime)
        return ages

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")


def get_name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


# ---------------------------------------------------------------- attacks


def kill_worker(run: Run, draw: random.Random) -> None:
    """As the kernel does when memory runs out."""
    if workers := run.workers():
        draw.choice(workers).kill()


def kill_workers(run: Run, draw: random.Random) -> None:
    for worker in run.workers():
        worker.kill()


def stop_with_sigterm(run: Run, draw: random.Random) -> None:
    """A signal to one worker, not to the run."""
    if workers := run.workers():
        draw.choice(workers).terminate()


def kill_half_for_good(run: Run, draw: random.Random) -> None:
    """Half of the workers, and each one that comes in their place."""
    victims = {get_name(worker) for worker in run.workers()[:1]}
    while victims and run.process.poll() is None and "the run goes on without it" not in run.read_log():
        for worker in run.workers():
            if get_name(worker) in victims:
                worker.kill()
        time.sleep(0.002)


def kill_fork_server(run: Run, draw: random.Random) -> None:
    for child in psutil.Process(run.process.pid).children():
        child.kill()


def kill_run(run: Run, draw: random.Random) -> None:
    run.process.kill()


def signal_run(run: Run, draw: random.Random) -> None:
    """Each signal that ends a run as Ctrl-C does; its exit code, within 30 s."""
    name, code = draw.choice(list(SIGNALS.items()))
    if run.process.poll() is not None:
        return
    sent = time.monotonic()
    run.process.send_signal(getattr(signal, name))
    ended = run.wait()
    if ended not in (code, 0) or (ended == 0 and "interrupted" in run.read_log().splitlines()[-1]):
        raise Fault(f"{name}: exit code {ended}, expected {code}")
    if (seconds := time.monotonic() - sent) > 30:
        raise Fault(f"{name}: the run ended after {seconds:.0f} s")


def stop_worker(run: Run, draw: random.Random) -> None:
    """A worker that hangs, for good or for a while."""
    if workers := run.workers():
        worker = draw.choice(workers)
        worker.suspend()
        if draw.random() < 0.5:
            time.sleep(3)
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.resume()


def start_second_run(run: Run, draw: random.Random) -> None:
    """A second run in the folder is refused by one line and does not disturb the first."""
    second = Run(run.out, run.mark)
    code = second.wait()
    if code not in ((0, 2) if run.process.poll() is not None else (2,)):
        raise Fault(f"a second run in the folder ended with {code}")


def fill_disk(run: Run, draw: random.Random) -> None:
    """Fill the folder's file system until the run ends, if it is one of its own (see `make_folder`)."""
    if not run.out.parent.is_mount():
        return
    filler = run.out.parent / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(b"\0" * 65536)
    run.wait()
    filler.unlink()


def wait_for_profile(run: Run) -> None:
    while run.process.poll() is None and "profil" not in run.read_log():
        time.sleep(0.02)


def kill_in_profile(run: Run, draw: random.Random) -> None:
    wait_for_profile(run)
    time.sleep(draw.uniform(0, 4))
    run.process.kill()


def signal_in_profile(run: Run, draw: random.Random) -> None:
    wait_for_profile(run)
    time.sleep(draw.uniform(0, 4))
    signal_run(run, draw)


ATTACKS: dict[str, Callable[[Run, random.Random], None]] = {
    "kill-worker": kill_worker,
    "kill-workers": kill_workers,
    "kill-half": kill_half_for_good,
    "kill-server": kill_fork_server,
    "kill-run": kill_run,
    "signal-run": signal_run,
    "signal-worker": stop_with_sigterm,
    "stop-worker": stop_worker,
    "second-run": start_second_run,
    "full-disk": fill_disk,
}
IN_PROFILE = {"kill-in-profile": kill_in_profile, "signal-in-profile": signal_in_profile}
"""With --profiles only."""
