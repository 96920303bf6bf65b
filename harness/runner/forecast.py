"""The verb `plan`: the grid without running it: packs, memory, time, and what will not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from harness.core.cell import Cell
from harness.core.process import count_cpus
from harness.core.provenance import cuda_is_available, describe_environment, get_gpu_name
from harness.core.record import MemoryShares
from harness.core.spec import Spec
from harness.planning.packs import Pack, group_cells
from harness.planning.plan import Plan, make_plan
from harness.planning.preflight import drop_unfit_cells
from harness.planning.schedule import count_steps
from harness.profiling.capacity import PLANNED_SHARE, Capacity, find_remedies, get_free_memory, parse_memory
from harness.profiling.cost import NONE_YET, Cost, fit_cost, list_runs, load_pack_sizes, load_profiles
from harness.profiling.pack_size import PackSizes, train_rows
from harness.profiling.prediction import Prediction

EXCLUDED_TIME = "time of loading, tokenising and writing texts is not in it"


@dataclasses.dataclass(frozen=True)
class PackForecast:
    """One pack: `shares` and `peak` in bytes, `seconds` of training and evaluation; None where not predicted.

    `tuning`: a pack of trials.
    """

    task: str
    methods: str
    k: int
    chosen: str | None
    shares: MemoryShares | None
    fits: bool
    steps: int
    seconds: float | None
    note: str
    tuning: bool = False


def forecast_run(spec: Spec, memory: str | None) -> dict[str, Any]:
    """What a run of `spec` would come to. Raises UserError."""
    plan = make_plan(spec)

    plan = drop_unfit_cells(plan, plan.cells, cache=spec.cache)
    device = _choose_device(spec, memory)
    room = get_free_memory(device) if memory is None else parse_memory(memory)
    capacity = Capacity(plan, device, room, cache=spec.cache)
    threads = spec.threads or count_cpus()
    cost = fit_cost(load_profiles([spec.folder]), device, threads, get_gpu_name(device))
    sizes = _choose_sizes(capacity, spec, threads)
    packs = _group_packs(sizes, spec)
    rows = [_forecast_pack(plan, sizes, pack, cost, asked=spec.pack is not None) for pack in packs]
    trials = [
        drop_unfit_cells(trial_plan, trial_plan.cells, cache=spec.cache) for trial_plan in _plan_trials(plan, spec)
    ]
    for trial_plan in trials:
        trial_sizes = _choose_sizes(Capacity(trial_plan, device, capacity.room, cache=spec.cache), spec, threads)
        trial_rows = [
            _forecast_pack(trial_plan, trial_sizes, pack, cost, asked=spec.pack is not None)
            for pack in _group_packs(trial_sizes, spec)
        ]
        rows += [dataclasses.replace(row, tuning=True) for row in trial_rows]
    seconds = [r.seconds for r in rows if r.seconds is not None]
    return {
        "device": device,
        "memory": capacity.room,
        "cells": len(plan.cells),
        "trials": sum(len(trial_plan.cells) for trial_plan in trials),
        "packs": [_to_json(row) for row in rows],
        "device_hours": sum(seconds) / 3600 if len(seconds) == len(rows) else None,
        "calibration": _describe_calibration(cost, sum(p.timings != [] for p in sizes.made.values())),
        "to_time": [] if spec.pack else _list_untimed(sizes, packs),
        "too_large": _find_too_large(plan, capacity),
        "dropped": list(plan.dropped),
        "data": [f"{suite}/{task}: {note}" for (suite, task), data in plan.data.items() for note in data.notes],
    }


def _choose_sizes(capacity: Capacity, spec: Spec, threads: int) -> PackSizes:
    """The choices that a run would make, but for what it would time."""
    machine = describe_environment("cpu", threads).model_copy(
        update={"device": capacity.device, "gpu": get_gpu_name(capacity.device), "threads": threads}
    )
    stored, other_sizes = load_pack_sizes([spec.folder]), load_pack_sizes(list_runs())
    return PackSizes(capacity, capacity.plan.cells, machine, stored=stored, known=other_sizes)


def _describe_calibration(cost: Cost | None, timed: int) -> str:
    """What the predicted time comes from."""
    sources = [f"steps of {timed} kinds of pack timed on this machine"] if timed else []
    sources += [cost.line] if cost else []
    return "; ".join([*sources, EXCLUDED_TIME]) if sources else NONE_YET


def _list_untimed(sizes: PackSizes, packs: Sequence[Pack]) -> list[str]:
    """Methods whose packs a run would time first, so that K may come out otherwise."""
    cell_groups = (p.cells for p in packs if len(p.cells) > 1 and sizes.would_time(p.cells[0]))
    return list(dict.fromkeys(_join_titles(cells) for cells in cell_groups))


def _join_titles(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(_format_title(c) for c in cells))


def _format_title(cell: Cell) -> str:
    """The method's name, with a precision that neither it nor the default says."""
    plain = cell.title != cell.label or cell.precision == "fp32"
    return cell.title if plain else f"{cell.title} ({cell.precision})"


def _choose_device(spec: Spec, memory: str | None) -> str:
    """The device asked for; a GPU may be planned for where there is none, if its memory is named."""
    if spec.device == "cpu" or (spec.device == "auto" and not cuda_is_available()):
        return "cpu"
    from harness.core.device import choose_device

    return "cuda" if memory and spec.device == "cuda" else choose_device(spec.device)


def _plan_trials(plan: Plan, spec: Spec) -> list[Plan]:
    """The plans of what --tune runs first. Raises UserError as the run would."""
    if not spec.tune and not spec.tune_tasks and spec.tune_seeds == 1:
        return []
    from harness.runner.tuning.trials import build_arms
    from harness.runner.tuning.tuning import check_tunable

    check_tunable(plan, spec)
    return build_arms(plan, spec.tune or 0, spec.tune_tasks, spec.tune_seeds)[1]


def _group_packs(sizes: PackSizes, spec: Spec) -> list[Pack]:
    return group_cells(sizes.plan.cells, sizes.plan.methods, spec.pack or sizes.most)


def _forecast_pack(plan: Plan, sizes: PackSizes, pack: Pack, cost: Cost | None, *, asked: bool) -> PackForecast:
    """The pack's largest member stands for all."""
    k, cell, capacity = len(pack.cells), pack.cells[0], sizes.capacity
    size = sizes.of(cell)
    chosen = "asked" if asked else size.chosen if size else None
    steps = max(count_steps(c.protocol, train_rows(plan, c)) for c in pack.cells)
    members: dict[str, Cell] = {}
    for member in pack.cells:
        members.setdefault(_format_title(member), member)
    by_title = {title: capacity.predicted(capacity.step(c), k) for title, c in members.items()}
    predictions = [p for p in by_title.values() if not isinstance(p, str)]
    if len(predictions) < len(by_title):
        note = next(p for p in by_title.values() if isinstance(p, str))
        return PackForecast(cell.task, _join_titles(pack.cells), k, chosen, None, True, steps, None, note)
    worst = max(predictions, key=lambda p: p.peak)
    fits = worst.peak <= capacity.room * PLANNED_SHARE
    seconds = _estimate_seconds(plan, sizes, pack, steps, worst, cost)
    return PackForecast(cell.task, _join_titles(pack.cells), k, chosen, worst.shares, fits, steps, seconds, "")


def _estimate_seconds(
    plan: Plan, sizes: PackSizes, pack: Pack, steps: int, worst: Prediction, cost: Cost | None
) -> float | None:
    """Of training and evaluation: from timed packs of the kind, else from FLOPs and launches."""
    k, cell = len(pack.cells), pack.cells[0]
    step, rows = sizes.seconds(cell, k), _count_eval_rows(plan, cell)
    if step is not None:
        forward = step * worst.forward_flops / max(1, worst.flops)
        return steps * step + forward / cell.protocol.batch_size * rows
    if cost is None:
        return None
    per_row = worst.forward_flops / cell.protocol.batch_size
    return steps * cost.step(worst.flops, worst.launches) + cost.per_flop * per_row * rows


def _count_eval_rows(plan: Plan, cell: Cell) -> int:
    task, data = plan.suites[cell.suite].tasks[cell.task], plan.data[cell.suite, cell.task]
    return sum(_limit_rows(len(data.splits[s]), cell.protocol.eval_rows) for s in task.eval_splits)


def _limit_rows(rows: int, most: int | None) -> int:
    return rows if most is None else min(rows, most)


def _to_json(row: PackForecast) -> dict[str, Any]:
    fields = dataclasses.asdict(row)
    fields["shares"] = row.shares.model_dump() if row.shares else None
    return fields | {"peak": row.shares.total if row.shares else None}


def _find_too_large(plan: Plan, capacity: Capacity) -> list[dict[str, Any]]:
    """Methods that do not fit even alone, each with what would make it fit."""
    entries: dict[str, dict[str, Any]] = {}
    distinct_cells: dict[tuple[object, ...], Cell] = {}
    for cell in plan.cells:  # cells that differ in their seeds share the protocol's object
        distinct_cells.setdefault((cell.suite, cell.task, cell.label, cell.precision, id(cell.protocol)), cell)
    for cell in distinct_cells.values():
        prediction = capacity.predicted(capacity.step(cell))
        name = f"{cell.title} ({cell.precision})"
        if isinstance(prediction, str) or name in entries or prediction.peak <= capacity.room * PLANNED_SHARE:
            continue
        ways = [dataclasses.asdict(way) for way in find_remedies(capacity, cell)]
        entries[name] = {"method": name, "peak": prediction.peak, "ways": ways}
    return list(entries.values())
