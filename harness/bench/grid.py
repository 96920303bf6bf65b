"""The bench `grid`: a grid of ours against peft + Trainer with the same rows and budget, compared by time and score."""

from __future__ import annotations

import dataclasses
import io
import itertools
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
from harness.runner.execute import build_setup, execute
from harness.runner.executors.in_process import LocalExecutor

MARGIN = 1.0
"""Equivalence margin in points for the mean scores of ours and of the baseline."""


@dataclasses.dataclass(frozen=True)
class HarnessRuns:
    """All cells of the grid; `seconds` of attaching, training and scoring all packs, without model loading."""

    records: Sequence[Record]
    seconds: float

    @property
    def per_cell(self) -> float:
        return self.seconds / len(self.records)


@dataclasses.dataclass(frozen=True)
class BaselineRuns:
    """Cells of one variant of the baseline: trained one by one, and concurrently by number of processes."""

    way: BaselineVariant
    alone: Sequence[BaselineRun]
    at_once: Mapping[int, Sequence[BaselineRun]] = dataclasses.field(default_factory=dict)

    @property
    def per_cell(self) -> float:
        return float(np.mean([r.seconds() for r in self.alone]))


def measure(
    spec: Spec, baseline_cells: int, concurrent: Sequence[int], steps: int, ways: Sequence[BaselineVariant]
) -> Bench:
    """The bench of a whole grid of ours, and of `baseline_cells` LoRA cells of each variant of the baseline.

    The first variant also trains `concurrent` cells at once, for `steps` steps each. LoRA is the method that both have,
    so its cells are compared by score. Raises UserError.
    """
    device = choose_device(spec.device)
    threads = choose_threads(spec.threads)
    plan = make_plan(spec)
    lora = select_lora_cells(plan)
    if not lora:
        raise UserError(f"--methods {spec.methods}: the baseline trains LoRA at its defaults; add lora")
    _check_comparable(plan, lora)
    harness_runs = run_harness(plan, spec)
    inputs = read_cell_inputs(lora[0])
    for way in ways:
        train_baseline(lora[0], inputs, device, 3, way)  # warm up imports, kernels and caches
    # the variants take turns, so that a change in the machine's speed slows all of them
    alone: dict[BaselineVariant, list[BaselineRun]] = {way: [] for way in ways}
    for cell in lora[:baseline_cells]:
        for way in ways:
            alone[way].append(train_baseline(cell, inputs, device, None, way))
    at_once = {n: train_concurrently(spec, n, steps, device, ways[0]) for n in concurrent}
    baselines = [BaselineRuns(way, alone[way], at_once if way == ways[0] else {}) for way in ways]
    scored_runs = [*alone[ways[0]], *itertools.chain.from_iterable(at_once.values())]
    facts = {
        "model": spec.model[0] if spec.model else plan.cells[0].cell.model.name,
        "grid": spec.methods,
        "device": format_machine(device, threads),
        "steps": baselines[0].alone[0].steps,
        "scores": compare_scores(harness_runs.records, lora, scored_runs),
    }
    rows = _build_rows(harness_runs, baselines)
    return Bench("grid", facts, rows, _build_samples(harness_runs, baselines), _build_panels(rows))


def _check_comparable(plan: Plan, lora: Sequence[PlannedCell]) -> None:
    """Raise UserError for a grid that the baseline would train otherwise, or not at all."""
    tasks = first_of_each_task(plan.cells)
    if len(tasks) > 1:
        raise UserError(
            f"bench grid compares one task, not {', '.join(sorted(t for _, t in tasks))}; name one with --tasks"
        )
    ((_, task), first) = next(iter(tasks.items()))
    if first.task.kind != "classification":
        raise UserError(f"bench grid: the baseline trains classifiers, and {task} is none; name another task: --tasks")
    # the baseline loads the model in one way only, so other cells would not be comparable
    settings = {(c.cell.quantize, c.cell.recompute) for c in lora}
    if settings != {("none", "none")} or len({c.cell.dtype for c in lora}) > 1:
        raise UserError("bench grid: the baseline has one dtype, quantize=none and recompute=none; leave others out")


def run_harness(plan: Plan, spec: Spec) -> HarnessRuns:
    """Records and seconds of every cell of the plan, run in a temporary folder. Raises UserError if a cell fails."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        # one device, as for the baseline, also where the machine has several
        executor = LocalExecutor(build_setup(spec))
        execute(plan, plan.cells, spec, store, SilentListener(io.StringIO()), executor)
        records_by_key, _ = store.read()
    records = [records_by_key[c.key] for c in plan.cells]
    if unfinished := [r for r in records if r.phases is None]:
        raise UserError(
            f"{unfinished[0].cell.label}: {unfinished[0].reason}; a grid with failed cells is no measure of time"
        )
    # the phases of a record are those of its whole pack, so each pack counts once
    packs = {tuple(r.pack.keys): r.phases for r in records if r.pack and r.phases}
    return HarnessRuns(records, sum(_sum_phases(phases) for phases in packs.values()))


def _sum_phases(phases: Phases) -> float:
    return phases.attach + phases.train + phases.capture + phases.evaluate


def _build_rows(ours: HarnessRuns, baselines: Sequence[BaselineRuns]) -> list[dict[str, str]]:
    """Our row, then those of the baseline; each with its speed relative to every variant trained one by one."""
    means = {r.way: r.per_cell for r in baselines}
    rows = [_build_row("harness, one batch", len(ours.records), ours.seconds, means)]
    for baseline in baselines:
        name, whole = f"peft + Trainer ({baseline.way})", baseline.alone[0].steps
        rows.append(
            _build_row(f"{name}, one by one", len(baseline.alone), sum(r.seconds() for r in baseline.alone), means)
        )
        for n, ran in baseline.at_once.items():
            # the slowest process ends the batch; its steps are scaled to a whole training
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
    """The mean LoRA scores of ours and of the baseline, with an equivalence test over seeds.

    It is two one-sided Welch tests (TOST) at `MARGIN`. Each cell of the baseline that used its whole budget counts
    once, by its first run.
    """
    from scipy import stats

    runs_by_key = {r.key: r for r in reversed(ran) if r.whole}  # reversed: the first of equal keys stays
    name = next(iter(ran[0].scores))
    lora_keys = {cell.key for cell in lora}
    harness_scores = np.array([r.scores[name] for r in records if r.key in lora_keys and r.status == "ok"])
    baseline_scores = np.array([r.scores[name] for r in runs_by_key.values()])
    gap = (
        f"{name} {harness_scores.mean():.2f} (harness, {len(harness_scores)}) against "
        f"{baseline_scores.mean():.2f} ({len(baseline_scores)})"
    )
    # without any spread the t statistic is 0 / 0
    if min(len(harness_scores), len(baseline_scores)) < 2 or not (harness_scores.std() or baseline_scores.std()):
        return f"{gap}, too few seeds or no spread for a test"
    low = stats.ttest_ind(harness_scores + MARGIN, baseline_scores, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(harness_scores - MARGIN, baseline_scores, equal_var=False, alternative="less").pvalue
    p = float(max(low, high))
    return f"{gap}, {'equivalent' if p < 0.05 else 'not shown to be equivalent'} at {MARGIN:g} point, p = {p:.3f}"


def _build_samples(ours: HarnessRuns, baselines: Sequence[BaselineRuns]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = [
        {"way": "ours", "key": r.key, "status": r.status, "scores": r.scores, "phases": _dump_phases(r.phases)}
        for r in ours.records
    ]
    for baseline in baselines:
        samples += [{"way": f"{baseline.way}, one by one"} | dataclasses.asdict(r) for r in baseline.alone]
        for n, ran in baseline.at_once.items():
            samples += [{"way": f"{baseline.way}, {n} at once"} | dataclasses.asdict(r) for r in ran]
    return samples


def _dump_phases(phases: Phases | None) -> dict[str, float] | None:
    return None if phases is None else phases.model_dump()
