"""A grid of ours against the usual way: the same cells, rows, budget and scores, in one run."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.bench import rival
from harness.bench.table import Bench
from harness.cell import Cell
from harness.execute import choose_device, choose_threads, execute
from harness.plan import Plan, make_plan
from harness.progress import Silent
from harness.provenance import machine_name
from harness.record import Phases, Record
from harness.spec import Spec
from harness.store import Store

MARGIN = 1.0
"""Points within which the scores of both ways must lie to be called equivalent."""


@dataclasses.dataclass(frozen=True)
class Ours:
    """All cells of the grid; `seconds` from the first adapter's making to the last score, model loading apart."""

    records: Sequence[Record]
    seconds: float

    @property
    def per_cell(self) -> float:
        return self.seconds / len(self.records)


def measure(spec: Spec, rivals: int, concurrent: Sequence[int], steps: int) -> Bench:
    """Ours, then `rivals` cells of peft and Trainer one by one, then so many at once for `steps` steps each.

    Raises UserError. What the rivals train is LoRA: it is what both ways have, and its cells are compared by score.
    """
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads)
    plan = make_plan(spec)
    ours = run_ours(plan, spec)
    lora = [c for c in plan.cells if c.method == "lora" and not c.options]
    inputs = rival.inputs_of(plan, lora[0])
    rival.train(plan, lora[0], inputs, device, max_steps=3)  # imports, kernels and caches are warm from here
    alone = [rival.train(plan, cell, inputs, device) for cell in lora[:rivals]]
    several = {n: rival.concurrently(spec, n, steps, device) for n in concurrent}
    mean = float(np.mean([r.seconds for r in alone]))
    rows = [_row("harness, one batch", len(ours.records), ours.seconds, mean)]
    rows.append(_row("peft + Trainer, one by one", len(alone), sum(r.seconds for r in alone), mean))
    for n, ran in several.items():
        # a cell's whole time at the pace of these steps
        seconds = max(r.step_seconds for r in ran) * alone[0].steps
        rows.append(_row(f"peft + Trainer, {n} at once", n, seconds, mean))
    facts = {
        "model": spec.model[0] if spec.model else plan.cells[0].model.name,
        "grid": spec.methods,
        "device": machine_name(device, threads),
        "steps": alone[0].steps,
        "scores": same_scores(ours.records, lora, alone),
    }
    return Bench("grid", facts, rows, _samples(ours, alone, several))


def run_ours(plan: Plan, spec: Spec) -> Ours:
    """Run every cell of the plan, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        execute(plan, plan.cells, spec, store, Silent(io.StringIO()))
        found, _ = store.read()
    records = [found[c.key] for c in plan.cells]
    packs = {tuple(r.pack.keys): r.phases for r in records if r.pack and r.phases}
    return Ours(records, sum(_busy(phases) for phases in packs.values()))


def _busy(phases: Phases) -> float:
    return phases.attach + phases.train + phases.capture + phases.evaluate


def _row(name: str, cells: int, seconds: float, rival_cell: float) -> dict[str, str]:
    each = seconds / cells
    return {
        "way": name,
        "cells": str(cells),
        "seconds": f"{seconds:.1f}",
        "seconds a cell": f"{each:.2f}",
        "cells an hour / one by one": f"{rival_cell / each:.1f}",
    }


def same_scores(records: Sequence[Record], lora: Sequence[Cell], alone: Sequence[rival.Ran]) -> str:
    """Whether LoRA scores the same both ways: two one-sided Welch tests at the margin, over the seeds."""
    from scipy import stats

    name = next(iter(alone[0].scores))
    mine = np.array([r.scores[name] for r in records if r.key in {c.key for c in lora} and r.status == "ok"])
    theirs = np.array([r.scores[name] for r in alone])
    gap = f"{name} {mine.mean():.2f} (harness, {len(mine)}) against {theirs.mean():.2f} ({len(theirs)})"
    if min(len(mine), len(theirs)) < 2 or not (mine.std() or theirs.std()):
        return f"{gap}, too few seeds or no spread for a test"
    low = stats.ttest_ind(mine + MARGIN, theirs, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(mine - MARGIN, theirs, equal_var=False, alternative="less").pvalue
    p = float(max(low, high))
    return f"{gap}, {'equivalent' if p < 0.05 else 'not shown to be equivalent'} at {MARGIN:g} point, p = {p:.3f}"


def _samples(ours: Ours, alone: Sequence[rival.Ran], several: dict[int, list[rival.Ran]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"way": "ours", "key": r.key, "status": r.status, "scores": r.scores, "phases": _dumped(r.phases)}
        for r in ours.records
    ]
    made += [{"way": "one by one"} | dataclasses.asdict(r) for r in alone]
    return made + [{"way": f"{n} at once"} | dataclasses.asdict(r) for n, ran in several.items() for r in ran]


def _dumped(phases: Phases | None) -> dict[str, float] | None:
    return None if phases is None else phases.model_dump()
