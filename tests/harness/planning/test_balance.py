"""Packs for several workers: longest first, and split where the last worker then finishes earlier."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest

from harness.planning.balance import balance_packs


@dataclasses.dataclass(frozen=True, eq=False)
class FakePack:
    """A pack of members that are their own weights; a pack also costs 1 that its members share."""

    members: tuple[float, ...]

    def split(self) -> list[FakePack]:
        middle = (len(self.members) + 1) // 2
        return [FakePack(self.members[:middle]), FakePack(self.members[middle:])]


def weigh(pack: FakePack) -> float:
    return 1 + sum(pack.members)


def finish_time(packs: Sequence[FakePack], workers: int) -> float:
    """When the last of the workers ends if each free one takes the next pack."""
    loads = [0.0] * workers
    for pack in packs:
        place = loads.index(min(loads))
        loads[place] += weigh(pack)
    return max(loads)


def balance(packs: Sequence[FakePack], workers: int) -> list[FakePack]:
    return balance_packs(packs, workers, weigh)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("packs", "workers"), [(1, 2), (1, 4), (5, 4), (6, 4), (7, 2), (9, 8)])
def test_equal_packs_end_near_the_bound(packs: int, workers: int) -> None:
    given = [FakePack((1.0,) * 16) for _ in range(packs)]
    balanced = balance(given, workers)
    bound = sum(map(weigh, given)) / workers
    assert finish_time(balanced, workers) <= 1.3 * bound
    assert finish_time(balanced, workers) < finish_time(given, workers) or packs % workers == 0


@pytest.mark.parametrize("seed", range(20))
def test_every_member_stays_once_and_the_end_is_not_later(seed: int) -> None:
    draw = random.Random(seed)
    given = [FakePack(tuple(draw.random() for _ in range(draw.randint(1, 32)))) for _ in range(draw.randint(1, 40))]
    workers = draw.randint(1, 8)
    balanced = balance(given, workers)
    assert sorted(m for pack in balanced for m in pack.members) == sorted(m for pack in given for m in pack.members)
    longest_first = sorted(given, key=weigh, reverse=True)
    assert finish_time(balanced, workers) <= max(finish_time(given, workers), finish_time(longest_first, workers))
    assert [p.members for p in balance(given, workers)] == [p.members for p in balanced]


def test_one_worker_keeps_the_packs_and_their_order() -> None:
    given = [FakePack((1.0,)), FakePack((9.0, 1.0))]
    assert balance(given, 1) == given
    assert balance([], 4) == []
