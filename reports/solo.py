"""The solo profile that belongs to a record, and bytes for reading."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.record import Profile, Record


def profile_of(record: Record, profiles: Sequence[Profile], *, finished: bool = False) -> Profile | None:
    """The profile of a record's method, model and batch, with `finished` one that came to an end.

    Of several that of the record's machine, the latest. None for a simulated level.
    """
    cell = record.cell
    if cell.simulated:
        return None
    fits = [
        p
        for p in profiles
        if (p.method, p.model_revision, p.dtype, p.quantize, p.recompute)
        == (cell.label, cell.model.content, cell.dtype, cell.quantize, cell.recompute)
        and (p.batch_size, p.length) == (cell.protocol.batch_size, cell.protocol.max_length)
        and (p.status == "ok" or not finished)
    ]
    return max(fits, key=lambda p: (_machine(p) == _machine(record), p.measured), default=None)


def _machine(made: Record | Profile) -> tuple[str, str, int, str | None] | None:
    known = made.environment
    return None if known is None else (known.device, known.cpu, known.threads, known.gpu)


def size(count: int | None) -> str:
    """Bytes as text; '' of nothing."""
    if count is None:
        return ""
    return f"{count / 2**20:.2f} MiB" if count >= 2**17 else f"{count / 2**10:.1f} KiB"
