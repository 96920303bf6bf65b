"""When a pack writes its next checkpoint."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from harness.core.errors import UserError

MIN_SECONDS = 60.0
"""Least time before the first checkpoint and between two; LORASP_HARNESS_CHECKPOINT_SECONDS overrides it."""
MAX_TIME_SHARE = 0.01
"""Greatest share of a pack's time that writing checkpoints may take."""
ASSUMED_RATE = 100e6
"""Bytes per second that a disk is assumed to write before the first write is timed."""


class CheckpointTimer:
    """Decides when the next checkpoint is due.

    Two checkpoints are at least `MIN_SECONDS` apart, and writing takes at most `MAX_TIME_SHARE` of the time. `size` is
    in bytes: it gives an estimate of the cost until the first write is timed. Raises UserError for a malformed
    LORASP_HARNESS_CHECKPOINT_SECONDS.
    """

    def __init__(self, size: int) -> None:
        self.write_seconds, self.last_write = size / ASSUMED_RATE, time.monotonic()
        self.interval = _read_interval()

    def is_due(self) -> bool:
        return time.monotonic() - self.last_write >= max(self.interval, self.write_seconds / MAX_TIME_SHARE)

    @contextlib.contextmanager
    def time_write(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.last_write = time.monotonic()
        self.write_seconds = self.last_write - began


def _read_interval() -> float:
    text = os.environ.get("LORASP_HARNESS_CHECKPOINT_SECONDS", "")
    with contextlib.suppress(ValueError):
        if (seconds := float(text or MIN_SECONDS)) >= 0:  # nan compares false and is refused below
            return seconds
    raise UserError(f"LORASP_HARNESS_CHECKPOINT_SECONDS='{text}': allowed: a number of seconds of 0 or more")
