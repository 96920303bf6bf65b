"""What each method costs: trainable parameters, training state, memory and speed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.profile import Profile
from harness.core.text import format_bytes
from reports.document import LinkedText, Table
from reports.frames import Grid
from reports.registered import SuiteContext, report_table
from reports.solo import find_profile
from reports.statistics.costs import compute_speed, describe_load


@report_table("cost", place=30, topic="cost")
def build(context: SuiteContext) -> Table:
    return build_cost_table(context.grid, context.profiles)


def build_cost_table(grid: Grid, profiles: Sequence[Profile]) -> Table:
    """Trainable parameters and training state per method; memory and speed from profiles in isolation only."""
    rows = []
    for method in grid.methods:
        # a cell that failed has no counts
        record = next((r for r in grid.select_method(method) if r.parameters), None)
        profile = find_profile(record or next(iter(grid.select_method(method))), profiles)
        p, s = (record.parameters, record.train_state) if record else (None, None)
        counts = (
            [f"{n:,}" for n in (p.adapter_trained, p.adapter_frozen, p.head_trained, p.backbone_trained)]
            if p
            else [""] * 4
        )
        state_size = format_bytes(s.gradients + s.optimizer) if s else ""
        rows.append((LinkedText(method, method=method), *counts, state_size, *_format_profile(profile)))
    head = ("method", "adapter trained", "adapter frozen", "head", "backbone trained", "gradients + moments")
    kinds = sorted({p.peak_kind for p in profiles})
    peak = f"peak memory ({', '.join(kinds)})" if kinds else "peak memory"
    notes = [
        "Counts are numbers, of the first task's cells (the head's width differs from task to task).",
        "Memory and speed come from profiles in isolation, never from a pack; empty: not measured.",
        "samples/s: median over the timed steps, with the 10th and 90th percentile. Load: what else ran meanwhile "
        "(others: share of the processors' time). Methods are compared in the table of cost, method against method.",
    ]
    simulated = sorted({r.cell.quantize for r in grid.records if r.cell.is_simulated})
    if simulated:
        notes.append(
            f"{', '.join(simulated)}: simulated in floating point, scores only; memory and speed are not measured."
        )
    return Table("Cost", (*head, peak, "samples/s", "load"), rows, notes)


def _format_profile(profile: Profile | None) -> tuple[str, str, str]:
    """Peak memory, speed with its spread, and load."""
    if profile is None:
        return "", "", ""
    if profile.status != "ok" or profile.peak_bytes is None:
        return profile.status, "", ""
    speed = compute_speed(profile)
    return format_bytes(profile.peak_bytes), str(speed) if speed else "", describe_load(profile)
