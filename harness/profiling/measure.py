"""Profile one cell in isolation: memory and speed. It runs in its own process, so that the peak is the cell's only."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import torch

from harness.core.device import choose_threads
from harness.core.failure import is_out_of_memory
from harness.core.gpu import Gpu
from harness.core.profile import Profile
from harness.core.provenance import describe_environment, get_utc_time
from harness.models.backbone import measure_storage
from harness.profiling.clocks import (
    TIMED_STEPS,
    WARMUP_STEPS,
    RssPeak,
    build_shared_profile,
    describe_caveats,
    disable_gc,
    time_steps,
)
from harness.profiling.detail import measure_in_detail
from harness.profiling.load import LoadMeter
from harness.profiling.request import ProfileRequest, build_trainer, load_alone
from harness.profiling.trace import trace
from harness.training.pack_setup import count_parameters


def measure(question: ProfileRequest) -> Profile:
    """The profile of a cell; out of memory and other errors become its status, with the reason."""
    meter = LoadMeter()
    with disable_gc():  # so that repeated profiles have the same peak
        profile = _measure_safely(question)
    return profile.model_copy(update={"load": meter.read()})


def _measure_safely(question: ProfileRequest) -> Profile:
    choose_threads(question.threads)
    empty = _build_profile(question, "failed")
    try:
        if question.repeats:
            return measure_in_detail(question, empty)
        return _measure(question, empty)
    except Exception as error:
        status = "oom" if is_out_of_memory(error) else "failed"
        return empty.model_copy(update={"status": status, "reason": f"{type(error).__name__}: {error}"})


def _build_profile(question: ProfileRequest, status: str) -> Profile:
    """A profile without measured fields."""
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
            "environment": describe_environment(question.device, torch.get_num_threads()),
            "measured": get_utc_time(),
        }
    )


def _measure(question: ProfileRequest, empty: Profile) -> Profile:
    """The short profile: warm up, then time one block of steps. Raises what the cell raises."""
    cell, cuda = question.cell, question.device == "cuda"
    model = load_alone(question)
    gc.collect()
    loaded = RssPeak().start
    backbone_parameters = list(model.parameters())
    trainer = build_trainer(question, model, WARMUP_STEPS + TIMED_STEPS)
    _, state = count_parameters(measure_storage(model, backbone_parameters), trainer.attached, 0, cell.protocol)
    counted = trace(trainer, question.device)
    gc.collect()
    if cuda:  # the peak of steps alone, as in a detailed profile: attaching a method may take more
        torch.cuda.reset_peak_memory_stats()
    rss = None if cuda else RssPeak()
    gpu = Gpu(question.device, question.waiting)
    other_pids = gpu.list_other_processes()
    with trainer.runner.stream():  # as in a run: a CUDA graph cannot be captured on the default stream
        for step in range(1, WARMUP_STEPS):
            trainer.train_step(step)
        step_seconds = time_steps(trainer, range(WARMUP_STEPS, WARMUP_STEPS + TIMED_STEPS), question.device)
    other_pids = sorted({*other_pids, *gpu.list_other_processes()})
    fields: dict[str, Any] = {
        "status": "ok",
        "reason": describe_caveats(trainer, gpu),
        "peak_bytes": rss.measure_above(loaded) if rss else torch.cuda.max_memory_allocated(),
        "train_state": state,
        "shares": counted.shares,
        "flops": counted.flops,
        "launches": counted.launches,
    }
    if other_pids:
        return build_shared_profile(empty, fields, other_pids)
    speed = {
        "step_seconds": step_seconds,
        "samples_per_second": cell.protocol.batch_size / float(np.median(step_seconds)),
    }
    return empty.model_copy(update=fields | speed)
