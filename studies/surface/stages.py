"""The stages of a surface: search over rates, extend it where the best rate is at its edge, confirm on fresh seeds.

grid ──> search ──> rates chosen on validation scores ──> extended once ──> confirm: one rate a method and task
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from harness.core.errors import UserError, shorten
from harness.core.record import Record
from harness.core.spec import Spec
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell
from harness.planning.seed_grammar import parse_seeds
from studies.surface.rates import BestRate, choose_rates, extend_rates
from studies.surface.runs import collect_runs, locate_cell

SINGLE_FIELDS = tuple("schedule warmup weight_decay optimizer dtype quantize recompute".split())
"""Settings that a table of runs does not hold, so that each has one value in a study."""
Train = Callable[[Spec, Callable[[Plan], Plan]], Sequence[Record]]
"""Trains the missing cells of a spec's plan, less those that the function leaves out, and returns their records."""


def run_stages(
    spec: Spec, confirming: int, train: Train, select: Callable[[Plan], Plan] = lambda plan: plan
) -> Iterator[Sequence[Record]]:
    """The records of each stage of one grid; `confirming` is the number of fresh seeds of the last one.

    `select` keeps the cells of the search, such as the rates that each method has of its own.
    """
    records = list(train(spec, select))
    yield records
    best = _choose(records)
    beyond = {key: extend_rates(rate) for key, rate in best.items()}
    further = sorted({rate for rates in beyond.values() for rate in rates})
    if further:
        more = train(
            spec.model_copy(update={"lr": tuple(further)}),
            _keep_cells(lambda planned: planned.cell.protocol.lr in beyond.get(_locate(planned), ())),
        )
        yield more
        best = _choose([*records, *more])
    rates = {key: rate.rate for key, rate in best.items()}
    if not rates:
        raise UserError("no learning rate of the search has a validation score for every seed; nothing can be compared")
    chosen = tuple(sorted(set(rates.values())))
    yield train(
        spec.model_copy(update={"lr": chosen, "seeds": name_fresh_seeds(spec.seeds, confirming)}),
        _keep_cells(lambda planned: planned.cell.protocol.lr == rates.get(_locate(planned))),
    )


def name_fresh_seeds(searching: str, count: int) -> str:
    """`count` seeds after those of the search, with the streams that it fixes: 5,length=0 -> 5..104,length=0."""
    fixed = [piece for piece in searching.split(",") if re.fullmatch(r"\s*(?!init\b)\w+=[0-9]+\s*", piece)]
    constant = {piece.partition("=")[0].strip() for piece in fixed}
    used = [seed for streams in parse_seeds(searching) for name, seed in streams.items() if name not in constant]
    first = max(used) + 1
    return ",".join([f"{first}..{first + count - 1}", *fixed])


def _choose(records: Sequence[Record]) -> dict[tuple[Any, ...], BestRate]:
    """(suite, task, batch size, budget, method) -> its best rate."""
    best = choose_rates(collect_runs(records))
    return {(*place, method): rate for (place, method), rate in best.items()}


def _locate(planned: PlannedCell) -> tuple[Any, ...]:
    return (*locate_cell(planned.cell), planned.cell.label)


def _keep_cells(wanted: Callable[[PlannedCell], bool]) -> Callable[[Plan], Plan]:
    def select(plan: Plan) -> Plan:
        return dataclasses.replace(plan, cells=tuple(planned for planned in plan.cells if wanted(planned)))

    return select


def check_grids(name: str, grids: Collection[dict[str, Any]]) -> None:
    """Raise UserError for a grid that cannot be confirmed: without several rates, or without validation scores."""
    for grid in grids:
        if "confirm" in grid and not (isinstance(grid["confirm"], int) and grid["confirm"] > 1):
            raise UserError(f"study {name}: confirm={shorten(grid['confirm'])}: give a number of seeds, two or more")
        if "confirm" in grid and not (grid.get("validation") and {"lr", "rates"} & set(grid)):
            raise UserError(f"study {name}: a grid with 'confirm' needs validation = true, and lr = [...] or rates")


def check_spec(name: str, spec: Spec, confirming: int) -> None:
    """Raise UserError, before any training, for flags with which a grid of several rates cannot be searched."""
    if not confirming:
        return
    if len(spec.lr) < 2:
        raise UserError(f"study {name}: it chooses between learning rates; give two or more, as in --lr 1e-3,2e-3")
    for field in SINGLE_FIELDS:
        values = getattr(spec, field)
        if len(values) > 1:
            given = ",".join(map(str, values))
            raise UserError(
                f"study {name}: {field.replace('_', '-')}={shorten(given)}: runs that differ in it would be taken for"
                " the same; give one value, and a study for each"
            )
    for field in ("max_cells", "max_hours", "max_cost"):
        if getattr(spec, field) is not None:
            raise UserError(
                f"study {name}: {field.replace('_', '-')}: a part of the runs chooses no rate; leave it out"
            )
    seeds = [streams["init"] for streams in parse_seeds(spec.seeds)]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"study {name}: --seeds {shorten(spec.seeds)}: runs are told apart by their init seeds, of which some are"
            " equal; give a number of seeds"
        )
