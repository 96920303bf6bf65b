"""`bench startup`: what is paid once, and by how many cells."""

from __future__ import annotations

import time

import pytest

from harness.bench.startup import (
    BASELINE,
    COMMAND,
    HARNESS,
    WORKER,
    _run_fresh,
    compute_cost_per_cell,
    compute_one_time_cost,
    measure,
)
from harness.core.spec_reading import make_spec


def test_paid_once_is_imports_and_what_the_first_step_took_longer() -> None:
    assert compute_one_time_cost({"imports": 3.0, "first_step": 2.5, "again": 0.5}) == 5.0
    assert compute_one_time_cost({"imports": 3.0, "first_step": 0.5, "again": 0.6}) == 3.0


def test_cells_of_a_grid_share_our_process_only() -> None:
    ours = [{"imports": t, "first_step": 1.0, "again": 1.0} for t in (2.0, 4.0, 90.0)]
    baseline = [{"imports": t, "first_step": 2.0, "again": 1.0} for t in (5.0, 6.0, 70.0)]
    assert compute_cost_per_cell({HARNESS: ours, BASELINE: baseline}, 8) == {HARNESS: 0.5, BASELINE: 7.0}


def test_a_fresh_process_is_timed_and_its_failure_told() -> None:
    started = time.perf_counter()
    sample = _run_fresh(["timeit", "-h"])
    assert 0 < sample["process"] <= time.perf_counter() - started
    with pytest.raises(RuntimeError, match="no_such_module"):
        _run_fresh(["no_such_module"])


@pytest.mark.slow
def test_the_real_processes_tell_their_parts() -> None:
    spec = make_spec({"methods": "lora", "batch_size": 2, "max_length": 8, "threads": 1})
    found = {sample["what"]: sample for sample in measure(spec, 4, 1).samples}
    for name in (HARNESS, BASELINE):
        assert 0 < found[name]["again"] < found[name]["process"]
        assert found[name]["imports"] + found[name]["first_step"] < found[name]["process"]
    for name in (COMMAND, WORKER):
        marks = ["imported", "planned", "first pack", "first step", "last record", "profiled", "reported", "process"]
        seconds = [found[name][mark] for mark in marks]
        assert seconds == sorted(seconds) and seconds[0] > 0
