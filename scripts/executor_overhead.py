"""Time the same packs on two worker processes and on a local Ray, in alternating rounds, without the start of either.

    python scripts/executor_overhead.py [ROUNDS] [SEEDS] [TASKS]

Prints, for each round, the wall time and the CPU time of all processes of the run, and at the end the ratio of their
medians. CPU time is what a busy machine disturbs least.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from harness.core.listener import SilentListener
from harness.core.registry import load_all
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from harness.runner.execute import execute, open_executor

FLAGS = {"local": {"devices": "cpu:2"}, "ray": {"executor": "ray"}}


def measure_cpu_seconds() -> float:
    """User and system time of this process and all of its descendants that live."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def time_cells(spec: Spec) -> tuple[float, float]:
    """Wall and CPU seconds from the first pack to the last record of a new folder."""
    store = Store(spec.folder)
    store.prepare()
    with store.lock(), open_executor(spec) as executor:
        plan = make_plan(spec)
        store.write_run("overhead", "overhead", [cell.key for cell in plan.cells], ())
        executor.describe()  # all workers have loaded torch
        began, cpu_before = time.monotonic(), measure_cpu_seconds()
        execute(plan, plan.cells, spec, store, SilentListener(sys.stderr), executor)
        seconds, cpu_seconds = time.monotonic() - began, measure_cpu_seconds() - cpu_before
    records, _ = store.read()
    assert all(record.status == "ok" for record in records.values()) and len(records) == len(plan.cells)
    return seconds, cpu_seconds


def main() -> None:
    rounds, seeds, tasks = [*sys.argv[1:], *["5", "10", ""][len(sys.argv) - 1 :]]
    load_all()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in FLAGS}
    for number in range(int(rounds)):
        # the order alternates, so that a load that grows does not favour one of them
        for name in sorted(FLAGS, reverse=bool(number % 2)):
            with tempfile.TemporaryDirectory() as folder:
                fields = {
                    "seeds": seeds,
                    "tasks": tasks,
                    "threads": 1,
                    "profile": False,
                    "out": Path(folder) / "out",
                }
                times[name].append(time_cells(make_spec({**fields, **FLAGS[name], "device": "cpu"})))
            wall, cpu = times[name][-1]
            load = os.getloadavg()[0]
            print(f"round {number}: {name:5} {wall:6.1f} s, CPU {cpu:6.1f} s, load {load:.1f}", flush=True)
    for place, what in enumerate(("wall", "CPU")):
        pairs = [ray[place] / local[place] for ray, local in zip(times["ray"], times["local"], strict=True)]
        spread = f"{min(pairs):.3f} to {max(pairs):.3f}"
        print(f"{what} time, ray / local: median {statistics.median(pairs):.3f} ({spread})")


if __name__ == "__main__":
    main()
