"""Score differences of two runs, one per task and method, and how they compare with seed noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.statistics.power import describe_reaches
from reports.statistics.student import Estimate

Place = tuple[str, str, str]
"""(suite, task, method)."""


@dataclass(frozen=True)
class Gap:
    """Score of B less that of A on one task and method, over the pairs; `collapsed`: runs of A and of B that did."""

    place: Place
    a: float
    b: float
    difference: Estimate
    collapsed: tuple[int, int] = (0, 0)

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0; a lone pair, or pairs without any spread, is judged by its mean."""
        if self.difference.interval is None:
            return self.difference.mean == 0
        return not self.difference.excludes_zero

    @property
    def reading(self) -> str:
        """The short reading with what the seeds can detect, where the difference is within seed noise."""
        return read_gaps([self])[0]

    @property
    def short_reading(self) -> str:
        """How it compares with seed noise, and the collapsed runs."""
        return f"{self.noise}{self.collapses}"

    @property
    def collapses(self) -> str:
        n, (a, b) = self.difference.n, self.collapsed
        return f"; collapsed: {a} of {n} in A, {b} of {n} in B" if a or b else ""

    @property
    def noise(self) -> str:
        """Whether the difference is within seed noise, as text."""
        interval = self.difference.interval
        if interval is None:
            if self.difference.mean == 0:
                return "the same"
            return "no spread over seeds: no interval" if self.difference.constant else "one paired seed: no interval"
        return "within seed noise" if self.within_noise else "interval excludes 0"


@dataclass(frozen=True)
class LostScore:
    """A cell that has a score in A and none in B."""

    place: Place
    seeds: str
    why: str

    def __str__(self) -> str:
        return f"{' '.join(self.place)} seed {self.seeds}: {self.why}"


def read_gaps(gaps: Sequence[Gap]) -> list[str]:
    """Of each whether it is within seed noise, then also what its seeds can detect, and the collapsed runs."""
    intervals = [gap.difference.interval if gap.within_noise else None for gap in gaps]
    unclear = [interval for interval in intervals if interval is not None]
    # all at once: one by one, a thousand of them take half a minute
    reaches = iter(describe_reaches(unclear, [abs(interval.value) for interval in unclear]))
    readings = []
    for gap, interval in zip(gaps, intervals, strict=True):
        reach = "" if interval is None else f"; {next(reaches)}"
        readings.append(f"{gap.noise}{reach}{gap.collapses}")
    return readings
