"""The load of a machine: what other processes use, apart from what this one does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.profiling.load import LoadMeter


def pretend(monkeypatch: pytest.MonkeyPatch, busy: float, idle: float, own: float) -> None:
    """A machine of two processors that was busy and idle for so many seconds, of which this process used `own`."""
    times = SimpleNamespace(user=busy, nice=0.0, system=0.0, idle=idle, guest=busy)
    process: Any = SimpleNamespace(user=own, system=0.0, children_user=0.0, children_system=0.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: process)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (3.0, 0.0, 0.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("busy", "idle", "own", "others"),
    [(10.0, 10.0, 10.0, 0.0), (15.0, 5.0, 10.0, 0.25), (20.0, 0.0, 0.0, 1.0), (9.99, 10.01, 10.0, 0.0)],
)
def test_own_work_is_no_load(
    monkeypatch: pytest.MonkeyPatch, busy: float, idle: float, own: float, others: float
) -> None:
    pretend(monkeypatch, 100.0, 50.0, 30.0)
    meter = LoadMeter()
    pretend(monkeypatch, 100.0 + busy, 50.0 + idle, 30.0 + own)
    found = meter.read()
    assert found.others == pytest.approx(others) and (found.before, found.after) == (1.5, 1.5)


def test_no_time_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 100.0, 50.0, 30.0)
    assert LoadMeter().read().others is None


@pytest.mark.skipif(sys.platform != "linux", reason="counts the processors of Linux")
def test_another_process_at_work_is_seen() -> None:
    meter = LoadMeter()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        used = psutil.Process(other.pid)
        time.sleep(1.5)
        seconds = sum(used.cpu_times()[:2])
        found = meter.read()
        other.kill()
    share = seconds / (1.6 * (os.cpu_count() or 1))
    assert found.others is not None and found.others > 0.5 * share
