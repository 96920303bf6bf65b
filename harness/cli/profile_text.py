"""The output of `profile` as text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.profile import Profile
from harness.core.terminal import print_lines, print_table, print_wrapped
from harness.core.text import format_bytes

DROPPED = ("of matmul FLOP/s", "J per 1,000 samples", "padding", "tokens/s", "step ms p10 / p50 / p90")
"""Columns that a narrow terminal leaves out, the first of them first."""


def print_profiles(profiles: Sequence[Profile]) -> None:
    """Print a table with the speed of each profile, then lines with its memory by category and by phase."""
    if not profiles:
        print_lines(["nothing was profiled"])
        return
    rows = [_build_row(profile) for profile in profiles]
    title = ", ".join(f"{name} {value}" for name, value in _build_facts(profiles[0]).items())
    print_table([list(rows[0]), *(list(row.values()) for row in rows)], {0, 1, 2}, title, drop=DROPPED)
    print_wrapped(list_details(profiles))


def list_details(profiles: Sequence[Profile]) -> list[str]:
    """Lines with the memory of each profile by category and by phase, and why it failed."""
    lines: list[str] = []
    for p in profiles:
        if p.shares:
            parts = ", ".join(f"{n} {format_bytes(getattr(p.shares, n))}" for n in type(p.shares).model_fields)
            lines.append(f"{p.method}: peak of one step {format_bytes(p.shares.total)}: {parts}")
        for phase in p.phases:
            phase_bytes = {
                "allocated": phase.allocated,
                "reserved": phase.reserved,
                "rss": phase.rss,
                "gpu": phase.device,
            }
            # the allocator's counts exist on a GPU only
            sizes = ", ".join(
                f"{name} {format_bytes(value)}" for name, value in phase_bytes.items() if value is not None
            )
            lines.append(f"{p.method}: {phase.phase}: {sizes}")
        if p.reason:
            lines.append(f"{p.method}: {p.reason}")
    return lines


def _build_facts(p: Profile) -> dict[str, object]:
    # all profiles of one command share these, so they stand above the table
    return {"model": p.model, "device": p.device, "batch": p.batch_size, "length": p.length, "peak": p.peak_kind}


def _build_row(p: Profile) -> dict[str, str]:
    spread = f"{min(p.blocks):.1f} to {max(p.blocks):.1f}" if p.blocks else ""
    times = " / ".join(f"{1000 * s:.1f}" for s in p.step_percentiles or ())
    return {
        "method": p.method,
        "precision": p.dtype if p.quantize == "none" else f"{p.dtype}, {p.quantize}",
        "status": p.status,
        "peak": format_bytes(p.peak_bytes),
        "samples/s at full length": "" if p.samples_per_second is None else f"{p.samples_per_second:.1f}",
        f"samples/s, {p.rows or 'blocks'}": spread,
        "tokens/s": "" if p.tokens_per_second is None else f"{p.tokens_per_second:.0f}",
        "padding": "" if p.padding is None else f"{p.padding:.0%}",
        "step ms p10 / p50 / p90": times,
        "of matmul FLOP/s": "" if p.ceiling_share is None else f"{p.ceiling_share:.1%}",
        "used by others": "unknown" if p.load is None or p.load.others is None else f"{p.load.others:.0%}",
        "J per 1,000 samples": "" if p.joules_per_1000 is None else f"{p.joules_per_1000:.1f}",
    }
