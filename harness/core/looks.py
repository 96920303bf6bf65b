"""The looks of `--seeds auto:5..100`: the numbers of seeds at which a run decides whether it needs more.

The looks are known before the run, so that a run that is interrupted and resumed looks at the same numbers of seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.core.errors import UserError, shorten
from harness.core.strict import Strict

if TYPE_CHECKING:
    from harness.core.record import Record

AUTO = "auto"
DEFAULT_FIRST, DEFAULT_MOST = 5, 100
LEAST_FIRST = 3
"""A t-test of two paired seeds has one degree of freedom, which decides next to nothing."""
MAX_SEEDS = 10_000
"""Most seeds of one run."""
DEFAULT_MARGIN = 1.0
"""Equivalence margin of an automatic run that declares none, in points."""
TOLERATED_COLLAPSES = 0.05
"""A claim of equivalence of an automatic run shows that fewer than this share of the seeds of both methods collapse."""
GUARD_SEEDS = math.ceil(math.log(0.05) / math.log(1 - TOLERATED_COLLAPSES))
"""Seeds without a collapse that show so at 5 %: 59, because 0.95 ** 59 < 0.05."""
GROWTH, LATE_GROWTH = 1.4, 1.22
"""Seeds of a look over those of the look before, up to `GUARD_SEEDS` and beyond."""
NEAR = 1.2
"""A look within this factor of `GUARD_SEEDS` or of the maximum is moved there: looks close together decide little."""


@dataclasses.dataclass(frozen=True)
class Looks:
    """From `first` to `most` seeds per method."""

    first: int = DEFAULT_FIRST
    most: int = DEFAULT_MOST

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Seeds at each look, increasing: 5, 7, 10, 14, 20, 28, 40, 59, 72, 88, 100 for 5..100."""
        counts = [self.first]
        while counts[-1] < self.most:
            last = counts[-1]
            is_early = last < GUARD_SEEDS
            following = math.ceil((GROWTH if is_early else LATE_GROWTH) * last)
            if following * (NEAR if is_early else 1) >= self.most:
                following = self.most
            elif is_early and following * NEAR >= GUARD_SEEDS:
                following = GUARD_SEEDS
            counts.append(following)
        return tuple(counts)

    def __str__(self) -> str:
        return f"{AUTO}:{self.first}..{self.most}"


def is_auto(seeds: object) -> bool:
    """Whether the text of --seeds asks for an automatic number, well formed or not."""
    return isinstance(seeds, str) and re.match(rf"\s*{AUTO}\b", seeds) is not None


def parse_looks(text: str) -> Looks | None:
    """The looks of `auto` or `auto:FIRST..MOST`; None of any other text. Raises UserError if it is malformed."""
    if not is_auto(text):
        return None
    allowed = f"{AUTO}, or {AUTO}:FIRST..MOST with {LEAST_FIRST} <= FIRST < MOST <= {MAX_SEEDS:,}, e.g. {AUTO}:5..100"
    if "=" in text or "," in text:
        raise UserError(
            f"--seeds '{shorten(text)}': {AUTO} gives all streams of a run the same seed; allowed: {allowed}, or a "
            "number of seeds with named streams, e.g. 5,length=0"
        )
    match = re.fullmatch(rf"\s*{AUTO}\s*(?::\s*([0-9]{{1,9}})\s*\.\.\s*([0-9]{{1,9}})\s*)?", text)
    if not match:
        raise UserError(f"--seeds '{shorten(text)}': allowed: {allowed}")
    looks = Looks(int(match[1]), int(match[2])) if match[1] else Looks()
    if looks.first < LEAST_FIRST:
        raise UserError(f"--seeds {shorten(text)}: {looks.first} seeds are too few for a test; allowed: {allowed}")
    if looks.most <= looks.first:
        raise UserError(f"--seeds {shorten(text)}: the maximum is not above the first number; allowed: {allowed}")
    if looks.most > MAX_SEEDS:
        raise UserError(f"--seeds {shorten(text)}: {looks.most:,} seeds; allowed: {allowed}")
    return looks


Decision = Literal["better", "worse", "equivalent", "undecided", "failed"]


class LookedComparison(Strict):
    """What one look shows of one primary comparison, or what the look that decided it has shown."""

    suite: str
    method: str
    first: str = Field(description="the method that it is compared with")
    place: str = Field(description="the task, or the label of the mean over tasks")
    tasks: list[str] = Field(description="the tasks that the difference is a mean of")
    decision: Decision
    seeds: int = Field(description="seeds per method at the look that decided it, or at this one")
    pairs: int = Field(description="paired seeds")
    difference: float | None = Field(description="mean difference in points, collapsed runs included")
    difference_of_stable: float | None = Field(description="mean difference of the seeds without a collapsed run")
    low: float | None = Field(description="lower end of its interval under repeated looks (new seeds)")
    high: float | None = Field(description="upper end of that interval")
    level: float = Field(description="level of the interval: 0.95, or 0.9 where equivalent, which goes by that")
    p: float | None = Field(description="p of no difference under repeated looks, adjusted over comparisons (Holm)")
    equivalence_p: float | None = Field(description="p of no equivalence, likewise; with the guard against collapses")
    collapsed: int = Field(description="seeds of the method with a collapsed run")
    collapsed_first: int = Field(description="seeds of the other with a collapsed run")
    why: str = Field(default="", description="why it is not decided")

    @property
    def is_open(self) -> bool:
        """Whether more seeds may decide it."""
        return self.decision == "undecided"


class Look(Strict):
    """One look of an automatic run: all primary comparisons, those that an earlier look has decided too."""

    seeds: int = Field(description="seeds per method that this look may use")
    comparisons: list[LookedComparison]

    @property
    def is_decided(self) -> bool:
        """Whether no comparison needs more seeds."""
        return not any(one.is_open for one in self.comparisons)


Decide = Callable[[Sequence["Record"], int], tuple[Look, Collection[str]]]
"""The records of the first seeds and how many these are -> the look, and keys of the methods that need more seeds.

It is called with each look in turn, from the first one on. A method is given by the keys of its records.
"""
