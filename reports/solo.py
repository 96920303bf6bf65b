"""The solo profile that belongs to a record."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.profile import Profile
from harness.core.record import Record


def find_profile(record: Record, profiles: Sequence[Profile], *, finished: bool = False) -> Profile | None:
    """The profile of a record's method, model and batch, with `finished` one that came to an end.

    Of several that of the record's machine, the latest. None for a simulated quantization type.
    """
    cell = record.cell
    if cell.is_simulated:
        return None
    matches = [
        p
        for p in profiles
        if (p.method, p.model_revision, p.dtype, p.quantize, p.recompute)
        == (cell.label, cell.model.content, cell.dtype, cell.quantize, cell.recompute)
        and (p.batch_size, p.length) == (cell.protocol.batch_size, cell.protocol.max_length)
        and (p.status == "ok" or not finished)
    ]
    # speeds of two machines do not compare, so the record's own machine comes first
    return max(matches, key=lambda p: (_get_machine(p) == _get_machine(record), p.measured), default=None)


def _get_machine(made: Record | Profile) -> tuple[str, str, int, str | None] | None:
    environment = made.environment
    return None if environment is None else (environment.device, environment.cpu, environment.threads, environment.gpu)
