"""Profile methods in isolation: one process per (method, model, batch shape), while nothing else trains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cell import Cell
from harness.core.gpu import get_gpu_pid
from harness.core.process import count_cpus
from harness.core.profile import Profile
from harness.core.provenance import get_gpu_name, get_version, read_cpu_name
from harness.core.registry import get_plugin_digests
from harness.profiling.worker import WorkerKilled, call_alone

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.core.spec import Spec
    from harness.core.store import Store
    from harness.planning.plan import Plan
    from harness.profiling.request import ProfileRequest

PRELOADED = "harness.profiling.measure"
"""What the process imports from which profiles are forked."""
ROWS = 512
"""Largest number of training rows whose lengths a detailed profile uses."""


def build_profile_key(cell: Cell, length: int, device: str, threads: int | None, *, writes: bool = False) -> str:
    """Hash of all that memory and speed depend on: not the seed, the learning rate or the task.

    `length` is in tokens. A task that `writes` texts also trains on `max_target_length` positions of the target.
    """
    content: dict[str, Any] = {
        "method": [cell.method, cell.method_version, cell.options],
        "model": [cell.model.content, cell.dtype, cell.quantize],
        "shape": [cell.protocol.batch_size, length, *([cell.protocol.max_target_length] if writes else [])],
        "machine": [device, threads or count_cpus(), read_cpu_name(), get_version("torch")],
    }
    # what has its default is absent, so that keys of profiles stored before it existed stay valid
    if cell.recompute != "none":
        content["recompute"] = cell.recompute
    if gpu := get_gpu_name(device):
        content["gpu"] = gpu
    if cell.parts:
        content["parts"] = [f"{k} {v}" for k, v in sorted(cell.parts.items())]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def build_requests(plan: Plan, spec: Spec, device: str, repeats: int = 0) -> dict[str, ProfileRequest]:
    """The profiles that a plan's report needs, by key; none for a simulated quantization type.

    With `repeats` they are detailed, and also time batches with the lengths of the task's own rows.
    """
    from harness.profiling.request import request_of

    requests: dict[str, ProfileRequest] = {}
    for planned in (c for c in plan.cells if not c.cell.is_simulated):
        writes = planned.task.outputs is None
        key = build_profile_key(planned.cell, planned.cell.protocol.max_length, device, spec.threads, writes=writes)
        if key not in requests:
            requests[key] = request_of(planned, device, spec.threads, key)
            if repeats:
                rows = tuple(planned.data.splits["train"][:ROWS])
                requests[key] = dataclasses.replace(requests[key], repeats=repeats, rows=rows)
    return requests


def _take_profile(
    request: ProfileRequest, variables: Mapping[str, str], plugins: Sequence[Path], digests: Mapping[Path, str]
) -> Profile:
    """The profile, measured in the worker process, which has to load the plugins itself."""
    from harness.core.registry import load_same
    from harness.profiling.measure import measure

    os.environ.update(variables)  # before anything opens a GPU
    load_same(plugins, digests)
    return measure(request)


def profile_methods(spec: Spec, repeats: int, listener: Listener) -> list[Profile]:
    """New detailed profiles of each method of a spec, even if one is stored. Raises UserError."""
    from harness.core.store import Store
    from harness.planning.plan import make_plan
    from harness.planning.preflight import drop_unfit_cells

    store = Store(spec.folder)
    store.prepare()
    with store.lock():
        plan = make_plan(spec)
        plan = drop_unfit_cells(plan, plan.cells)
        for line in plan.dropped:
            listener.note(line)
        return profile_missing(plan, spec, store, listener, repeats)


def profile_missing(plan: Plan, spec: Spec, store: Store, listener: Listener, repeats: int = 0) -> list[Profile]:
    """All profiles of a plan, after measuring those that are not stored yet.

    With `repeats`, a number of blocks of timed steps, all are measured again and in detail. A profile whose process is
    killed is left out with a note.
    """
    from harness.core.device import check_optimizers, choose_single_device

    device, variables = choose_single_device(spec.devices, spec.device)
    check_optimizers([planned.cell for planned in plan.cells], device)
    requests = build_requests(plan, spec, device, repeats)
    for quantization in dict.fromkeys(c.cell.quantize for c in plan.cells if c.cell.is_simulated):
        listener.note(f"no profiles at {quantization}: it is simulated, so it has no memory or speed of its own")
    profiles = {} if repeats else {k: p for k, p in store.profiles().items() if k in requests and p.status == "ok"}
    missing = [key for key in requests if key not in profiles]
    for number, key in enumerate(missing, 1):
        request = requests[key]
        listener.on_profile_start(request.cell.title, number, len(missing))
        try:
            # this process may have the GPU open too; its id keeps the worker from reporting it as a sharer
            worker_request = dataclasses.replace(request, waiting=get_gpu_pid())
            plugins = spec.plugin, get_plugin_digests(spec.plugin)
            profiles[key] = call_alone(PRELOADED, _take_profile, worker_request, variables, *plugins)
        except WorkerKilled:
            listener.note(
                f"profile of {request.cell.title}: its process was killed (out of memory?); the report leaves it empty"
            )
            continue
        store.write_profile(profiles[key])  # at once: an interrupt loses only the profile in progress
        if profiles[key].status != "ok":
            listener.note(f"profile of {request.cell.title}: {profiles[key].status}: {profiles[key].reason}")
    return [profiles[k] for k in requests if k in profiles]
