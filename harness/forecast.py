"""The verb `plan`: the grid without running it: packs, memory, time, and what will not fit."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.bench.table import Bench
from harness.capacity import USED_AT_MOST, Capacity, free_memory, parse_memory, ways_to_fit
from harness.cell import Cell
from harness.cost import NONE_YET, Cost, calibrate, kept_runs, stored_profiles, stored_sizes
from harness.pack_size import PackSizes, train_rows
from harness.packs import Pack, group
from harness.plan import Plan, make_plan
from harness.prediction import Prediction
from harness.preflight import fitting
from harness.process import available_cpus
from harness.provenance import cuda_is_available, environment, gpu_name
from harness.record import MemoryShares
from harness.schedule import total_steps
from harness.spec import Spec

NOT_IN = "time of loading, tokenising and writing texts is not in it"


@dataclasses.dataclass(frozen=True)
class Row:
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


def forecast(spec: Spec, memory: str | None) -> dict[str, Any]:
    """What a run of `spec` would come to. Raises UserError."""
    plan = make_plan(spec)

    plan = fitting(plan, plan.cells, cache=spec.cache)
    device = _device(spec, memory)
    room = free_memory(device) if memory is None else parse_memory(memory)
    capacity = Capacity(plan, device, room, cache=spec.cache)
    threads = spec.threads or available_cpus()
    cost = calibrate(stored_profiles([spec.folder]), device, threads, gpu_name(device))
    sizes = _sizes(capacity, spec, threads)
    packs = _packs(sizes, spec)
    rows = [_row(plan, sizes, pack, cost, asked=spec.pack is not None) for pack in packs]
    trials = [fitting(own, own.cells, cache=spec.cache) for own in _trials(plan, spec)]
    for own in trials:
        tried = _sizes(Capacity(own, device, capacity.room, cache=spec.cache), spec, threads)
        made = [_row(own, tried, pack, cost, asked=spec.pack is not None) for pack in _packs(tried, spec)]
        rows += [dataclasses.replace(row, tuning=True) for row in made]
    timed = [r.seconds for r in rows if r.seconds is not None]
    return {
        "device": device,
        "memory": capacity.room,
        "cells": len(plan.cells),
        "trials": sum(len(own.cells) for own in trials),
        "packs": [_as_json(row) for row in rows],
        "device_hours": sum(timed) / 3600 if len(timed) == len(rows) else None,
        "calibration": _calibration(cost, sum(p.timings != [] for p in sizes.made.values())),
        "to_time": [] if spec.pack else _to_time(sizes, packs),
        "too_large": _too_large(plan, capacity),
        "dropped": list(plan.dropped),
        "data": [f"{suite}/{task}: {note}" for (suite, task), data in plan.data.items() for note in data.notes],
    }


def _sizes(capacity: Capacity, spec: Spec, threads: int) -> PackSizes:
    """The choices that a run would make, but for what it would time."""
    machine = environment("cpu", threads).model_copy(
        update={"device": capacity.device, "gpu": gpu_name(capacity.device), "threads": threads}
    )
    stored, known = stored_sizes([spec.folder]), stored_sizes(kept_runs())
    return PackSizes(capacity, capacity.plan.cells, machine, stored=stored, known=known)


def _calibration(cost: Cost | None, timed: int) -> str:
    """What the predicted time comes from."""
    found = [f"steps of {timed} kinds of pack timed on this machine"] if timed else []
    found += [cost.line] if cost else []
    return "; ".join([*found, NOT_IN]) if found else NONE_YET


def _to_time(sizes: PackSizes, packs: Sequence[Pack]) -> list[str]:
    """Methods whose packs a run would time first, so that K may come out otherwise."""
    asked = (p.cells for p in packs if len(p.cells) > 1 and sizes.would_time(p.cells[0]))
    return list(dict.fromkeys(_names(cells) for cells in asked))


def _names(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(_titled(c) for c in cells))


def _titled(cell: Cell) -> str:
    """The method's name, with a precision that neither it nor the default says."""
    plain = cell.title != cell.label or cell.precision == "fp32"
    return cell.title if plain else f"{cell.title} ({cell.precision})"


def _device(spec: Spec, memory: str | None) -> str:
    """The device asked for; a GPU may be planned for where there is none, if its memory is named."""
    if spec.device == "cpu" or (spec.device == "auto" and not cuda_is_available()):
        return "cpu"
    from harness.execute import choose_device

    return "cuda" if memory and spec.device == "cuda" else choose_device(spec.device)


def _trials(plan: Plan, spec: Spec) -> list[Plan]:
    """The plans of what --tune runs first. Raises UserError as the run would."""
    if not spec.tune and not spec.tune_tasks and spec.tune_seeds == 1:
        return []
    from harness.trials import arms_of
    from harness.tuning import check

    check(plan, spec)
    return arms_of(plan, spec.tune or 0, spec.tune_tasks, spec.tune_seeds)[1]


def _packs(sizes: PackSizes, spec: Spec) -> list[Pack]:
    return group(sizes.plan.cells, sizes.plan.methods, spec.pack or sizes.most)


def _row(plan: Plan, sizes: PackSizes, pack: Pack, cost: Cost | None, *, asked: bool) -> Row:
    """The pack's largest member stands for all."""
    k, cell, capacity = len(pack.cells), pack.cells[0], sizes.capacity
    size = sizes.of(cell)
    chosen = "asked" if asked else size.chosen if size else None
    steps = max(total_steps(c.protocol, train_rows(plan, c)) for c in pack.cells)
    members: dict[str, Cell] = {}
    for member in pack.cells:
        members.setdefault(_titled(member), member)
    kinds = {title: capacity.predicted(capacity.step(c), k) for title, c in members.items()}
    known = [p for p in kinds.values() if not isinstance(p, str)]
    if len(known) < len(kinds):
        note = next(p for p in kinds.values() if isinstance(p, str))
        return Row(cell.task, _names(pack.cells), k, chosen, None, True, steps, None, note)
    worst = max(known, key=lambda p: p.peak)
    fits = worst.peak <= capacity.room * USED_AT_MOST
    seconds = _seconds(plan, sizes, pack, steps, worst, cost)
    return Row(cell.task, _names(pack.cells), k, chosen, worst.shares, fits, steps, seconds, "")


def _seconds(
    plan: Plan, sizes: PackSizes, pack: Pack, steps: int, worst: Prediction, cost: Cost | None
) -> float | None:
    """Of training and evaluation: from timed packs of the kind, else from FLOPs and launches."""
    k, cell = len(pack.cells), pack.cells[0]
    step, rows = sizes.seconds(cell, k), _eval_rows(plan, cell)
    if step is not None:
        forward = step * worst.forward_flops / max(1, worst.flops)
        return steps * step + forward / cell.protocol.batch_size * rows
    if cost is None:
        return None
    per_row = worst.forward_flops / cell.protocol.batch_size
    return steps * cost.step(worst.flops, worst.launches) + cost.per_flop * per_row * rows


def _eval_rows(plan: Plan, cell: Cell) -> int:
    task, data = plan.suites[cell.suite].tasks[cell.task], plan.data[cell.suite, cell.task]
    return sum(_count(len(data.splits[s]), cell.protocol.eval_rows) for s in task.eval_splits)


def _count(rows: int, most: int | None) -> int:
    return rows if most is None else min(rows, most)


def _as_json(row: Row) -> dict[str, Any]:
    made = dataclasses.asdict(row)
    made["shares"] = row.shares.model_dump() if row.shares else None
    return made | {"peak": row.shares.total if row.shares else None}


def _too_large(plan: Plan, capacity: Capacity) -> list[dict[str, Any]]:
    """Methods that do not fit even alone, each with what would make it fit."""
    seen: dict[str, dict[str, Any]] = {}
    alike: dict[tuple[object, ...], Cell] = {}
    for cell in plan.cells:  # cells that differ in their seeds share the protocol's object
        alike.setdefault((cell.suite, cell.task, cell.label, cell.precision, id(cell.protocol)), cell)
    for cell in alike.values():
        made = capacity.predicted(capacity.step(cell))
        name = f"{cell.title} ({cell.precision})"
        if isinstance(made, str) or name in seen or made.peak <= capacity.room * USED_AT_MOST:
            continue
        ways = [dataclasses.asdict(way) for way in ways_to_fit(capacity, cell)]
        seen[name] = {"method": name, "peak": made.peak, "ways": ways}
    return list(seen.values())


def size(count: int | None) -> str:
    """'' for None; small ones in KiB, so that half of an adapter is seen to be half."""
    if count is None:
        return ""
    for unit, power, places in (("GiB", 30, 2), ("MiB", 20, 1), ("KiB", 10, 1)):
        if abs(count) >= 2**power:
            return f"{count / 2**power:.{places}f} {unit}"
    return f"{count} B"


def text(made: dict[str, Any]) -> str:
    """The forecast for reading."""
    rows = []
    alike = Counter(json.dumps(pack) for pack in made["packs"])
    for pack, count in ((json.loads(p), n) for p, n in alike.items()):
        parts = {name: size(value) for name, value in (pack["shares"] or {}).items()}
        blank = dict.fromkeys(MemoryShares.model_fields, "")
        time = "" if pack["seconds"] is None else f"{pack['seconds']:.1f} s"
        fits = "not predicted" if pack["peak"] is None else "yes" if pack["fits"] else "no"
        row = {
            "task": f"{pack['task']} (tuning)" if pack["tuning"] else pack["task"],
            "methods": pack["methods"],
            "packs": str(count),
            "K": str(pack["k"]),
            "K from": pack["chosen"] or "",
            "steps": str(pack["steps"]),
        }
        rows.append(row | {"peak": size(pack["peak"])} | blank | parts | {"fits": fits, "time": time})
    facts = {
        "cells": made["cells"],
        **({"trials of tuning": made["trials"]} if made["trials"] else {}),
        "packs": len(made["packs"]),
        "device": made["device"],
        "memory": size(made["memory"]),
    }
    lines = [Bench("plan", facts, rows, []).text(), made["calibration"]]
    if made["device_hours"] is not None:
        lines.append(f"device hours: {made['device_hours']:.3f}")
    lines += [f"{names}: the run times packs of growing size first, and K follows" for names in made["to_time"]]
    for large in made["too_large"]:
        ways = "; ".join(f"{w['flags']} ({size(w['peak'])})" for w in large["ways"]) or "no option makes it fit"
        lines.append(f"{large['method']} needs {size(large['peak'])}: {ways}")
    if any(", " in p["methods"] and p["peak"] for p in made["packs"]):
        lines.append("memory of a pack of several methods: as if all were the one that takes most")
    notes = dict.fromkeys(f"{p['methods']}: not predicted: {p['note']}" for p in made["packs"] if p["note"])
    return "\n".join([*lines, *notes, *made["dropped"], *made["data"]])
