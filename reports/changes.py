"""Two runs held against each other: what changed, and which score differences lie within seed noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.text import count_noun
from reports.changed_facts import Change, find_changes
from reports.frames import Seeds, build_grids, format_seeds, get_score, get_seeds
from reports.identities import choose_identities
from reports.run_gaps import Gap, LostScore, Place, read_gaps
from reports.statistics.collapse import find_collapses
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.shared_seeds import estimate_interval

NO_PAIRING = "nothing"
MOST_LISTED = 40
"""Differences that are printed for reading: nobody reads hundreds of them."""


@dataclass(frozen=True)
class RunComparison:
    """`pairing` says how cells were matched; `alone` counts the cells of A and of B without a partner."""

    changes: tuple[Change, ...]
    pairing: str
    gaps: tuple[Gap, ...]
    alone: tuple[int, int]
    lost: tuple[LostScore, ...] = ()

    @property
    def has_pairs(self) -> bool:
        return self.pairing != NO_PAIRING

    @property
    def has_scores(self) -> bool:
        """Whether there is a score in A that one in B is held against."""
        return bool(self.gaps)

    def find_worse(self, points: float) -> list[Gap]:
        """Where B lies below A by more than `points`, beyond seed noise; a lone pair, which knows of none, counts."""
        return [gap for gap in self.gaps if gap.difference.mean < -points and not gap.within_noise]

    def as_dict(self, points: float | None) -> dict[str, Any]:
        gaps = [
            {
                **_split_place(gap.place),
                "a": gap.a,
                "b": gap.b,
                "difference": gap.difference.mean,
                "half_width": gap.difference.half,
                "pairs": gap.difference.n,
                "collapsed": gap.collapsed,
                "within_noise": gap.within_noise,
            }
            for gap in self.gaps
        ]
        changes = [{"part": c.part, "what": c.what, "a": c.a, "b": c.b} for c in self.changes]
        worse = [] if points is None else [gap.place for gap in self.find_worse(points)]
        lost = [{**_split_place(cell.place), "seeds": cell.seeds, "why": cell.why} for cell in self.lost]
        fields = {"changes": changes, "pairing": self.pairing, "scores": gaps, "alone": self.alone}
        return {**fields, "lost": lost, "worse": worse}

    def list_gaps(self) -> list[Gap]:
        """The differences to print, in their order: all, or of too many those beyond seed noise, largest first."""
        if len(self.gaps) <= MOST_LISTED:
            return list(self.gaps)
        places = sorted(
            range(len(self.gaps)), key=lambda i: (self.gaps[i].within_noise, -abs(self.gaps[i].difference.mean))
        )
        return [self.gaps[i] for i in sorted(places[:MOST_LISTED])]

    def lines(self, a: str, b: str, points: float | None) -> Iterable[str]:
        """For reading."""
        yield from (f"A: {a}", f"B: {b}")
        for change in self.changes or ():
            yield f"{change.part}, {change.what}: {_list_first(change.a)} -> {_list_first(change.b)}"
        if not self.changes:
            yield "no difference in spec, code, data or environment"
        yield f"paired by {self.pairing}; without a partner: {self.alone[0]} of A, {self.alone[1]} of B"
        listed = self.list_gaps()
        for gap, reading in zip(listed, read_gaps(listed), strict=True):
            half = f" ± {gap.difference.half:.2f}" if gap.difference.half is not None else ""
            numbers = f"{gap.a:.2f} -> {gap.b:.2f}, {gap.difference.mean:+.2f}{half}"
            yield f"{' '.join(gap.place)}: {numbers} ({count_noun(gap.difference.n, 'pair')}): {reading}"
        if len(listed) < len(self.gaps):
            beyond = sum(not gap.within_noise for gap in self.gaps)
            yield (
                f"{len(listed)} of {len(self.gaps):,} differences are listed, first those beyond seed noise"
                f" ({beyond:,}), by size; --json has all"
            )
        if self.gaps:
            remark = "each stands for itself (no correction is made)" if len(self.gaps) > 1 else "of one comparison"
            yield f"intervals are of 95 %, for {NEW_SEEDS}; {remark}"
        if self.lost:
            yield f"scored in A, without a score in B: {_list_first([str(cell) for cell in self.lost])}"
        if points is not None:
            worse = self.find_worse(points)
            alone = [_format_place(gap) for gap in worse if gap.difference.n == 1]
            sure = [_format_place(gap) for gap in worse if gap.difference.n > 1]
            if alone:
                remark = "in one pair, which tells nothing of seed noise"
                yield f"worse by more than {points:g} points {remark}: {_list_first(alone)}"
            yield f"worse by more than {points:g} points beyond seed noise: {_list_first(sure) if sure else 'none'}"


def _format_place(gap: Gap) -> str:
    return " ".join(gap.place)


def _split_place(place: Place) -> dict[str, str]:
    return dict(zip(("suite", "task", "method"), place, strict=True))


def _list_first(values: Sequence[str]) -> str:
    shown = ", ".join(values[:6]) or "-"
    return f"{shown} and {len(values) - 6} more" if len(values) > 6 else shown


@dataclass(frozen=True)
class RunFacts:
    """What a comparison needs of each run: names of methods by record key, and the keys of runs that collapsed."""

    names: Mapping[str, str]
    collapsed: frozenset[str]


def collect_facts(records: Sequence[Record]) -> RunFacts:
    """The facts of a run, for comparisons with several others."""
    grids = build_grids(records)
    names = {r.key: name for grid in grids for (_, name), group in grid.cells.items() for r in group}
    every = [one for grid in grids for one in find_collapses(grid, grid.averages[0]).values()]
    return RunFacts(names, frozenset(key for one in every for key in one.reasons))


def compare_runs(
    a: Sequence[Record], b: Sequence[Record], facts: tuple[RunFacts, RunFacts] | None = None
) -> RunComparison:
    """Pairs by all that a cell is less the code's versions; where that finds none, by less and less of it.

    `facts` of both runs, if the caller has them.
    """
    of_a, of_b = facts or (collect_facts(a), collect_facts(b))
    several = {place for run in (a, b) for place in _find_several_rates(run)}

    def with_rate(identity: Callable[[Cell], str]) -> Callable[[Cell], str]:
        return lambda cell: identity(cell) + (f" at {cell.protocol.lr}" if _get_place(cell) in several else "")

    pairing, pairs = next(
        (
            (name, matches)
            for name, identity in choose_identities(record.cell for run in (a, b) for record in run).items()
            if (matches := _match_records(a, b, with_rate(identity)))
        ),
        (NO_PAIRING, []),
    )
    names = of_a.names
    gaps: dict[Place, dict[Seeds, tuple[float, float]]] = {}
    collapsed_keys = [of_a.collapsed, of_b.collapsed]
    collapsed: dict[Place, list[int]] = {}
    for left, right in pairs:
        average = next(iter(left.averages), "")
        values = get_score(left, average), get_score(right, average)
        if values[0] is not None and values[1] is not None:
            place = left.cell.suite, left.cell.task, names[left.key]
            gaps.setdefault(place, {})[get_seeds(left)] = values[0], values[1]
            counts = collapsed.setdefault(place, [0, 0])
            for side, record in enumerate((left, right)):
                counts[side] += record.key in collapsed_keys[side]
    alone = len(a) - len(pairs), len(b) - len(pairs)
    lost = _find_lost(a, {left.key: right for left, right in pairs}, names)
    return RunComparison(
        tuple(find_changes(a, b)),
        pairing,
        tuple(_build_gap(p, v, collapsed[p]) for p, v in gaps.items()),
        alone,
        tuple(lost),
    )


def _get_place(cell: Cell) -> Place:
    return cell.suite, cell.task, cell.label


def _find_several_rates(records: Sequence[Record]) -> set[Place]:
    """Where one method has cells at several learning rates: these are methods of their own."""
    rates: dict[Place, set[float]] = {}
    for record in records:
        rates.setdefault(_get_place(record.cell), set()).add(record.cell.protocol.lr)
    return {place for place, values in rates.items() if len(values) > 1}


def check_same_question(a: Sequence[Record], b: Sequence[Record]) -> None:
    """Raise UserError where a task of both has another model or other data: then no lower score is a regression."""
    facts: Mapping[str, Callable[[Cell], str]] = {
        "model": lambda cell: cell.model.content[:12],
        "data": lambda cell: cell.data[:12],
    }
    for place in dict.fromkeys((r.cell.suite, r.cell.task) for r in a):
        for field, shown in facts.items():
            of_a, of_b = (_collect_facts(side, place, shown) for side in (a, b))
            if of_b and of_a != of_b:
                difference = (
                    f"{' '.join(place)} has {field} {', '.join(sorted(of_a))} in A and {', '.join(sorted(of_b))} in B"
                )
                raise UserError(f"--fail-if-worse: {difference}; give runs of one {field}, or compare without it")


def _collect_facts(records: Sequence[Record], place: tuple[str, str], shown: Callable[[Cell], str]) -> set[str]:
    """The values of one fact on the (suite, task) `place`."""
    return {shown(record.cell) for record in records if (record.cell.suite, record.cell.task) == place}


def _find_lost(a: Sequence[Record], partners: Mapping[str, Record], names: Mapping[str, str]) -> list[LostScore]:
    lost_scores = []
    for left in a:
        average, right = next(iter(left.averages), ""), partners.get(left.key)
        if get_score(left, average) is not None and (right is None or get_score(right, average) is None):
            why = "not there" if right is None else right.reason or "no score that is a number"
            place = left.cell.suite, left.cell.task, names[left.key]
            lost_scores.append(LostScore(place, format_seeds(left.cell.seeds), why))
    return lost_scores


def _build_gap(place: Place, values: Mapping[Seeds, tuple[float, float]], collapsed: Sequence[int]) -> Gap:
    difference = estimate_interval({seeds: right - left for seeds, (left, right) in values.items()})
    means = [sum(side) / len(values) for side in zip(*values.values(), strict=True)]
    assert difference is not None
    return Gap(place, means[0], means[1], difference, (collapsed[0], collapsed[1]))


def _match_records(
    a: Sequence[Record], b: Sequence[Record], identity: Callable[[Cell], str]
) -> list[tuple[Record, Record]]:
    """By one identity; cells that share theirs with another of the same run have no one partner, and so none."""
    left, right = (_select_unique(records, identity) for records in (a, b))
    return [(record, right[name]) for name, record in left.items() if name in right]


def _select_unique(records: Sequence[Record], identity: Callable[[Cell], str]) -> dict[str, Record]:
    names = [identity(record.cell) for record in records]
    counts = Counter(names)
    return {name: record for name, record in zip(names, records, strict=True) if counts[name] == 1}
