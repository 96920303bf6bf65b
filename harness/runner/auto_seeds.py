"""`--seeds auto`: train the seeds of one look after the other, until every primary comparison is decided.

    cells of the first 5 seeds ──> train ──> look ──> all decided: stop
                                     ^        │
                                     └── 7 seeds of the methods that an open comparison has

A look is a function of the records of its seeds alone, and comes only when all of them are there. So a run that was
interrupted repeats the looks of its stored records, with the same answers, and goes on where it ended.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection

from harness.core.errors import UserError
from harness.core.looks import Decide, Look, LookedComparison, Looks
from harness.core.record import Record
from harness.core.store import Store
from harness.core.text import count_noun
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell

MOST_NAMED = 4
"""Comparisons that the line of a look names; of more it counts the decisions."""
DECIDED = "decided"


@dataclasses.dataclass(frozen=True)
class TrainedPlan:
    """A plan without the cells that cannot train, and a line about what the budget left, '' where that is nothing."""

    plan: Plan
    remaining: str


@dataclasses.dataclass(frozen=True)
class LookedRun:
    """The cells that the looks asked for, and the looks; `stopped` says why no seeds were added: 'decided', a limit."""

    plan: Plan
    looks: tuple[Look, ...]
    stopped: str
    remaining: str


def check_looks(looks: Looks | None, plan: Plan, store: Store) -> None:
    """Raise UserError for an automatic number without a comparison, and for a folder that has looked otherwise."""
    if looks is not None:
        methods = Counter((c.cell.suite, c.cell.task) for c in plan.cells if _get_seed(c) == 0)
        if max(methods.values(), default=0) < 2:
            names = ", ".join(dict.fromkeys(c.cell.title for c in plan.cells))
            raise UserError(
                f"--seeds {looks}: there is no comparison to decide, only {names} runs; give a number of seeds, or "
                "more methods"
            )
    try:
        stored = store.read_run()
    except UserError:  # a new folder
        return
    # the level is spent on the looks that were declared: others afterwards, or none, would not be valid
    if stored["looks"] and stored["auto"] != (str(looks) if looks else None):
        raise UserError(
            f"--seeds {looks or 'with a fixed number'}: {store.out} has looked at its results by {stored['auto']}; "
            f"give --seeds {stored['auto']}, or another --out"
        )


def train_looks(
    plan: Plan,
    looks: Looks,
    decide: Decide,
    train: Callable[[Plan], TrainedPlan],
    read_records: Callable[[], dict[str, Record]],
    note: Callable[[str], object],
) -> LookedRun:
    """Train the cells of `plan`, which has the most seeds, look by look, and stop as soon as all is decided.

    `train` trains the missing cells of a plan; `note` gets one line per look. Raises what `train` raises.
    """
    groups = {planned.key: _find_group(planned) for planned in plan.cells}
    active, asked = set(groups.values()), set[str]()
    past: list[Look] = []
    for count in looks.counts:
        asked |= {c.key for c in plan.cells if groups[c.key] in active and _get_seed(c) < count}
        trained = train(_select(plan, asked))
        # a method that does not fit in memory is left out of all later looks too
        dropped = {groups[key] for key in asked - {c.key for c in trained.plan.cells}}
        plan = dataclasses.replace(
            plan,
            cells=tuple(c for c in plan.cells if groups[c.key] not in dropped),
            dropped=trained.plan.dropped,
        )
        if trained.remaining:
            return LookedRun(trained.plan, tuple(past), trained.remaining.partition(":")[0], trained.remaining)
        records = read_records()
        look, pending = decide([records[c.key] for c in trained.plan.cells if _get_seed(c) < count], count)
        past.append(look)
        note(format_look(look, looks))
        if look.is_decided:
            return LookedRun(trained.plan, tuple(past), DECIDED, "")
        active = {groups[key] for key in pending}
    return LookedRun(trained.plan, tuple(past), f"the maximum of {looks.most} seeds", "")


def select_first_look(plan: Plan, looks: Looks) -> Plan:
    """The cells that the first look needs."""
    return _select(plan, {c.key for c in plan.cells if _get_seed(c) < looks.first})


def _select(plan: Plan, keys: Collection[str]) -> Plan:
    return dataclasses.replace(plan, cells=tuple(c for c in plan.cells if c.key in keys))


def _get_seed(planned: PlannedCell) -> int:
    """The seed that all streams of a cell of an automatic run have."""
    return planned.cell.seeds["init"]


def _find_group(planned: PlannedCell) -> str:
    """What cells share that differ in their seeds only."""
    # an adapter to start from may be one of each seed
    return planned.cell.model_copy(update={"seeds": {}, "initial": None}).key


def format_look(look: Look, looks: Looks) -> str:
    """'look at 7 of 100 seeds: lorasp vs lora +0.3 (-0.2 to +0.8), undecided'; of many comparisons the counts."""
    start = f"look at {look.seeds} of {looks.most} seeds: "
    if len(look.comparisons) > MOST_NAMED:
        counts = Counter(one.decision for one in look.comparisons)
        return start + ", ".join(f"{count} {decision}" for decision, count in counts.items())
    if not look.comparisons:
        return f"{start}no comparison of two methods"
    several = len({one.suite for one in look.comparisons}) > 1
    return start + "; ".join(_format_comparison(one, look.seeds, several) for one in look.comparisons)


def _format_comparison(one: LookedComparison, seeds: int, with_suite: bool) -> str:
    where = f"{one.suite}: " if with_suite else ""
    value = one.difference_of_stable if one.difference_of_stable is not None else one.difference
    interval = "" if one.low is None else f" ({one.low:+.2f} to {one.high:+.2f})"
    earlier = f" at {count_noun(one.seeds, 'seed')}" if one.seeds < seeds else ""
    why = f" ({one.why})" if one.why else ""
    figures = "" if value is None else f" {value:+.2f}{interval}"
    return f"{where}{one.method} vs {one.first}{figures}, {one.decision}{earlier}{why}"
