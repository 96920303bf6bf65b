"""The knee against answers by hand; a fake clock says what timing costs."""

from __future__ import annotations

import pytest

from harness.profiling.knee import AT_ONCE, FEW, SHARE, knee, sizes, time_sizes, worth_timing


@pytest.mark.parametrize(
    ("steps", "answer"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1),  # nothing is shared
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, 8),  # all is shared
        ({1: 1.0, 2: 1.2, 4: 1.6, 8: 3.1}, 4),  # each: 1, 0.6, 0.4, 0.3875; 0.4 is 3.2 % above the best
        ({1: 1.53, 8: 3.36, 32: 8.0}, 32),  # MiniLM on an H100: 1.53, 0.42, 0.25 ms
        ({1: 3.4, 16: 15.52, 32: 28.8}, 32),  # RoBERTa-base: 3.4, 0.97, 0.90 ms: 7.8 % apart
        ({1: 1.0, 2: 1.9, 4: 4.4}, 2),  # each: 1, 0.95, 1.1; 1 is 5.3 % above the best
    ],
)
def test_knee_by_hand(steps: dict[int, float], answer: int) -> None:
    assert knee(steps) == answer


@pytest.mark.parametrize(("most", "found"), [(1, [1]), (2, [1, 2]), (20, [1, 2, 4, 8, 16, 20]), (8, [1, 2, 4, 8])])
def test_sizes_double_up_to_the_most(most: int, found: list[int]) -> None:
    assert list(sizes(most)) == found


class Machine:
    """A step of k replicas takes `fixed + each * k` s; timing a size takes `trial` s."""

    def __init__(self, fixed: float, each: float, trial: float, fits: int = 1000) -> None:
        self.fixed, self.each, self.trial, self.fits = fixed, each, trial, fits
        self.now, self.asked = 0.0, list[int]()

    def clock(self) -> float:
        return self.now

    def step(self, k: int) -> float | None:
        self.asked.append(k)
        self.now += self.trial
        return self.fixed + self.each * k if k <= self.fits else None


def test_timing_stops_where_a_larger_pack_saves_nothing() -> None:
    machine = Machine(fixed=1.0, each=1.0, trial=0.1)
    made = time_sizes(machine.step, 4096, 10**6, machine.clock)
    # a replica takes 1 + 1/K: from 16 to 32 it falls by 2.9 %, to 64 by 4.4 %
    assert machine.asked == [1, 2, 4, 8, 16, 32, 64] and made.settled and made.seconds == pytest.approx(0.7)
    assert {k: made.steps[k] for k in (1, 32)} == {1: 2.0, 32: 33.0}
    assert knee(made.steps) == 16  # 1.0625 against 1.0156; 8 has 1.125


def test_one_slow_size_does_not_end_it() -> None:
    machine = Machine(fixed=1.0, each=0.0, trial=0.1)
    whole = machine.step

    def disturbed(k: int) -> float | None:
        seconds = whole(k)
        return 3.0 if k == 2 else seconds

    made = time_sizes(disturbed, 8, 10**6, machine.clock)
    assert made.steps == {1: 1.0, 2: 3.0, 4: 1.0, 8: 1.0} and knee(made.steps) == 8


def test_timing_stops_where_memory_ends() -> None:
    machine = Machine(fixed=1.0, each=0.0, trial=0.1, fits=5)
    made = time_sizes(machine.step, 4096, 10**6, machine.clock)
    assert machine.asked == [1, 2, 4, 8] and made.settled and knee(made.steps) == 4


def test_nothing_fits() -> None:
    machine = Machine(1.0, 1.0, 0.1, fits=0)
    made = time_sizes(machine.step, 64, 10**6, machine.clock)
    assert made.steps == {} and not made.settled


def test_the_budget_ends_it_unsettled() -> None:
    machine = Machine(fixed=1.0, each=0.0, trial=3.0)
    # 1,000 replica-steps: 1,000 s at K = 1, so 20 s to spend; 500 s at K = 2, 10 s; 250 s at K = 4, 5 s
    made = time_sizes(machine.step, 4096, 1000, machine.clock)
    assert machine.asked == [1, 2] and not made.settled and made.seconds == 6.0


def test_what_it_takes_stays_within_the_budget() -> None:
    for trial in (0.01, 0.1, 1.0, 10.0):
        machine = Machine(fixed=0.1, each=0.01, trial=trial)
        made = time_sizes(machine.step, 64, 20_000, machine.clock)
        later = [k for k in machine.asked if k > 1]
        best = min(seconds / k for k, seconds in made.steps.items())
        assert not later or made.seconds <= SHARE * 20_000 * best * (1 + SHARE)


def test_loading_counts() -> None:
    machine = Machine(fixed=1.0, each=0.0, trial=0.1)
    machine.now = 50.0
    made = time_sizes(machine.step, 4096, 1000, machine.clock, started=0.0)
    assert machine.asked == [1] and not made.settled and made.seconds == pytest.approx(50.1)


def test_small_grids_are_not_timed() -> None:
    assert not worth_timing(FEW, 1e9) and worth_timing(FEW + 1, 1e9)
    assert not worth_timing(90, 0.99 * AT_ONCE / SHARE) and worth_timing(90, AT_ONCE / SHARE)
