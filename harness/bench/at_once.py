"""Run several baseline processes at once, as a user would share one machine among the cells of a grid.

Each process warms up, creates a file in a common folder, and starts when all files are there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.bench.silence import silence_warnings
from harness.bench.trainer_baseline import BaselineRun, BaselineVariant, read_cell_inputs, train_baseline
from harness.core.process import build_child_environment, count_cpus
from harness.core.registry import load_all
from harness.core.spec import Spec
from harness.planning.plan import Plan, make_plan
from harness.planning.planned_cell import PlannedCell
from harness.profiling.worker import follow_stdin

POLL_SECONDS = 0.05
"""Seconds between two checks of the processes."""


def select_lora_cells(plan: Plan) -> list[PlannedCell]:
    """The cells that the baseline can train too: LoRA at its defaults, seed by seed."""
    return [c for c in plan.cells if c.cell.method == "lora" and not c.cell.options]


def train_concurrently(
    spec: Spec, count: int, steps: int, device: str, way: BaselineVariant = "best"
) -> list[BaselineRun]:
    """Runs of `count` concurrent processes; the n-th trains the n-th LoRA cell for `steps` steps.

    On a CPU they divide the threads. Raises RuntimeError if one of them fails.
    """
    threads = max(1, (spec.threads or count_cpus()) // count)
    job = {"spec": spec.model_dump(mode="json"), "steps": steps, "device": device, "count": count, "way": way}
    command = [sys.executable, "-m", "harness.bench.at_once", json.dumps(job | {"threads": threads})]
    env = os.environ | build_child_environment()
    with tempfile.TemporaryDirectory() as folder:
        running: list[subprocess.Popen[str]] = []
        try:
            for i in range(count):  # each in its own process group: Ctrl-C is for this process, which kills them
                words, pipe = [*command, folder, str(i)], subprocess.PIPE
                running.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, env=env, text=True, process_group=0))
            _wait_for_all(running)
        finally:
            for process in running:
                process.kill()
        texts = [process.communicate()[0] for process in running]
    return [BaselineRun(**json.loads(text.splitlines()[-1])) for text in texts]


def _wait_for_all(running: Sequence[subprocess.Popen[str]]) -> None:
    """Wait until all have ended. Raises RuntimeError at the first failure, as the others would wait for ever."""
    while any(process.poll() is None for process in running):
        time.sleep(POLL_SECONDS)
        failed = [i for i, p in enumerate(running) if p.poll() not in (None, 0)]
        if failed:
            raise RuntimeError(f"baseline process {failed[0]} of {len(running)} ended with {running[failed[0]].poll()}")
    if any(process.returncode for process in running):
        raise RuntimeError("a baseline process failed")


def _wait_for_others(folder: Path, name: str, count: int) -> None:
    """Announce this process by a file in `folder`, and wait until all `count` have."""
    (folder / name).touch()
    while len(list(folder.iterdir())) < count:
        time.sleep(POLL_SECONDS)


def main(words: Sequence[str]) -> None:
    """Train in one of several processes; `words` are the job as JSON, the common folder and the process's number."""
    import torch

    follow_stdin()
    job, number = json.loads(words[0]), int(words[2])
    if job["device"] == "cpu":
        torch.set_num_threads(job["threads"])
    spec = Spec.model_validate(job["spec"])
    load_all(spec.plugin)
    plan = make_plan(spec)
    cells = select_lora_cells(plan)
    cell = cells[number % len(cells)]
    with silence_warnings():
        inputs = read_cell_inputs(cell)
        train_baseline(cell, inputs, job["device"], 3, job["way"])  # imports, kernels and caches are warm from here
        _wait_for_others(Path(words[1]), words[2], job["count"])
        ran = train_baseline(cell, inputs, job["device"], job["steps"], job["way"])
    print(json.dumps(dataclasses.asdict(ran)))


if __name__ == "__main__":
    main(sys.argv[1:])
