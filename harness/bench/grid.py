"""A grid of ours against the usual way: the same cells, rows, budget and scores, in one run."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.bench.at_once import concurrently, lora_cells
from harness.bench.rival import Ran, Way, inputs_of, train
from harness.bench.table import Bench, Panel
from harness.core.cell import Cell
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.listener import Silent
from harness.core.provenance import machine_name, utc_now
from harness.core.record import Phases, Record
from harness.core.spec import Spec
from harness.core.store import Store
from harness.planning.plan import Plan, make_plan
from harness.profiling.cost import stored_sizes
from harness.runner.execute import execute

MARGIN = 1.0
"""Points within which the scores of both ways must lie to be called equivalent."""


@dataclasses.dataclass(frozen=True)
class Ours:
    """All cells of the grid; `seconds` from the first adapter's making to the last score, model loading apart.

    What it took to time packs, so as to choose their size, is in them.
    """

    records: Sequence[Record]
    seconds: float

    @property
    def per_cell(self) -> float:
        return self.seconds / len(self.records)


@dataclasses.dataclass(frozen=True)
class Rival:
    """Cells of one way of the usual one: one by one, and so many at once."""

    way: Way
    alone: Sequence[Ran]
    at_once: Mapping[int, Sequence[Ran]] = dataclasses.field(default_factory=dict)

    @property
    def per_cell(self) -> float:
        return float(np.mean([r.seconds() for r in self.alone]))


def measure(spec: Spec, rivals: int, concurrent: Sequence[int], steps: int, ways: Sequence[Way]) -> Bench:
    """Ours, then of each way `rivals` cells of peft and Trainer one by one; of the first, so many at once.

    Those at once train `steps` steps each. Raises UserError. What the rivals train is LoRA: it is what both ways
    have, and its cells are compared by score.
    """
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads)
    plan = make_plan(spec)
    lora = lora_cells(plan)
    if not lora:
        raise UserError(f"--methods {spec.methods}: the rival trains LoRA at its defaults; add lora")
    _check(plan, lora)
    ours = run_ours(plan, spec)
    inputs = inputs_of(plan, lora[0])
    for way in ways:
        train(plan, lora[0], inputs, device, 3, way)  # imports, kernels and caches are warm from here
    # the ways take turns, so that a machine that slows down slows down all
    alone = [{way: train(plan, cell, inputs, device, None, way) for way in ways} for cell in lora[:rivals]]
    at_once = {n: concurrently(spec, n, steps, device, ways[0]) for n in concurrent}
    found = [Rival(way, [ran[way] for ran in alone], at_once if way == ways[0] else {}) for way in ways]
    facts = {
        "model": spec.model[0] if spec.model else plan.cells[0].model.name,
        "grid": spec.methods,
        "device": machine_name(device, threads),
        "steps": found[0].alone[0].steps,
        "scores": same_scores(ours.records, lora, [*found[0].alone, *(r for ran in at_once.values() for r in ran)]),
    }
    rows = _rows(ours, found)
    return Bench("grid", facts, rows, _samples(ours, found), _panels(rows))


def _check(plan: Plan, lora: Sequence[Cell]) -> None:
    """Raise UserError for what the rival would train otherwise, or not at all."""
    tasks = {(c.suite, c.task) for c in plan.cells}
    if len(tasks) > 1:
        raise UserError(
            f"bench grid compares one task, not {', '.join(sorted(t for _, t in tasks))}; name one with --tasks"
        )
    suite, task = tasks.pop()
    if plan.suites[suite].tasks[task].kind != "classification":
        raise UserError(f"bench grid: the rival trains classifiers, and {task} is none; name another task: --tasks")
    levels = {(c.quantize, c.recompute) for c in lora}
    if levels != {("none", "none")} or len({c.dtype for c in lora}) > 1:
        raise UserError("bench grid: the rival has one dtype, quantize=none and recompute=none; leave others out")


def run_ours(plan: Plan, spec: Spec) -> Ours:
    """Run every cell of the plan, in a folder of its own."""
    began = utc_now()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        execute(plan, plan.cells, spec, store, Silent(io.StringIO()))
        found, _ = store.read()
        # times that an earlier run has stored cost this one nothing
        timing = sum(s.seconds for s in stored_sizes([store.out]).values() if s.measured >= began)
    records = [found[c.key] for c in plan.cells]
    if without := [r for r in records if r.phases is None]:
        raise UserError(f"{without[0].cell.label}: {without[0].reason}; a grid with failed cells is no measure of time")
    packs = {tuple(r.pack.keys): r.phases for r in records if r.pack and r.phases}
    return Ours(records, timing + sum(_busy(phases) for phases in packs.values()))


def _busy(phases: Phases) -> float:
    return phases.attach + phases.train + phases.capture + phases.evaluate


def _rows(ours: Ours, found: Sequence[Rival]) -> list[dict[str, str]]:
    """Ours first; how many times the cells of each way done one by one."""
    means = {r.way: r.per_cell for r in found}
    rows = [_row("harness, one batch", len(ours.records), ours.seconds, means)]
    for usual in found:
        name, whole = f"peft + Trainer ({usual.way})", usual.alone[0].steps
        rows.append(_row(f"{name}, one by one", len(usual.alone), sum(r.seconds() for r in usual.alone), means))
        for n, ran in usual.at_once.items():
            rows.append(_row(f"{name}, {n} at once", n, max(r.seconds(whole) for r in ran), means))
    return rows


def _row(name: str, cells: int, seconds: float, means: Mapping[Way, float]) -> dict[str, str]:
    each = seconds / cells
    row = {"way": name, "cells": str(cells), "seconds": f"{seconds:.1f}", "seconds a cell": f"{each:.2f}"}
    return row | {f"cells an hour / {way}": f"{mean / each:.2f}" for way, mean in means.items()}


def _panels(rows: Sequence[Mapping[str, str]]) -> list[Panel]:
    times = {"seconds": [float(r["seconds a cell"]) for r in rows]}
    return [Panel("seconds a cell", [r["way"] for r in rows], times)]


def same_scores(records: Sequence[Record], lora: Sequence[Cell], ran: Sequence[Ran]) -> str:
    """Whether LoRA scores the same both ways: two one-sided Welch tests at the margin, over the seeds.

    Of the rival each cell once that took its whole budget, wherever it was trained first.
    """
    from scipy import stats

    once = {r.key: r for r in reversed(ran) if r.whole}
    name = next(iter(ran[0].scores))
    mine = np.array([r.scores[name] for r in records if r.key in {c.key for c in lora} and r.status == "ok"])
    theirs = np.array([r.scores[name] for r in once.values()])
    gap = f"{name} {mine.mean():.2f} (harness, {len(mine)}) against {theirs.mean():.2f} ({len(theirs)})"
    if min(len(mine), len(theirs)) < 2 or not (mine.std() or theirs.std()):
        return f"{gap}, too few seeds or no spread for a test"
    low = stats.ttest_ind(mine + MARGIN, theirs, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(mine - MARGIN, theirs, equal_var=False, alternative="less").pvalue
    p = float(max(low, high))
    return f"{gap}, {'equivalent' if p < 0.05 else 'not shown to be equivalent'} at {MARGIN:g} point, p = {p:.3f}"


def _samples(ours: Ours, found: Sequence[Rival]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"way": "ours", "key": r.key, "status": r.status, "scores": r.scores, "phases": _dumped(r.phases)}
        for r in ours.records
    ]
    for usual in found:
        made += [{"way": f"{usual.way}, one by one"} | dataclasses.asdict(r) for r in usual.alone]
        several = [(n, r) for n, ran in usual.at_once.items() for r in ran]
        made += [{"way": f"{usual.way}, {n} at once"} | dataclasses.asdict(r) for n, r in several]
    return made


def _dumped(phases: Phases | None) -> dict[str, float] | None:
    return None if phases is None else phases.model_dump()
