"""The tests of a report's comparisons, corrected within the family of their role (see families)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.statistics.comparisons import Comparison
from reports.statistics.equivalence import compute_equivalence_p, compute_non_inferiority_p
from reports.statistics.families import CORRECTIONS, ROLES, Pairs, Role, assign_roles, correct_family, find_twin
from reports.statistics.power import DetectableRange, PowerRequest, SeedRange, compute_power_ranges


@dataclass(frozen=True)
class Tests:
    """p, and p adjusted over the `family` comparisons of the same `role`; None where there is nothing to test.

    Equivalence and non-inferiority (both adjusted likewise) have no p where collapsed runs rule out such claims (see
    collapse), though they count in their families. `power`: the minimum detectable difference in points. `seeds`:
    those needed to find `effect` (the margin, else the difference seen).
    """

    __test__ = False  # for pytest: no class of tests

    p: float | None
    adjusted_p: float | None
    equivalence_p: float | None
    non_inferiority_p: float | None
    power: DetectableRange | None
    effect: float | None
    seeds: SeedRange | None
    family: int
    role: Role

    @property
    def correction(self) -> str:
        """Holm or Benjamini-Hochberg."""
        return CORRECTIONS[self.role]

    @property
    def detectable(self) -> float | None:
        return self.power.value if self.power else None

    @property
    def seeds_needed(self) -> int | None:
        """None where 1,000 are not enough, or nothing is known."""
        return self.seeds.value if self.seeds else None


def compute_tests(comparisons: Sequence[Comparison], margin: float | None, pairs: Pairs) -> list[Tests]:
    """Tests of all comparisons in the same order; `pairs` are the primary ones of each suite.

    Differences, equivalence and non-inferiority are families of their own in each role. A mean over one task is that
    task's comparison: it counts once and has its tests.
    """
    twins = [find_twin(c, comparisons) for c in comparisons]
    # by id: comparisons hold mappings, so they are no keys of a dict
    roles = dict(zip(map(id, comparisons), assign_roles(comparisons, pairs), strict=True))
    tests_by_id: dict[int, Tests] = {}
    for role in ROLES:
        family = [c for c, twin in zip(comparisons, twins, strict=True) if twin is None and roles[id(c)] == role]
        tests_by_id |= {id(c): t for c, t in zip(family, _test_family(family, margin, role), strict=True)}
    return [tests_by_id[id(c if twin is None else twin)] for c, twin in zip(comparisons, twins, strict=True)]


def select_distinct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Each comparison once: without means over one task, which are that task's comparison."""
    return [c for c in comparisons if find_twin(c, comparisons) is None]


def _test_family(comparisons: Sequence[Comparison], margin: float | None, role: Role) -> list[Tests]:
    estimates = [None if c.failed else c.estimate for c in comparisons]
    differ = [e.p if e else None for e in estimates]
    equal = [compute_equivalence_p(e, margin) if e and margin else None for e in estimates]
    no_worse = [compute_non_inferiority_p(e, margin) if e and margin else None for e in estimates]
    adjusted = [correct_family(role, values) for values in (differ, equal, no_worse)]
    family = sum(p is not None for p in differ)
    tests = []
    powers = _compute_powers(comparisons, margin)
    for c, p, adjusted_p, e, n, (power, effect, seeds) in zip(comparisons, differ, *adjusted, powers, strict=True):
        # only now: a claim that collapses rule out counts in its family, or collapses would ease the correction
        equal_p, no_worse_p = (None, None) if c.equivalence_refusal else (e, n)
        tests.append(Tests(p, adjusted_p, equal_p, no_worse_p, power, effect, seeds, family, role))
    return tests


Power = tuple[DetectableRange | None, float | None, SeedRange | None]


def _compute_powers(comparisons: Sequence[Comparison], margin: float | None) -> list[Power]:
    """Of each comparison what it can detect, the effect, and the seeds needed to find it."""
    requests: list[PowerRequest | None] = []
    for c in comparisons:
        if not c.failed and c.estimate is not None and c.noise is not None and c.seeds is not None:
            effect = margin or abs(c.estimate.value)
            requests.append(PowerRequest(c.estimate.se, c.estimate.df, c.noise, c.seeds.df, effect))
        else:
            requests.append(None)
    # all at once: one by one, thousands of comparisons take minutes
    ranges = iter(compute_power_ranges([one for one in requests if one is not None]))
    powers: list[Power] = []
    for request in requests:
        if request is None:
            powers.append((None, None, None))
        else:
            detectable, seeds = next(ranges)
            powers.append((detectable, request.effect, seeds))
    return powers
