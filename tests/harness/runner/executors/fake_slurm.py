"""Slurm's commands for tests: they run jobs as processes of this machine. Called as `fake_slurm.py COMMAND ...`.

$FAKE_SLURM has next_id, jobs/ID.json {state, name, raw, script, pid, runs}, and orders/ID.ORDER, by which commands and
tests speak to the process that keeps an array: cancel, requeue, warn (SIGUSR1), kill (as when a node fails).

Variables: FAKE_SLURM_MAX_ARRAY (MaxArraySize), FAKE_SLURM_MAX_SUBMIT (jobs in the queue), FAKE_SLURM_TIMEOUT="5,20"
(SIGUSR1 and SIGKILL after so many seconds), FAKE_SLURM_SLEEP (seconds between accepting an array and answering).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
ACTIVE = ("PENDING", "RUNNING")


def write(job: str, content: dict) -> None:
    path = FOLDER / "jobs" / f"{job}.json"
    path.with_suffix(".new").write_text(json.dumps(content))
    os.replace(path.with_suffix(".new"), path)


def read_all() -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (FOLDER / "jobs").glob("*.json")}


def order(job: str, what: str) -> None:
    (FOLDER / "orders" / f"{job}.{what}").touch()


def take(job: str, what: str) -> bool:
    path = FOLDER / "orders" / f"{job}.{what}"
    if not path.exists():
        return False
    path.unlink()
    return True


def refuse(*lines: str) -> None:
    print("\n".join(f"sbatch: error: {line}" for line in lines), file=sys.stderr)
    sys.exit(1)


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.M))
    if flags.get("partition", "gpu") != "gpu":
        refuse(
            f"invalid partition specified: {flags['partition']}",
            "Batch job submission failed: Invalid partition name specified",
        )
    match = re.fullmatch(r"0-(\d+)%(\d+)", flags.get("array", ""))
    count, parallel = (int(match[1]) + 1, int(match[2])) if match else (1, 1)
    if count > int(os.environ.get("FAKE_SLURM_MAX_ARRAY", "1001")):
        refuse("Batch job submission failed: Invalid job array specification")
    active = sum(job["state"] in ACTIVE for job in read_all().values())
    if active + count > int(os.environ.get("FAKE_SLURM_MAX_SUBMIT", "10000")):
        refuse("QOSMaxSubmitJobPerUserLimit", "Batch job submission failed: Job violates accounting/QOS policy")
    with (FOLDER / "next_id").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        first = int(stream.read() or 100)
        stream.truncate(0)
        stream.write(str(first + count))
    # Slurm keeps its own copy of the script
    copy = FOLDER / f"{first}.sh"
    copy.write_text(text)
    names = [f"{first}_{index}" for index in range(count)] if match else [str(first)]
    for index, name in enumerate(names):
        job = {"state": "PENDING", "name": flags["job-name"], "raw": first + index, "script": str(copy), "runs": 0}
        write(name, job | {"flags": flags})
    if os.fork() == 0:
        os.setsid()
        with open(os.devnull, "r+") as null, (FOLDER / "daemon.log").open("a") as log:
            for number, stream in enumerate((null, log, log)):
                os.dup2(stream.fileno(), number)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        keep(names, first, parallel)
        os._exit(0)
    time.sleep(float(os.environ.get("FAKE_SLURM_SLEEP", "0")))
    print(f"Submitted batch job {first}")


def keep(names: list[str], first: int, parallel: int) -> None:
    """Run the tasks of an array, so many at a time."""
    places = threading.Semaphore(parallel)
    threads = []
    for index, name in enumerate(names):
        places.acquire()
        thread = threading.Thread(target=run_task, args=(name, first, index if "_" in name else None, places))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()


def run_task(name: str, first: int, index: int | None, places: threading.Semaphore) -> None:
    try:
        while True:
            job = json.loads((FOLDER / "jobs" / f"{name}.json").read_text())
            if take(name, "cancel"):
                write(name, job | {"state": "CANCELLED by 0"})
                return
            job["runs"] += 1
            state = run_once(name, job, first, index)
            if state != "REQUEUED":
                write(name, job | {"state": state})
                return
            write(name, job | {"state": "PENDING"})
    finally:
        places.release()


def run_once(name: str, job: dict, first: int, index: int | None) -> str:
    environment = {**os.environ, "SLURM_JOB_ID": str(job["raw"]), "FAKE_SLURM_JOB": name}
    if index is not None:
        environment |= {"SLURM_ARRAY_JOB_ID": str(first), "SLURM_ARRAY_TASK_ID": str(index)}
    write(name, job | {"state": "RUNNING"})
    began, warned, killed = time.monotonic(), False, None
    warn_at, kill_at = (float(word) for word in os.environ.get("FAKE_SLURM_TIMEOUT", "1e9,1e9").split(","))
    process = subprocess.Popen(["bash", job["script"]], env=environment, start_new_session=True)
    requeued = False
    while process.poll() is None:
        time.sleep(0.05)
        seconds = time.monotonic() - began
        if (seconds > warn_at and not warned) or take(name, "warn"):
            warned = True
            send(name, signal.SIGUSR1)
        if take(name, "term"):
            send(name, signal.SIGTERM)
        requeued = requeued or take(name, "requeue")
        if killed is None and (seconds > kill_at or take(name, "kill")):
            killed = "TIMEOUT" if seconds > kill_at else "NODE_FAIL"
            os.killpg(process.pid, signal.SIGKILL)
        if killed is None and take(name, "cancel"):
            killed = "CANCELLED by 0"
            send(name, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if requeued or take(name, "requeue"):
        return "REQUEUED"
    return killed or ("COMPLETED" if process.returncode == 0 else "FAILED")


def send(name: str, number: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((FOLDER / "jobs" / f"{name}.pid").read_text()), number)


def srun(*words: str) -> None:
    name = os.environ["FAKE_SLURM_JOB"]
    main, _, task = name.partition("_")
    arguments = list(words)
    streams = {"--output": 1, "--error": 2}
    while arguments[0].startswith("--"):
        flag = arguments.pop(0)
        if flag in streams:
            path = arguments.pop(0)
            for mark, value in {"%A": main, "%a": task, "%j": main, "%t": "0"}.items():
                path = path.replace(mark, value)
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), streams[flag])
    (FOLDER / "jobs" / f"{name}.pid").write_text(str(os.getpid()))
    os.execvp(arguments[0], arguments)


def squeue(*words: str) -> None:
    name = words[words.index("--name") + 1]
    for job_id, job in read_all().items():
        if job["state"] in ACTIVE and job["name"] == name:
            print(f"{job_id}|{job['state']}|{'Resources' if job['state'] == 'PENDING' else 'None'}")


def sacct(*words: str) -> None:
    print(read_all()[words[words.index("-j") + 1]]["state"])


def scontrol(*words: str) -> None:
    if words[0] == "requeue":
        order(words[1], "requeue")
    else:
        print(f"MaxArraySize            = {os.environ.get('FAKE_SLURM_MAX_ARRAY', '1001')}")


def scancel(*words: str) -> None:
    jobs = read_all()
    chosen = words if words[0] != "--name" else [j for j, job in jobs.items() if job["name"] == words[1]]
    for job_id in chosen:
        if jobs[job_id]["state"] in ACTIVE:
            order(job_id, "cancel")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
