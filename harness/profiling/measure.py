"""Memory and speed of one cell alone. Runs in a process of its own, so the peak is this cell's only."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import torch

from harness.core.device import choose_threads
from harness.core.failure import out_of_memory
from harness.core.gpu import Gpu
from harness.core.provenance import environment, utc_now
from harness.core.record import Profile
from harness.models.backbone import held
from harness.profiling.clocks import TIMED_STEPS, WARMUP_STEPS, RssPeak, reservations, shared, timed_steps, uncollected
from harness.profiling.detail import measure_in_detail
from harness.profiling.request import Question, load_alone, train_alone
from harness.profiling.trace import trace
from harness.training.pack_training import counts


def measure(question: Question) -> Profile:
    """Warm up, then time each step. Out of memory and errors become the profile's status."""
    with uncollected():
        return _measured(question)


def _measured(question: Question) -> Profile:
    choose_threads(question.threads)
    empty = _profile(question, "failed")
    try:
        if question.repeats:
            return measure_in_detail(question, empty)
        return _measure(question, empty)
    except Exception as error:
        status = "oom" if out_of_memory(error) else "failed"
        return empty.model_copy(update={"status": status, "reason": f"{type(error).__name__}: {error}"})


def _profile(question: Question, status: str) -> Profile:
    cell, cuda = question.cell, question.device == "cuda"
    return Profile.model_validate(
        {
            "key": question.key,
            "status": status,
            "suite": cell.suite,
            "method": cell.label,
            "model": cell.model.name,
            "model_revision": cell.model.content,
            "dtype": cell.dtype,
            "quantize": cell.quantize,
            "recompute": cell.recompute,
            "device": question.device,
            "batch_size": cell.protocol.batch_size,
            "length": question.length,
            "warmup_steps": WARMUP_STEPS,
            "timed_steps": TIMED_STEPS,
            "peak_kind": "cuda allocated" if cuda else "rss above loaded backbone",
            "environment": environment(question.device, torch.get_num_threads()),
            "measured": utc_now(),
        }
    )


def _measure(question: Question, empty: Profile) -> Profile:
    cell, cuda = question.cell, question.device == "cuda"
    model = load_alone(question)
    gc.collect()
    loaded = RssPeak().start
    own = list(model.parameters())
    trainer = train_alone(question, model, WARMUP_STEPS + TIMED_STEPS)
    _, state = counts(held(model, own), trainer.attached, 0)
    counted = trace(trainer, question.device)
    gc.collect()
    if cuda:  # of the steps alone, as in detail: what a method takes to attach is no step's
        torch.cuda.reset_peak_memory_stats()
    rss = None if cuda else RssPeak()
    gpu = Gpu(question.device, question.waiting)
    others = gpu.others()
    with trainer.runner.stream():  # as a run does: a graph is not captured from what lies on the default one
        for step in range(1, WARMUP_STEPS):
            trainer.one_step(step)
        timed = timed_steps(trainer, range(WARMUP_STEPS, WARMUP_STEPS + TIMED_STEPS), question.device)
    others = sorted({*others, *gpu.others()})
    found: dict[str, Any] = {
        "status": "ok",
        "reason": reservations(trainer, gpu),
        "peak_bytes": rss.above(loaded) if rss else torch.cuda.max_memory_allocated(),
        "train_state": state,
        "shares": counted.shares,
        "flops": counted.flops,
        "launches": counted.launches,
    }
    if others:
        return shared(empty, found, others)
    speed = {"step_seconds": timed, "samples_per_second": cell.protocol.batch_size / float(np.median(timed))}
    return empty.model_copy(update=found | speed)
