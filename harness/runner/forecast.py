"""Estimate memory and time of a run before it starts (command `plan`): packs, peaks, hours, methods that do not fit."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence
from typing import Any

from harness.core.cell import Cell
from harness.core.device import choose_worker_devices, parse_gpus
from harness.core.errors import UserError
from harness.core.looks import Looks, parse_looks
from harness.core.process import count_cpus
from harness.core.profile import MemoryShares
from harness.core.provenance import cuda_is_available, get_gpu_name
from harness.core.spec import Spec
from harness.planning.packs import Pack, group_cells
from harness.planning.plan import Plan, make_plan
from harness.planning.planned_cell import PlannedCell
from harness.planning.preflight import drop_unfit_cells
from harness.planning.schedule import count_steps
from harness.profiling.capacity import PLANNED_SHARE, Capacity, find_remedies, get_free_memory, parse_memory
from harness.profiling.cost import NONE_YET, Cost, fit_cost, fit_cost_of_absent_gpu, load_profiles
from harness.profiling.prediction import Prediction
from harness.runner.auto_seeds import select_first_look

EXCLUDED_TIME = "time of loading, tokenising and generation is not included"


@dataclasses.dataclass(frozen=True)
class PackForecast:
    """Estimate for one pack: `shares` of the peak in bytes, `seconds` of training and evaluation; None: not predicted.

    `chosen` says what bounds the pack's size, `note` why there is no prediction, `tuning` that it trains trials.
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
    """The packs of a run of `spec` with their memory in bytes and time, as plain values for JSON. Raises UserError.

    `memory` is a size such as '24GiB' that replaces the free memory of the device.
    """
    whole_plan, looks = make_plan(spec), parse_looks(spec.seeds)
    # all seeds of a method take the same memory, so that those of the first look show which methods fit
    plan = whole_plan if looks is None else select_first_look(whole_plan, looks)
    plan = drop_unfit_cells(plan, plan.cells, cache=spec.cache)
    device = _choose_device(spec, memory)
    room = get_free_memory(device) if memory is None else parse_memory(memory)
    capacity = Capacity(device, room, cache=spec.cache)
    devices, threads = _count_devices(spec, device)
    profiles, is_absent = load_profiles([spec.folder]), device == "cuda" and not cuda_is_available()
    cost = fit_cost_of_absent_gpu(profiles) if is_absent else fit_cost(profiles, device, threads, get_gpu_name(device))
    most = spec.pack or capacity.most
    # a run groups its cells by the same capacity, so these are its packs
    rows = [_forecast_pack(capacity, pack, cost, asked=spec.pack is not None) for pack in group_cells(plan.cells, most)]
    trials = [drop_unfit_cells(part, part.cells, cache=spec.cache) for part in _plan_trials(plan, spec)]
    for part in trials:
        packs = group_cells(part.cells, most)
        trial_sizes = [_forecast_pack(capacity, pack, cost, asked=spec.pack is not None) for pack in packs]
        rows += [dataclasses.replace(row, tuning=True) for row in trial_sizes]
    # a sum over some packs would look like the time of the run, so it is left out if one time is missing
    seconds = [r.seconds for r in rows if r.seconds is not None]
    methods = _forecast_methods(plan, capacity)
    is_timed = len(seconds) == len(rows)
    hours = estimate_hours(seconds, devices) if is_timed else None
    return {
        "device": device,
        "devices": devices,
        "memory": capacity.room,
        "cells": len(plan.cells),
        "auto": None if looks is None else _describe_looks(looks, whole_plan, plan, hours),
        "trials": sum(len(part.cells) for part in trials),
        "packs": [_to_json(row) for row in rows],
        "device_hours": sum(seconds) / 3600 if is_timed else None,
        "hours": hours,
        # a device that waits for the last pack costs its price too
        "cost": None if hours is None or spec.price is None else hours * devices * spec.price,
        "calibration": f"{cost.line}; {EXCLUDED_TIME}" if cost else NONE_YET,
        "methods": methods,
        "too_large": [{k: entry[k] for k in ("method", "peak", "ways")} for entry in methods if not entry["fits"]],
        "dropped": list(plan.dropped),
        "data": plan.data_notes,
    }


def _describe_looks(looks: Looks, whole_plan: Plan, first_plan: Plan, hours: float | None) -> dict[str, Any]:
    """Seeds, cells and hours of the maximum of an automatic number of seeds; the other figures are of the first look.

    The hours are those of the first look times the cells: larger packs may take less.
    """
    dropped = len(first_plan.cells) / max(1, len(select_first_look(whole_plan, looks).cells))
    most_cells = round(len(whole_plan.cells) * dropped)
    most_hours = None if hours is None or not first_plan.cells else hours * most_cells / len(first_plan.cells)
    return {"first": looks.first, "most": looks.most, "most_cells": most_cells, "most_hours": most_hours}


def _join_titles(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(_format_title(c) for c in cells))


def _format_title(cell: Cell) -> str:
    """The method's name, with its precision if that is neither in the name nor the default."""
    plain = cell.title != cell.label or cell.precision == "fp32"
    return cell.title if plain else f"{cell.title} ({cell.precision})"


def _choose_device(spec: Spec, memory: str | None) -> str:
    """The device to plan for. With `memory` that may be a GPU that this machine does not have. Raises UserError."""
    names_gpus = spec.devices is not None and not spec.devices.startswith("cpu:")
    if names_gpus and not cuda_is_available():
        parse_gpus(spec.devices or "", spec.device)
        if memory is None:
            raise UserError(f"--devices {spec.devices}: no GPU is visible here; give the memory of one, --memory 24GiB")
        return "cuda"
    if spec.device == "cpu" or (spec.device == "auto" and not cuda_is_available()):
        return "cpu"
    from harness.core.device import choose_device

    return "cuda" if memory and spec.device == "cuda" else choose_device(spec.device)


def _count_devices(spec: Spec, device: str) -> tuple[int, int]:
    """How many devices train packs at a time, and the threads of each; of GPUs that are not here too."""
    threads = spec.threads or count_cpus()
    if device == "cuda" and spec.devices is not None:
        return len(parse_gpus(spec.devices, spec.device)), threads
    if device == "cuda" and not cuda_is_available():
        return 1, threads
    workers = choose_worker_devices(spec.devices, spec.device, spec.threads)
    return len(workers) or 1, workers[0].threads if workers else threads


def _plan_trials(plan: Plan, spec: Spec) -> list[Plan]:
    """Plans of the trials that --tune runs first; none without tuning. Raises UserError as the run would."""
    if not spec.tune and not spec.tune_tasks and spec.tune_seeds == 1:
        return []
    from harness.runner.tuning.trials import build_arms
    from harness.runner.tuning.tuning import check_tunable

    check_tunable(plan, spec)
    return build_arms(plan, spec.tune or 0, spec.tune_tasks, spec.tune_seeds)[1]


def _forecast_pack(capacity: Capacity, pack: Pack, cost: Cost | None, *, asked: bool) -> PackForecast:
    """Estimate for a pack as if all K members were the one with the largest peak."""
    k, cell = len(pack.members), pack.first.cell
    chosen = "asked" if asked else None if pack.first.method.pack_key() is None else "memory"
    steps = max(count_steps(member.cell.protocol, member.train_rows) for member in pack.members)
    members: dict[str, PlannedCell] = {}
    for member in pack.members:
        members.setdefault(_format_title(member.cell), member)
    by_title = {title: capacity.predicted(capacity.step(member), k) for title, member in members.items()}
    predictions = [p for p in by_title.values() if not isinstance(p, str)]
    if len(predictions) < len(by_title):
        note = next(p for p in by_title.values() if isinstance(p, str))
        return PackForecast(cell.task, _join_titles(pack.cells), k, chosen, None, True, steps, None, note)
    worst = max(predictions, key=lambda p: p.peak)
    # all members train as one batch, so one method that does not fit makes the pack fail
    fits = worst.peak <= capacity.room * PLANNED_SHARE
    seconds = None if cost is None else _estimate_seconds(pack, steps, worst, cost)
    return PackForecast(cell.task, _join_titles(pack.cells), k, chosen, worst.shares, fits, steps, seconds, "")


def _estimate_seconds(pack: Pack, steps: int, worst: Prediction, cost: Cost) -> float:
    """Seconds of training and evaluation, from FLOPs and kernel launches; `worst` is a step of the whole pack."""
    per_row = worst.forward_flops / pack.first.cell.protocol.batch_size
    return steps * cost.step(worst.flops, worst.launches) + cost.per_flop * per_row * pack.first.eval_rows


def _to_json(row: PackForecast) -> dict[str, Any]:
    fields = dataclasses.asdict(row)
    fields["shares"] = row.shares.model_dump() if row.shares else None
    return fields | {"peak": row.shares.total if row.shares else None}


def _forecast_methods(plan: Plan, capacity: Capacity) -> list[dict[str, Any]]:
    """Each method and precision trained alone, on the task where that takes most memory: peak in bytes, whether it
    fits, and changes after which it does; `note` says why there is no peak.
    """
    entries: dict[str, dict[str, Any]] = {}
    largest: dict[str, PlannedCell] = {}
    distinct_cells: dict[tuple[object, ...], PlannedCell] = {}
    for planned in plan.cells:  # one cell per method and task: those that differ in seeds share the protocol object
        cell = planned.cell
        distinct_cells.setdefault((cell.suite, cell.task, cell.label, cell.precision, id(cell.protocol)), planned)
    for planned in distinct_cells.values():
        cell, prediction = planned.cell, capacity.predicted(capacity.step(planned))
        name = f"{cell.title} ({cell.precision})"
        names = {"method": name, "title": cell.title, "precision": cell.precision}
        entry = entries.setdefault(name, {**names, "tasks": [], "peak": None, "fits": True, "note": "", "ways": []})
        if cell.task not in entry["tasks"]:
            entry["tasks"].append(cell.task)
        if isinstance(prediction, str):
            entry["note"] = prediction
        elif entry["peak"] is None or prediction.peak > entry["peak"]:
            entry["peak"], entry["fits"] = prediction.peak, prediction.peak <= capacity.room * PLANNED_SHARE
            largest[name] = planned
    for name, entry in entries.items():
        if not entry["fits"]:
            entry["ways"] = [dataclasses.asdict(way) for way in find_remedies(capacity, largest[name])]
    return list(entries.values())


def estimate_hours(seconds: Sequence[float], devices: int) -> float:
    """Hours until the last of so many devices is done if each free one takes the longest pack that waits."""
    ends = [0.0] * devices
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends) / 3600
