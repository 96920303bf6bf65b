"""The tests of a report's comparisons, corrected together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.statistics.comparisons import Comparison
from reports.statistics.equivalence import compute_equivalence_p, compute_non_inferiority_p
from reports.statistics.holm import apply_holm
from reports.statistics.power import DetectableRange, SeedRange, compute_detectable_range, compute_seed_range


@dataclass(frozen=True)
class Tests:
    """p and what Holm makes of it over `family` comparisons; None where there is nothing to test.

    Equivalence and non-inferiority have no p where collapsed runs rule out such claims (see collapse), though they
    count in their families. `power`: the minimum detectable difference in points. `seeds`: those needed to find
    `effect` (the margin, else the difference seen).
    """

    __test__ = False  # for pytest: no class of tests

    p: float | None
    holm: float | None
    equivalence_holm: float | None
    non_inferiority_holm: float | None
    power: DetectableRange | None
    effect: float | None
    seeds: SeedRange | None
    family: int

    @property
    def detectable(self) -> float | None:
        return self.power.value if self.power else None

    @property
    def seeds_needed(self) -> int | None:
        """None where 1,000 are not enough, or nothing is known."""
        return self.seeds.value if self.seeds else None


def compute_tests(comparisons: Sequence[Comparison], margin: float | None) -> list[Tests]:
    """Tests of all comparisons in the same order; differences, equivalence, non-inferiority are a Holm family each.

    A mean over one task is that task's comparison: it counts once and has its tests.
    """
    twins = [_find_twin(c, comparisons) for c in comparisons]
    family = select_distinct(comparisons)
    tests_by_id = {id(c): result for c, result in zip(family, _test_family(family, margin), strict=True)}
    return [tests_by_id[id(c if twin is None else twin)] for c, twin in zip(comparisons, twins, strict=True)]


def select_distinct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The family that tests are corrected over: each comparison once."""
    return [c for c in comparisons if _find_twin(c, comparisons) is None]


def _find_twin(c: Comparison, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison on the one task that the mean is over; None of any other, and where a cell failed."""
    if not c.whole or len(c.tasks) != 1 or c.failed:
        return None
    place = (c.suite, c.method, c.first, c.tasks)
    return next((o for o in comparisons if not o.whole and (o.suite, o.method, o.first, o.tasks) == place), None)


def _test_family(comparisons: Sequence[Comparison], margin: float | None) -> list[Tests]:
    estimates = [None if c.failed else c.estimate for c in comparisons]
    differ = [e.p if e else None for e in estimates]
    equal = apply_holm([compute_equivalence_p(e, margin) if e and margin else None for e in estimates])
    no_worse = apply_holm([compute_non_inferiority_p(e, margin) if e and margin else None for e in estimates])
    family = sum(p is not None for p in differ)
    tests = []
    for c, p, h, e, n in zip(comparisons, differ, apply_holm(differ), equal, no_worse, strict=True):
        claims = (None, None) if c.equivalence_refusal else (e, n)
        power, effect, seeds = _compute_power(c, margin)
        tests.append(Tests(p, h, *claims, power, effect, seeds, family))
    return tests


def _compute_power(
    c: Comparison, margin: float | None
) -> tuple[DetectableRange | None, float | None, SeedRange | None]:
    if c.failed or c.estimate is None or c.noise is None or c.seeds is None:
        return None, None, None
    effect = margin or abs(c.estimate.value)
    power_range = compute_detectable_range(c.estimate.se, c.estimate.df, c.noise, c.seeds.df)
    return power_range, effect, compute_seed_range(effect, c.noise, c.seeds.df) if effect else None
