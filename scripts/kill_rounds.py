"""Disturb runs on two workers at random moments and check that nothing is lost, trained twice or left behind.

    python -m scripts.kill_rounds [--rounds N] [--each N] [--seed S] [--attacks NAME,...] [--folder DIR]

Each round runs the same command in a new folder, disturbs it `--each` times, and gives the command again until it ends
with exit code 0. Then the records must equal those of an undisturbed run in all bits, no record may have been written
twice, and no process may be left. A pack that ends two workers trains its cells alone, which changes bits: such a round
is reported as split, and only its statuses are compared. One JSON line per round goes to stdout and DIR/rounds.jsonl;
exit code 1 after a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from scripts.kill_attacks import ATTACKS, FLAGS, IN_PROFILE, MARK, Fault, Run, get_name

MOST_STARTS = 10
"""Times that the command is given before a round counts as failed."""
Report = dict[str, object]
Results = dict[str, tuple[object, ...]]


@contextlib.contextmanager
def make_folder(parent: Path, own_disk: bool) -> Iterator[Path]:
    """A new folder, on a file system of 16 MiB if `own_disk` and if mounting is permitted."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    mounted = own_disk and not subprocess.call(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)])
    try:
        yield folder
    finally:
        if mounted:
            subprocess.call(["umount", "-l", str(folder)])
        subprocess.call(["rm", "-rf", str(folder), str(folder.with_suffix(".log"))])


def read_finished(out: Path) -> dict[str, bytes]:
    """The bytes of each record that is final, by name."""
    finished = {}
    for path in (out / "cells").glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            content = path.read_bytes()
            if json.loads(content)["status"] == "ok":
                finished[path.name] = content
    return finished


def read_results(out: Path) -> Results:
    """What must be equal between runs: status, scores and loss curve of each cell."""
    results: Results = {}
    for path in (out / "cells").glob("*.json"):
        record = json.loads(path.read_bytes())
        results[path.name] = record["status"], record["reason"], record["scores"], record["loss_curve"]
    return results


def check_processes(mark: str) -> None:
    """Raise Fault if a process of the round is left after 5 seconds."""
    deadline = time.monotonic() + 5
    while left := [p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get(MARK) == mark]:
        if time.monotonic() > deadline:
            names = [f"{p.pid} {get_name(p)}" for p in left]
            for process in left:
                process.kill()
            raise Fault(f"left behind: {', '.join(names)}")
        time.sleep(0.1)


def disturb(run: Run, attacks: list[str], longest: float, draw: random.Random) -> list[str]:
    """Apply attacks from the left, each after a delay, while the run lives; returns what was applied, and when."""
    applied = []
    while attacks and run.process.poll() is None:
        moment = time.monotonic() + draw.uniform(0, longest / 2)
        while time.monotonic() < moment and run.process.poll() is None:
            time.sleep(0.01)
        if run.process.poll() is not None:
            break
        attack = attacks.pop(0)
        ages = run.read_checkpoint_ages()
        unsaved = f", oldest checkpoint {max(ages):.1f} s old" if ages else ""
        applied.append(f"{attack} at {time.monotonic() - run.began:.1f} s{unsaved}")
        with contextlib.suppress(psutil.NoSuchProcess):
            ATTACKS[attack](run, draw)
    return applied


def run_round(folder: Path, attacks: list[str], longest: float, draw: random.Random, expected: Results) -> Report:
    """Run, disturb, give the command again until it ends well. Raises Fault."""
    out, mark = folder / "out", uuid.uuid4().hex
    finished: dict[str, bytes] = {}
    applied, codes = [], []
    for _ in range(MOST_STARTS):
        run = Run(out, mark)
        try:
            applied += disturb(run, attacks, longest, draw)
            codes.append(run.wait())
        finally:
            run.process.kill()
            run.process.wait()
        check_processes(mark)
        after = read_finished(out)
        if again := [name for name, content in finished.items() if after.get(name) != content]:
            raise Fault(f"finished cells were trained again: {again}")
        finished = after
        if codes[-1] == 0:
            break
    else:
        raise Fault(f"exit codes {codes}: {run.read_log()[-500:]}")
    results, log = read_results(out), run.read_log()
    split = "worker process ended 2 times" in log
    wrong = [n for n, result in expected.items() if results.get(n, ("",))[0] != "ok" or results[n] != result]
    if split:
        wrong = [name for name in expected if results.get(name, ("",))[0] != "ok"]
    if wrong or len(results) != len(expected):
        raise Fault(f"{len(wrong)} of {len(expected)} cells differ: {wrong[:3]}; {len(results)} cells")
    resumed = [line for line in log.splitlines() if "again from" in line or "resumes from" in line]
    return {"attacks": applied, "codes": codes, "resumed": len(resumed), "split": split}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=2, help="attacks per round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attacks", help="comma-separated; default: all")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kill-rounds")
    parser.add_argument("--profiles", action="store_true", help="take profiles too, so that attacks meet them")
    options = parser.parse_args()
    if options.profiles:
        FLAGS.remove("--no-profile")
        ATTACKS.update(IN_PROFILE)
    options.folder.mkdir(parents=True, exist_ok=True)
    names = options.attacks.split(",") if options.attacks else list(ATTACKS)
    with make_folder(options.folder, own_disk=False) as folder:
        run = Run(folder / "out", uuid.uuid4().hex)
        if run.wait():
            print(run.read_log(), file=sys.stderr)
            return 1
        duration, expected = time.monotonic() - run.began, read_results(folder / "out")
    faults = 0
    for number in range(options.rounds):
        draw = random.Random(f"{options.seed} {number}")
        attacks = [names[number % len(names)], *draw.choices(names, k=options.each - 1)]
        report: Report = {"round": number, "seed": options.seed}
        began = time.monotonic()
        with make_folder(options.folder, own_disk="full-disk" in attacks) as folder:
            try:
                report |= run_round(folder, list(attacks), duration, draw, expected) | {"ok": True}
            except Fault as fault:
                faults += 1
                report |= {"ok": False, "fault": str(fault), "planned": attacks}
                folder.with_suffix(".log").rename(options.folder / f"fault-{options.seed}-{number}.log")
        report |= {"seconds": round(time.monotonic() - began, 1), "load": round(os.getloadavg()[0], 1)}
        line = json.dumps(report)
        print(line, flush=True)
        with (options.folder / "rounds.jsonl").open("a") as stream:
            stream.write(f"{line}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
