"""Solo profiles: one process per (method, model, batch shape), never while anything else trains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cell import Cell
from harness.core.gpu import held_by_this_process
from harness.core.process import available_cpus
from harness.core.provenance import cpu_name, gpu_name, version
from harness.core.record import Profile
from harness.profiling.worker import Killed, call_alone

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.core.spec import Spec
    from harness.core.store import Store
    from harness.planning.plan import Plan
    from harness.profiling.request import Question


def profile_key(cell: Cell, length: int, device: str, threads: int | None, *, writes: bool = False) -> str:
    """Hash of what memory and speed depend on; the seed, the rate and the task do not.

    A task that `writes` texts also trains on positions of the target.
    """
    content: dict[str, Any] = {
        "method": [cell.method, cell.method_version, cell.options],
        "model": [cell.model.content, cell.dtype, cell.quantize],
        **({} if cell.recompute == "none" else {"recompute": cell.recompute}),  # so profiles stored without it stay
        "shape": [cell.protocol.batch_size, length, *([cell.protocol.max_target_length] if writes else [])],
        "machine": [device, threads or available_cpus(), cpu_name(), version("torch")],
    }
    if gpu := gpu_name(device):
        content["gpu"] = gpu
    if cell.parts:
        content["parts"] = [f"{k} {v}" for k, v in sorted(cell.parts.items())]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def questions(plan: Plan, spec: Spec, device: str) -> dict[str, Question]:
    """The profiles that a plan's report needs, by key; none of a simulated level."""
    from harness.profiling.request import Question

    found: dict[str, Question] = {}
    for cell in (c for c in plan.cells if not c.simulated):
        length = cell.protocol.max_length
        task = plan.suites[cell.suite].tasks[cell.task]
        key = profile_key(cell, length, device, spec.threads, writes=task.outputs is None)
        source = plan.models[cell.suite]
        if key not in found:
            found[key] = Question(key, cell, plan.methods[cell.key], task, source, length, device, spec.threads)
    return found


def _in_detail(question: Question, plan: Plan, repeats: int) -> Question:
    cell = question.cell
    rows = plan.data[cell.suite, cell.task].splits["train"][:ROWS]
    return dataclasses.replace(question, repeats=repeats, rows=tuple(rows))


def _take(question: Question, plugins: Sequence[Path]) -> Profile:
    from harness.core.registry import load_all
    from harness.profiling.measure import measure

    load_all(plugins)
    return measure(question)


ROWS = 512
"""Training rows at most whose lengths a detailed profile goes by."""


def profile(spec: Spec, repeats: int, listener: Listener) -> list[Profile]:
    """Profile each method of a spec in detail, whatever is stored of it. Raises UserError."""
    from harness.core.store import Store
    from harness.planning.plan import make_plan
    from harness.planning.preflight import fitting

    store = Store(spec.folder)
    store.prepare()
    with store.lock():
        plan = make_plan(spec)
        plan = fitting(plan, plan.cells)
        for line in plan.dropped:
            listener.note(line)
        return profile_missing(plan, spec, store, listener, repeats)


def profile_missing(plan: Plan, spec: Spec, store: Store, listener: Listener, repeats: int = 0) -> list[Profile]:
    """Take the profiles that are not stored yet; returns all that belong to the plan.

    With `repeats`, blocks of timed steps, all are taken anew and in detail.
    """
    from harness.core.device import choose_device

    wanted = questions(plan, spec, choose_device(spec.device))
    for level in dict.fromkeys(c.quantize for c in plan.cells if c.simulated):
        listener.note(f"no profiles at {level}: it is simulated, so it has no memory or speed of its own")
    have = {} if repeats else {k: p for k, p in store.profiles().items() if k in wanted and p.status == "ok"}
    if repeats:
        wanted = {k: _in_detail(q, plan, repeats) for k, q in wanted.items()}
    for key, question in wanted.items():
        if key in have:
            continue
        listener.profiling(question.cell.title)
        try:
            asked = dataclasses.replace(question, waiting=held_by_this_process())
            have[key] = call_alone("harness.profiling.measure", _take, asked, spec.plugin)
        except Killed:
            listener.note(f"profile of {question.cell.title}: its process was killed (out of memory?); left empty")
            continue
        store.write_profile(have[key])
        if have[key].status != "ok":
            listener.note(f"profile of {question.cell.title}: {have[key].status}: {have[key].reason}")
    return [have[k] for k in wanted if k in have]
