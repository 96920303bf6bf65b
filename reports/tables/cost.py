"""What each method costs: trainable parameters, training state, memory and speed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from harness.core.record import Profile
from harness.core.text import format_bytes
from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table
from reports.solo import find_profile


@report_table("cost", place=30, topic="cost")
def build(context: SuiteContext) -> Table:
    return build_cost_table(context.grid, context.profiles)


def build_cost_table(grid: Grid, profiles: Sequence[Profile]) -> Table:
    """Trained parameters and training state per method; memory and speed from solo profiles only."""
    rows = []
    first_rate: float | None = None
    for method in grid.methods:
        record = next((r for r in grid.select_method(method) if r.parameters), None)
        profile = find_profile(record or next(iter(grid.select_method(method))), profiles)
        p, s = (record.parameters, record.train_state) if record else (None, None)
        counts = (
            [f"{n:,}" for n in (p.adapter_trained, p.adapter_frozen, p.head_trained, p.backbone_trained)]
            if p
            else [""] * 4
        )
        state_size = format_bytes(s.gradients + s.optimizer) if s else ""
        rate = profile.samples_per_second if profile else None
        first_rate = first_rate or rate
        rows.append(
            (
                LinkedText(method, method=method),
                *counts,
                state_size,
                *_format_profile(profile),
                f"{rate / first_rate:.2f}" if rate and first_rate else "",
            )
        )
    head = ("method", "adapter trained", "adapter frozen", "head", "backbone trained", "gradients + moments")
    kinds = sorted({p.peak_kind for p in profiles})
    peak = f"peak memory ({', '.join(kinds)})" if kinds else "peak memory"
    notes = [
        "Counts are numbers, of the first task's cells (the head's width differs from task to task).",
        "Memory and speed come from runs alone in a process of their own, never from a pack; empty: not measured.",
        "samples/s: median over the timed steps, with the 10th and 90th percentile.",
    ]
    levels = sorted({r.cell.quantize for r in grid.records if r.cell.is_simulated})
    if levels:
        notes.append(
            f"{', '.join(levels)}: simulated in floating point, scores only; memory and speed are not measured."
        )
    return Table("Cost", (*head, peak, "samples/s", f"speed / {grid.methods[0]}"), rows, notes)


def _format_profile(profile: Profile | None) -> tuple[str, str]:
    if profile is None:
        return "", ""
    if profile.status != "ok" or profile.samples_per_second is None or len(profile.step_seconds) < 2:
        return profile.status, ""
    tenths = statistics.quantiles(profile.step_seconds, n=10)
    low, high = profile.batch_size / tenths[-1], profile.batch_size / tenths[0]
    return format_bytes(profile.peak_bytes), f"{profile.samples_per_second:.0f} ({low:.0f} to {high:.0f})"
