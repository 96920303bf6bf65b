"""The bench `startup`: seconds of imports and of the first step in fresh processes, ours and peft + Trainer's.

Two more rows time the whole command `run` on a small grid, in one process and with a worker process, and say how long
it takes before its first step and after its last record (the timeline of run.json).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.bench.table import Bench, Panel
from harness.core.device import choose_device, choose_threads
from harness.core.process import build_child_environment
from harness.core.provenance import format_machine
from harness.core.spec import Spec

Sample = dict[str, float]
HELP, HARNESS, BASELINE = "harness --help", "harness run", "peft + Trainer"
COMMAND, WORKER = "whole run", "whole run, --devices"
GRID = "--tasks sst2 --methods lora,lorasp --seeds 2 --max-steps 20 --no-profile".split()
"""What the whole runs train."""


def measure(spec: Spec, cells: int, repeats: int) -> Bench:
    """The bench of fresh processes, `repeats` of each kind in turn.

    `cells` is the size of the grid that shares one process of ours. Raises UserError, and RuntimeError if one fails.
    """
    device, threads = choose_device(spec.device), choose_threads(spec.threads)
    job = spec.model_dump_json()
    commands = {HELP: ["harness", "--help"]}
    commands |= {HARNESS: ["harness.bench.startup_process", "ours", job]}
    commands |= {BASELINE: ["harness.bench.startup_process", "baseline", job]}
    samples_by_name: dict[str, list[Sample]] = {name: [] for name in commands}
    commands_of_runs = {COMMAND: [], WORKER: ["--devices", "0" if device == "cuda" else "cpu:1"]}
    runs_by_name: dict[str, list[Sample]] = {name: [] for name in commands_of_runs}
    # in turn: the disk cache and other load change over minutes
    for _ in range(repeats):
        for name, words in commands.items():
            samples_by_name[name].append(_run_fresh(words))
        for name, flags in commands_of_runs.items():
            runs_by_name[name].append(_run_command(spec, flags))
    cost_per_cell = compute_cost_per_cell(samples_by_name, cells)
    facts = {
        "model": spec.model[0] if spec.model else "embedded encoder",
        "device": format_machine(device, threads),
        "repeats": repeats,
        "cells of the grid": cells,
        "ours": f"one process for {cells} cells; the baseline: one process per cell",
    }
    rows = [_build_row(name, samples, cost_per_cell) for name, samples in samples_by_name.items()]
    rows += [_build_run_row(name, samples) for name, samples in runs_by_name.items()]
    entries: list[dict[str, Any]] = []
    for name, samples in (samples_by_name | runs_by_name).items():
        entries += [{"what": name} | sample for sample in samples]
    return Bench("startup", facts, rows, entries, _build_panels(samples_by_name, cost_per_cell))


def _run_fresh(words: Sequence[str], *, reports: bool = True) -> Sample:
    """Seconds of a fresh process, and if it `reports`, those of its parts. Raises RuntimeError if it fails."""
    # a new interpreter each time, since imports and the first step are what is measured
    started = time.perf_counter()
    env = os.environ | build_child_environment()
    process = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=env)
    seconds = time.perf_counter() - started
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"python -m {' '.join(words[:2])} ended with {process.returncode}: {last}")
    # libraries may print before; the report is the last line
    reported: Sample = json.loads(process.stdout.splitlines()[-1]) if reports and len(words) > 2 else {}
    return {"process": seconds} | reported


def _run_command(spec: Spec, flags: Sequence[str]) -> Sample:
    """Seconds of a fresh `run` of GRID, and its timeline. Raises RuntimeError if it fails."""
    chosen = ["--device", spec.device, *(["--threads", str(spec.threads)] if spec.threads else [])]
    chosen += ["--model", spec.model[0]] if spec.model else []
    with tempfile.TemporaryDirectory() as folder:
        sample = _run_fresh(["harness", "run", *GRID, *chosen, *flags, "--out", folder], reports=False)
        timeline: Sample = json.loads((Path(folder) / "run.json").read_text())["timeline"]
    return sample | timeline


def compute_one_time_cost(sample: Sample) -> float:
    """Seconds that a process pays once: its imports, and the excess of its first step over the second."""
    return sample["imports"] + max(0.0, sample["first_step"] - sample["again"])


def compute_cost_per_cell(taken: Mapping[str, Sequence[Sample]], cells: int) -> dict[str, float]:
    """Median one-time seconds per cell of a grid: ours are paid once for all cells, the baseline's for each."""
    harness_cost = float(np.median(list(map(compute_one_time_cost, taken[HARNESS]))))
    baseline_cost = float(np.median(list(map(compute_one_time_cost, taken[BASELINE]))))
    return {HARNESS: harness_cost / cells, BASELINE: baseline_cost}


def _build_row(name: str, samples: Sequence[Sample], each: Mapping[str, float]) -> dict[str, str]:
    row = {
        "what": f"python -m {name}" if name == HELP else name,
        "process": _format_median(s["process"] for s in samples),
    }
    timed_samples = [] if name == HELP else samples
    return (
        row
        | {
            "imports": _format_median(s["imports"] for s in timed_samples),
            "first step": _format_median(s["first_step"] for s in timed_samples),
            "again": _format_median(s["again"] for s in timed_samples),
            "paid once": _format_median(map(compute_one_time_cost, timed_samples)),
            "of it a cell": f"{each[name]:.3f} s" if timed_samples else "",
            "baseline's / ours": f"{each[BASELINE] / each[name]:.1f}" if timed_samples else "",
        }
        | dict.fromkeys(OUTSIDE, "")
    )


OUTSIDE = ("before first step", "after last record")


def _build_run_row(name: str, samples: Sequence[Sample]) -> dict[str, str]:
    """The row of a whole run; the columns of single steps are empty."""
    columns = ("what", "process", "imports", "first step", "again", "paid once", "of it a cell", "baseline's / ours")
    before = [sample["first step"] for sample in samples]
    after = [sample["process"] - sample["last record"] for sample in samples]
    return dict.fromkeys(columns, "") | {
        "what": name,
        "process": _format_median(sample["process"] for sample in samples),
        "imports": _format_median(sample["imported"] for sample in samples),
        OUTSIDE[0]: _format_median(before),
        OUTSIDE[1]: _format_median(after),
    }


def _format_median(values: Iterable[float]) -> str:
    numbers = list(values)
    return f"{np.median(numbers):.2f} s" if numbers else ""


def _build_panels(taken: Mapping[str, Sequence[Sample]], each: Mapping[str, float]) -> list[Panel]:
    whole = []
    for samples in taken.values():
        whole.append(float(np.median([sample["process"] for sample in samples])))
    return [
        Panel("seconds of a fresh process", list(taken), {"process": whole}),
        Panel("seconds paid once, for each cell of the grid", list(each), {"paid once": list(each.values())}),
    ]
