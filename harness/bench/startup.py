"""Seconds before anything trains, in fresh processes: imports and the first step, ours and the usual way's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.bench.table import Bench, Panel
from harness.core.device import choose_device, choose_threads
from harness.core.process import child_environment
from harness.core.provenance import machine_name
from harness.core.spec import Spec

Sample = dict[str, float]
HELP, OURS, RIVAL = "harness --help", "harness run", "peft + Trainer"


def measure(spec: Spec, cells: int, repeats: int) -> Bench:
    """Fresh processes of each, in turn, `repeats` times. Raises UserError, and RuntimeError where one fails."""
    device, threads = choose_device(spec.device), choose_threads(spec.threads)
    job = spec.model_dump_json()
    commands = {HELP: ["harness", "--help"]}
    commands |= {OURS: ["harness.bench.startup_process", "ours", job]}
    commands |= {RIVAL: ["harness.bench.startup_process", "rival", job]}
    taken: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, words in commands.items():
            taken[name].append(_fresh(words))
    each = per_cell(taken, cells)
    facts = {
        "model": spec.model[0] if spec.model else "embedded encoder",
        "device": machine_name(device, threads),
        "repeats": repeats,
        "cells of the grid": cells,
        "ours": f"one process for {cells} cells, the rival's one a cell",
    }
    rows = [_row(name, samples, each) for name, samples in taken.items()]
    found = [{"what": name} | sample for name, samples in taken.items() for sample in samples]
    return Bench("startup", facts, rows, found, _panels(taken, each))


def _fresh(words: Sequence[str]) -> Sample:
    """Seconds of a process, and those it tells of itself. Raises RuntimeError."""
    started = time.perf_counter()
    env = os.environ | child_environment()
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=env)
    seconds = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"python -m {' '.join(words[:2])} ended with {done.returncode}: {last}")
    own: Sample = json.loads(done.stdout.splitlines()[-1]) if len(words) > 2 else {}
    return {"process": seconds} | own


def once(sample: Sample) -> float:
    """Seconds that a process pays once: its imports, and what its first step took longer than the same again."""
    return sample["imports"] + max(0.0, sample["first_step"] - sample["again"])


def per_cell(taken: Mapping[str, Sequence[Sample]], cells: int) -> dict[str, float]:
    """Median seconds paid once for each cell of a grid: ours by all cells together, the rival's by each."""
    ours, rival = (float(np.median([once(s) for s in taken[name]])) for name in (OURS, RIVAL))
    return {OURS: ours / cells, RIVAL: rival}


def _row(name: str, samples: Sequence[Sample], each: Mapping[str, float]) -> dict[str, str]:
    row = {"what": f"python -m {name}" if name == HELP else name, "process": _median(s["process"] for s in samples)}
    own = [] if name == HELP else samples
    return row | {
        "imports": _median(s["imports"] for s in own),
        "first step": _median(s["first_step"] for s in own),
        "again": _median(s["again"] for s in own),
        "paid once": _median(map(once, own)),
        "of it a cell": f"{each[name]:.3f} s" if own else "",
        "rival's / ours": f"{each[RIVAL] / each[name]:.1f}" if own else "",
    }


def _median(values: Iterable[float]) -> str:
    known = list(values)
    return f"{np.median(known):.2f} s" if known else ""


def _panels(taken: Mapping[str, Sequence[Sample]], each: Mapping[str, float]) -> list[Panel]:
    whole = [float(np.median([s["process"] for s in samples])) for samples in taken.values()]
    return [
        Panel("seconds of a fresh process", list(taken), {"process": whole}),
        Panel("seconds paid once, for each cell of the grid", list(each), {"paid once": list(each.values())}),
    ]
