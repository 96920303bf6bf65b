"""What a method saves beside another: trained numbers, training state, memory and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.record import Profile, Record
from reports.solo import profile_of, size

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Saving:
    """(method, first) of each figure; None where either was not measured.

    `trained`: numbers without the head. `state`: bytes of gradients and moments. `peak`: bytes, and `speed`: samples a
    second, from profiles of each method alone.
    """

    trained: tuple[int, int] | None
    state: tuple[int, int] | None
    peak: tuple[int, int] | None
    speed: tuple[float, float] | None


def saving(method: Sequence[Record], first: Sequence[Record], profiles: Sequence[Profile]) -> Saving:
    """From the first record of each that has its counts, of the same task."""
    pairs = [(a, b) for a in method for b in first if a.cell.task == b.cell.task and a.parameters and b.parameters]
    if not pairs:
        return Saving(None, None, None, None)
    a, b = pairs[0]
    profile, other = (profile_of(r, profiles, finished=True) for r in (a, b))
    return Saving(
        trained=_both(_trained(a), _trained(b)),
        state=_both(_state(a), _state(b)),
        peak=_both(profile.peak_bytes, other.peak_bytes) if profile and other else None,
        speed=_both(profile.samples_per_second, other.samples_per_second) if profile and other else None,
    )


def _both(a: Number | None, b: Number | None) -> tuple[Number, Number] | None:
    return None if a is None or b is None else (a, b)


def _trained(record: Record) -> int | None:
    p = record.parameters
    return p.adapter_trained + p.backbone_trained if p else None


def _state(record: Record) -> int | None:
    s = record.train_state
    return s.gradients + s.optimizer if s else None


def sentence(found: Saving, method: str, first: str) -> str:
    """What was measured, in plain words; '' of nothing."""
    parts = []
    if found.trained and found.trained[1]:
        parts.append(f"trains {found.trained[0]:,} numbers beside the head ({first}: {found.trained[1]:,})")
    if found.state:
        parts.append(f"keeps {size(found.state[0])} of gradients and moments ({first}: {size(found.state[1])})")
    if found.peak:
        parts.append(f"peaks at {size(found.peak[0])} of memory alone ({first}: {size(found.peak[1])})")
    if found.speed:
        parts.append(f"runs at {found.speed[0] / found.speed[1]:.2f} of the speed of {first}")
    return f"{method} {', '.join(parts)}." if parts else ""
