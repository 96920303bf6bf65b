"""What a method costs beside another: trainable parameters, training state, memory and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.profile import Profile
from harness.core.record import Record, TrainState
from reports.solo import find_profile
from reports.statistics.costs import SpeedRatio, compare_speeds, count_trainable

STATE_PARTS = "trained weights, gradients, optimizer state, frozen adapter entries and index maps"
"""What the bytes of a method's state are made of; the frozen backbone is not among them."""


@dataclass(frozen=True)
class Saving:
    """(method, first) of each figure; None where either was not measured.

    `trained`: trainable parameters, head excluded. `state`: bytes of `STATE_PARTS`. `peak`: bytes of the kind
    `peak_kind`, and `speed`, from profiles in isolation; no peaks of two kinds.
    """

    trained: tuple[int, int] | None
    state: tuple[int, int] | None
    peak: tuple[int, int] | None
    peak_kind: str
    speed: SpeedRatio | None


def compute_saving(method: Sequence[Record], first: Sequence[Record], profiles: Sequence[Profile]) -> Saving:
    """From the first record of each that has its counts, of the same task."""
    # the head, and so some counts, differ between tasks: both records are of one task
    pair = _find_counted_pair(method, first)
    if pair is None:
        return Saving(None, None, None, "", None)
    a, b = pair
    profile, other = (find_profile(r, profiles, finished=True) for r in (a, b))
    # memory of the GPU's allocator and resident memory of the process do not compare
    is_same_kind = profile is not None and other is not None and profile.peak_kind == other.peak_kind
    return Saving(
        trained=_join_pair(count_trainable(a), count_trainable(b)),
        state=_compare_states(a, b, profile, other),
        peak=_join_pair(profile.peak_bytes, other.peak_bytes) if profile and other and is_same_kind else None,
        peak_kind=profile.peak_kind if profile else "",
        speed=compare_speeds(profile, other) if profile and other else None,
    )


def _find_counted_pair(method: Sequence[Record], first: Sequence[Record]) -> tuple[Record, Record] | None:
    """The first records of both, of one task, that have counts of parameters."""
    without_partner: set[str] = set()
    for a in method:
        if a.parameters and a.cell.task not in without_partner:
            b = next((one for one in first if one.parameters and one.cell.task == a.cell.task), None)
            if b is not None:
                return a, b
            without_partner.add(a.cell.task)
    return None


def _join_pair(a: int | None, b: int | None) -> tuple[int, int] | None:
    return None if a is None or b is None else (a, b)


def _compare_states(a: Record, b: Record, profile: Profile | None, other: Profile | None) -> tuple[int, int] | None:
    """From profiles where both have it, else from the records: never one of each.

    Records of earlier versions count the index maps of a cell's neighbours in its pack as well, profiles do not.
    """
    if profile and other and profile.train_state and other.train_state:
        measured = _join_pair(_get_state_bytes(profile.train_state, a), _get_state_bytes(other.train_state, b))
        if measured:
            return measured
    return _join_pair(_get_state_bytes(a.train_state, a), _get_state_bytes(b.train_state, b))


def _get_state_bytes(state: TrainState | None, record: Record) -> int | None:
    entries = record.parameters.adapter_frozen if record.parameters else None
    return None if state is None else sum_state_bytes(state, entries)


def sum_state_bytes(state: TrainState, frozen_entries: int | None = None) -> int | None:
    """Bytes of `STATE_PARTS`; None where frozen entries take memory that was not recorded."""
    # records of earlier versions have no bytes of frozen entries; without such entries they are 0
    frozen = 0 if state.frozen is None and frozen_entries == 0 else state.frozen
    return None if frozen is None else state.weights + state.gradients + state.optimizer + frozen
