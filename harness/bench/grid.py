"""A grid of ours against the usual way: the same cells, rows, budget and scores, in one run."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.bench.at_once import select_lora_cells, train_concurrently
from harness.bench.table import Bench, Panel
from harness.bench.trainer_baseline import BaselineRun, BaselineVariant, read_cell_inputs, train_baseline
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.listener import SilentListener
from harness.core.provenance import format_machine
from harness.core.record import Phases, Record
from harness.core.spec import Spec
from harness.core.store import Store
from harness.planning.plan import Plan, make_plan
from harness.planning.planned_cell import PlannedCell, first_of_each_task
from harness.runner.execute import execute

MARGIN = 1.0
"""Points within which the scores of both ways must lie to be called equivalent."""


@dataclasses.dataclass(frozen=True)
class HarnessRuns:
    """All cells of the grid; `seconds` from the first adapter's making to the last score, model loading apart."""

    records: Sequence[Record]
    seconds: float

    @property
    def per_cell(self) -> float:
        return self.seconds / len(self.records)


@dataclasses.dataclass(frozen=True)
class BaselineRuns:
    """Cells of one way of the usual one: one by one, and so many at once."""

    way: BaselineVariant
    alone: Sequence[BaselineRun]
    at_once: Mapping[int, Sequence[BaselineRun]] = dataclasses.field(default_factory=dict)

    @property
    def per_cell(self) -> float:
        return float(np.mean([r.seconds() for r in self.alone]))


def measure(spec: Spec, rivals: int, concurrent: Sequence[int], steps: int, ways: Sequence[BaselineVariant]) -> Bench:
    """Ours, then of each way `rivals` cells of peft and Trainer one by one; of the first, so many at once.

    Those at once train `steps` steps each. Raises UserError. What the rivals train is LoRA: it is what both ways
    have, and its cells are compared by score.
    """
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads)
    plan = make_plan(spec)
    lora = select_lora_cells(plan)
    if not lora:
        raise UserError(f"--methods {spec.methods}: the rival trains LoRA at its defaults; add lora")
    _check_comparable(plan, lora)
    harness_runs = run_harness(plan, spec)
    inputs = read_cell_inputs(lora[0])
    for way in ways:
        train_baseline(lora[0], inputs, device, 3, way)  # imports, kernels and caches are warm from here
    # the ways take turns, so that a machine that slows down slows down all
    alone = [{way: train_baseline(cell, inputs, device, None, way) for way in ways} for cell in lora[:rivals]]
    at_once = {n: train_concurrently(spec, n, steps, device, ways[0]) for n in concurrent}
    baselines = [BaselineRuns(way, [ran[way] for ran in alone], at_once if way == ways[0] else {}) for way in ways]
    facts = {
        "model": spec.model[0] if spec.model else plan.cells[0].cell.model.name,
        "grid": spec.methods,
        "device": format_machine(device, threads),
        "steps": baselines[0].alone[0].steps,
        "scores": compare_scores(
            harness_runs.records, lora, [*baselines[0].alone, *(r for ran in at_once.values() for r in ran)]
        ),
    }
    rows = _build_rows(harness_runs, baselines)
    return Bench("grid", facts, rows, _build_samples(harness_runs, baselines), _build_panels(rows))


def _check_comparable(plan: Plan, lora: Sequence[PlannedCell]) -> None:
    """Raise UserError for what the rival would train otherwise, or not at all."""
    tasks = first_of_each_task(plan.cells)
    if len(tasks) > 1:
        raise UserError(
            f"bench grid compares one task, not {', '.join(sorted(t for _, t in tasks))}; name one with --tasks"
        )
    ((_, task), first) = next(iter(tasks.items()))
    if first.task.kind != "classification":
        raise UserError(f"bench grid: the rival trains classifiers, and {task} is none; name another task: --tasks")
    settings = {(c.cell.quantize, c.cell.recompute) for c in lora}
    if settings != {("none", "none")} or len({c.cell.dtype for c in lora}) > 1:
        raise UserError("bench grid: the rival has one dtype, quantize=none and recompute=none; leave others out")


def run_harness(plan: Plan, spec: Spec) -> HarnessRuns:
    """Run every cell of the plan, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        execute(plan, plan.cells, spec, store, SilentListener(io.StringIO()))
        records_by_key, _ = store.read()
    records = [records_by_key[c.key] for c in plan.cells]
    if unfinished := [r for r in records if r.phases is None]:
        raise UserError(
            f"{unfinished[0].cell.label}: {unfinished[0].reason}; a grid with failed cells is no measure of time"
        )
    packs = {tuple(r.pack.keys): r.phases for r in records if r.pack and r.phases}
    return HarnessRuns(records, sum(_sum_phases(phases) for phases in packs.values()))


def _sum_phases(phases: Phases) -> float:
    return phases.attach + phases.train + phases.capture + phases.evaluate


def _build_rows(ours: HarnessRuns, found: Sequence[BaselineRuns]) -> list[dict[str, str]]:
    """Ours first; how many times the cells of each way done one by one."""
    means = {r.way: r.per_cell for r in found}
    rows = [_build_row("harness, one batch", len(ours.records), ours.seconds, means)]
    for baseline in found:
        name, whole = f"peft + Trainer ({baseline.way})", baseline.alone[0].steps
        rows.append(
            _build_row(f"{name}, one by one", len(baseline.alone), sum(r.seconds() for r in baseline.alone), means)
        )
        for n, ran in baseline.at_once.items():
            rows.append(_build_row(f"{name}, {n} at once", n, max(r.seconds(whole) for r in ran), means))
    return rows


def _build_row(name: str, cells: int, seconds: float, means: Mapping[BaselineVariant, float]) -> dict[str, str]:
    each = seconds / cells
    row = {"way": name, "cells": str(cells), "seconds": f"{seconds:.1f}", "seconds a cell": f"{each:.2f}"}
    return row | {f"cells an hour / {way}": f"{mean / each:.2f}" for way, mean in means.items()}


def _build_panels(rows: Sequence[Mapping[str, str]]) -> list[Panel]:
    times = {"seconds": [float(r["seconds a cell"]) for r in rows]}
    return [Panel("seconds a cell", [r["way"] for r in rows], times)]


def compare_scores(records: Sequence[Record], lora: Sequence[PlannedCell], ran: Sequence[BaselineRun]) -> str:
    """Whether LoRA scores the same both ways: two one-sided Welch tests at the margin, over the seeds.

    Of the rival each cell once that took its whole budget, wherever it was trained first.
    """
    from scipy import stats

    runs_by_key = {r.key: r for r in reversed(ran) if r.whole}
    name = next(iter(ran[0].scores))
    harness_scores = np.array([r.scores[name] for r in records if r.key in {c.key for c in lora} and r.status == "ok"])
    baseline_scores = np.array([r.scores[name] for r in runs_by_key.values()])
    gap = (
        f"{name} {harness_scores.mean():.2f} (harness, {len(harness_scores)}) against "
        f"{baseline_scores.mean():.2f} ({len(baseline_scores)})"
    )
    if min(len(harness_scores), len(baseline_scores)) < 2 or not (harness_scores.std() or baseline_scores.std()):
        return f"{gap}, too few seeds or no spread for a test"
    low = stats.ttest_ind(harness_scores + MARGIN, baseline_scores, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(harness_scores - MARGIN, baseline_scores, equal_var=False, alternative="less").pvalue
    p = float(max(low, high))
    return f"{gap}, {'equivalent' if p < 0.05 else 'not shown to be equivalent'} at {MARGIN:g} point, p = {p:.3f}"


def _build_samples(ours: HarnessRuns, found: Sequence[BaselineRuns]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = [
        {"way": "ours", "key": r.key, "status": r.status, "scores": r.scores, "phases": _dump_phases(r.phases)}
        for r in ours.records
    ]
    for baseline in found:
        samples += [{"way": f"{baseline.way}, one by one"} | dataclasses.asdict(r) for r in baseline.alone]
        concurrent = [(n, r) for n, ran in baseline.at_once.items() for r in ran]
        samples += [{"way": f"{baseline.way}, {n} at once"} | dataclasses.asdict(r) for n, r in concurrent]
    return samples


def _dump_phases(phases: Phases | None) -> dict[str, float] | None:
    return None if phases is None else phases.model_dump()
