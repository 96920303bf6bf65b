"""Memory of LoRA-SP against LoRA, peft's LoRA and full fine-tuning, and what each way to save it saves."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.bench.table import Bench, Panel, made_up
from harness.core.cell import Cell
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.record import MemoryShares
from harness.core.spec import Spec
from harness.profiling.worker import Killed, call_alone

if TYPE_CHECKING:
    from harness.bench.memory_process import Found, Job
    from harness.profiling.request import Question

LORA, SELECTED = "lora", "lorasp"
RECOMPUTED = ("selective", "full")
PARTS = tuple(MemoryShares.model_fields)


def measure(spec: Spec, strategies: Sequence[str], levels: Sequence[str]) -> Bench:
    """Peaks of the methods and of each saving, a process each; what strategies keep, counted. Raises UserError."""
    device = choose_device(spec.device)
    have = importlib.util.find_spec("bitsandbytes") is not None
    jobs = _jobs(spec, strategies, levels if have else (), device)
    alone = [[job] for job in jobs if job.peak]
    counted = [job for job in jobs if not job.peak]
    found = [f for group in [*alone, *([counted] if counted else [])] for f in _in_a_process(group)]
    facts = made_up(spec, device, choose_threads(spec.threads)) | {
        "peak": "cuda allocated" if device == "cuda" else "rss above the loaded backbone",
    }
    if device == "cpu" and (own := found[0].predicted_peak) and (found[0].peak or 0) > 2 * own:
        facts["mind"] = "the model is so small that peaks are mostly the libraries'; see 'predicted', or give --model"
    if levels and not have:
        facts["left out"] = f"{', '.join(levels)}: bitsandbytes is not installed"
    return Bench("memory", facts, [_row(f, found[0]) for f in found], _samples(found), _panels(found))


def _jobs(spec: Spec, strategies: Sequence[str], levels: Sequence[str], device: str) -> list[Job]:
    """LoRA, its rivals, LoRA-SP and full; each saving alone and all together; the strategies."""
    from harness.bench.memory_process import Job
    from harness.bench.subjects import counterpart_on_cpu
    from harness.bench.usual import FULL

    last = f"quantize={levels[-1]}," if levels else ""
    savings = [f"{LORA}:quantize={level}" for level in levels]
    savings += [f"{LORA}:recompute={how}" for how in RECOMPUTED] + [f"{SELECTED}:{last}recompute={RECOMPUTED[-1]}"]
    peaks = _questions(spec, [LORA, SELECTED, "full", *savings], device)
    lora, full = peaks[0], next(q for q in peaks if q.cell.method == "full")
    rivals = [
        Job("peft + Trainer: lora", lora, counterpart_on_cpu(lora)),
        Job("Trainer: full", full, FULL),
    ]
    kept = _questions(spec, [f"{SELECTED}:select={name}" for name in strategies], device)
    jobs = [Job(_name(q.cell), q) for q in peaks]
    return [jobs[0], rivals[0], *jobs[1:3], rivals[1], *jobs[3:], *(Job(_name(q.cell), q, peak=False) for q in kept)]


def _questions(spec: Spec, methods: Sequence[str], device: str) -> list[Question]:
    from harness.bench.subjects import asked_of

    return asked_of(spec.model_copy(update={"methods": ",".join(methods)}), device)[0] if methods else []


def _name(cell: Cell) -> str:
    again = "" if cell.recompute == "none" else f"{cell.recompute} recomputation"
    return ", ".join(filter(None, [cell.label, "" if cell.quantize == "none" else cell.quantize, again]))


def _in_a_process(jobs: Sequence[Job]) -> list[Found]:
    """Raises UserError where the process is killed."""
    from harness.bench.memory_process import take

    # bitsandbytes opens the GPU when it is imported, and an open one is lost to a forked process; resident memory,
    # which would take libraries for the method's, is the CPU's measure only
    cuda = jobs[0].question.device == "cuda"
    preload = "harness.bench.memory_process" if cuda else "harness.bench.forked"
    try:
        return call_alone(preload, take, list(jobs))
    except Killed as error:
        raise UserError(f"{jobs[0].name}: its process was killed (out of memory?); use a smaller batch") from error


def saved(found: int | None, base: int | None) -> float | None:
    """The share of `base` that is not taken; None where one of them is not known."""
    return None if not found or not base else 1 - found / base


def _row(found: Found, base: Found) -> dict[str, str]:
    parts, total = found.predicted or {}, found.predicted_peak
    shares = {name: f"{100 * parts[name] / total:.1f} %" if total else "" for name in PARTS}
    return {
        "what": found.name,
        "peak": _mib(found.peak),
        "saved": _percent(saved(found.peak, base.peak)),
        "predicted": _mib(total),
        "saved of it": _percent(saved(total, base.predicted_peak)),
        **shares,
        "gradient bytes": str(found.gradients),
        "moment bytes": str(found.moments),
        "kept for backward": _mib(found.kept),
        "kept / lora's": f"{found.kept / base.kept:.2f}",
    }


def _mib(count: int | None) -> str:
    return "" if count is None else f"{count / 2**20:.2f} MiB"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _samples(found: Sequence[Found]) -> list[dict[str, Any]]:
    base = found[0]
    return [
        dataclasses.asdict(f)
        | {"saved": saved(f.peak, base.peak), "saved_predicted": saved(f.predicted_peak, base.predicted_peak)}
        for f in found
    ]


def _panels(found: Sequence[Found]) -> list[Panel]:
    """The predicted peak by category, the measured one, and what is kept."""
    named = [f for f in found if f.predicted]
    stacked = {name: [(f.predicted or {})[name] / 2**20 for f in named] for name in PARTS}
    peaks = [f for f in found if f.peak]
    return [
        Panel("MiB at the predicted peak", [f.name for f in named], stacked),
        Panel("MiB at the measured peak", [f.name for f in peaks], {"peak": [(f.peak or 0) / 2**20 for f in peaks]}),
        Panel("MiB kept for the backward pass", [f.name for f in found], {"kept": [f.kept / 2**20 for f in found]}),
    ]
