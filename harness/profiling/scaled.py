"""A trace of a step with another number of rows per batch, from the storages of a traced one.

The traced number of rows is a large prime. Bytes that are a multiple of it grow with the rows, all others are constant:

    storage    traced, 1009 rows     64 rows
    hidden     1009 * 4096           64 * 4096
    weight     4096 * 4096           4096 * 4096
"""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.profiling.live_storages import Span, StorageLife, round_up
from harness.profiling.shallow import ShallowTrace, TracedSpan


def scale_trace(trace: ShallowTrace, traced: int, batch: int, block: int) -> ShallowTrace:
    """The trace of a step with `batch` rows per batch, from one with `traced` rows; sizes are multiples of `block`.

    The operations of a step must not depend on the number of rows.
    """

    def scale(count: int) -> int:
        return count // traced * batch if count % traced == 0 else count

    last = max(traced_span.span.last for traced_span in trace.spans.values())
    changes = np.zeros(last + 1, np.int64)
    for life in trace.lives:
        size = round_up(scale(life.bytes), block)
        if life.created_at <= last:
            changes[life.created_at] += size
        if life.freed_at <= last:
            changes[int(life.freed_at)] -= size
    live = np.cumsum(changes)
    gradients = [dataclasses.replace(life, size=round_up(scale(life.bytes), block)) for life in trace.gradients]
    spans = {}
    for name, traced_span in trace.spans.items():
        span = _measure_span(traced_span.span, live)
        span.flops = scale(span.flops)
        spans[name] = TracedSpan(span, _sum_living(gradients, span.peak_at))
    forward = int(live[trace.forward_at]), scale(trace.forward_flops)
    return ShallowTrace(trace.depth, spans, *forward, trace.missing)


def _measure_span(span: Span, live: np.ndarray) -> Span:
    """The span with its bytes at start, end and peak by the living bytes at each event."""
    part = live[span.first : span.last + 1]
    peak_at = span.first + int(part.argmax())
    start, end, peak = (int(live[event]) for event in (span.first, span.last, peak_at))
    return dataclasses.replace(span, start=start, end=end, peak=peak, peak_at=peak_at)


def _sum_living(lives: list[StorageLife], event: int) -> int:
    return sum(life.size for life in lives if life.created_at <= event < life.freed_at)
