"""How busy the machine is while something is measured."""

from __future__ import annotations

import psutil

from harness.core.profile import MachineLoad

BUSY_FIELDS = ("user", "nice", "system", "irq", "softirq", "steal")
"""Times of a processor that is at work, for this machine or (steal) for another on the same host."""
IDLE_FIELDS = ("idle", "iowait")


class LoadMeter:
    """The load of the machine from the creation of the meter to its reading."""

    def __init__(self) -> None:
        self._before = _read_load_average()
        self._busy, self._total = _read_processor_seconds()
        self._own = _read_own_seconds()

    def read(self) -> MachineLoad:
        """Load averages, and the share of the processors' time that other processes used since the creation."""
        busy, total = _read_processor_seconds()
        elapsed = total - self._total
        foreign = busy - self._busy - (_read_own_seconds() - self._own)
        # clocks tick in hundredths of a second, so the difference may come out a little below 0
        others = min(1.0, max(0.0, foreign / elapsed)) if elapsed > 0 else None
        return MachineLoad(before=self._before, after=_read_load_average(), others=others)


def _read_load_average() -> float | None:
    """The load average of the last minute per processor; None where the system has none."""
    try:
        return float(psutil.getloadavg()[0]) / (psutil.cpu_count() or 1)
    except OSError:
        return None


def _read_processor_seconds() -> tuple[float, float]:
    """Seconds that all processors together were busy, and seconds in all, since the machine started."""
    times = psutil.cpu_times()
    busy = sum(float(getattr(times, name, 0.0)) for name in BUSY_FIELDS)
    return busy, busy + sum(float(getattr(times, name, 0.0)) for name in IDLE_FIELDS)


def _read_own_seconds() -> float:
    """Seconds that this process and its finished children used."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
