"""The pool's own loop and balance in simulated time: many packs, many workers, and workers that die."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

import pytest

from harness.core.device import WorkerDevice
from harness.planning.balance import balance_packs
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.pool import WorkerPool
from tests.harness.runner.executors.simulated import SimulatedJob, SimulatedLinks, SimulatedPack


class IgnoringListener:
    """Notes of a simulated run are for nobody."""

    def note(self, line: str, worker: str = "") -> None:
        return


def draw_packs(count: int, draw: random.Random) -> list[SimulatedPack]:
    """Packs of 1 to 16 cells with lognormal times around two minutes."""
    packs, number = [], 0
    for _ in range(count):
        size = draw.randint(1, 16)
        total = draw.lognormvariate(4.8, 0.7)
        packs.append(SimulatedPack(tuple((number + i, total / size) for i in range(size))))
        number += size
    return packs


def simulate(packs: list[SimulatedPack], workers: int, deaths: float, noise: float, seed: int) -> SimulatedLinks:
    """The links after a run of the packs; their time is the makespan. Checks that each cell has one good outcome."""
    draw = random.Random(seed)
    # the plan knows weights, the time of a pack differs from them by a lognormal factor
    factors = {number: draw.lognormvariate(0, noise) for pack in packs for number, _ in pack.members}

    def take_seconds(pack: SimulatedPack) -> float:
        return pack.fixed + sum(weight * factors[number] for number, weight in pack.members)

    balanced: Any = balance_packs(packs, workers, lambda pack: pack.weight)  # type: ignore[arg-type,attr-defined]
    links = SimulatedLinks(take_seconds, deaths, seed)
    devices = [WorkerDevice("cpu", f"cpu:{i}", 1, {}) for i in range(workers)]
    pool = WorkerPool(devices, ExecutorSetup("cpu"), links)  # type: ignore[arg-type]
    pool.describe()
    jobs: Any = deque(SimulatedJob(pack) for pack in balanced)
    done: Counter[str] = Counter()
    outcomes = pool.run(jobs, links.checkpoints, IgnoringListener())  # type: ignore[arg-type]
    for outcome in outcomes:
        if outcome.failure is None:
            done.update(outcome.job.own_pack.keys)
        else:  # as the run does: its cells train alone
            parts: Any = [SimulatedJob(SimulatedPack((member,))) for member in outcome.job.pack.members]
            jobs.extendleft(reversed(parts))
    assert done == Counter(str(number) for pack in packs for number, _ in pack.members)
    links.bound = sum(map(take_seconds, packs)) / workers  # type: ignore[attr-defined]
    return links


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_the_packs_losing_their_worker_costs_less_than_5_percent(seed: int) -> None:
    packs = draw_packs(1000, random.Random(seed))
    links = simulate(packs, workers=64, deaths=0.1, noise=0.1, seed=seed)
    assert links.died > 60
    assert links.bound / links.time >= 0.95  # type: ignore[attr-defined]
