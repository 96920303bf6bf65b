"""Records in which each method has one learning rate per task, chosen on validation parts, and fresh seeds.

    a study with `confirm`                     seeds of the search choose, the fresh ones are compared
    a run with several rates for every seed    the first quarter of the seeds choose, the others are compared

So the seeds that are compared took no part in the choice, whichever way the rates were tried.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.text import count_noun
from studies.surface.rates import BestRate, choose_rates
from studies.surface.runs import Place, collect_runs, locate_cell

if TYPE_CHECKING:
    import pandas as pd

SHARE = 1 / 4
"""Of the seeds of a run that has every seed at several rates, this share chooses the rates."""
LEAST_SEARCHING, LEAST_COMPARED = 2, 2


@dataclass(frozen=True)
class FreshRecords:
    """The records to compare; `best` by place and method, empty where each method has one rate anyway."""

    records: Sequence[Record]
    best: Mapping[tuple[Place, str], BestRate] = field(default_factory=dict)
    note: str = ""


def select_fresh_records(records: Sequence[Record]) -> FreshRecords:
    """The records of fresh seeds, each method at its chosen rate; all records where no method has several rates.

    Raises UserError where nothing can choose: no validation scores, too few seeds, or several precisions.
    """
    if not _has_several_rates(records):
        return FreshRecords(records)
    if len({(r.cell.dtype, r.cell.quantize, r.cell.recompute) for r in records}) > 1:
        raise UserError("several learning rates at several precisions: give runs of one precision, or of one rate")
    runs = collect_runs(records)
    searching = set(runs[runs["stage"] == "search"]["seed"])
    fresh = set(runs["seed"]) - searching
    if not fresh:
        searching = _split_seeds(runs)
        runs["stage"] = ["search" if seed in searching else "confirm" for seed in runs["seed"]]
        fresh = set(runs["seed"]) - searching
    best = choose_rates(runs)
    rates = {key: found.rate for key, found in best.items()}
    _check_choice(runs, rates)
    kept = [r for r in records if _is_fresh(r, fresh, rates)]
    note = (
        f"Each method at its own best learning rate of each task: {count_noun(len(searching), 'seed')} chose it by"
        f" validation score, and the {count_noun(len(fresh), 'seed')} compared took no part in that."
    )
    return FreshRecords(kept, best, note)


def _has_several_rates(records: Sequence[Record]) -> bool:
    rates: dict[tuple[object, ...], set[float]] = {}
    for r in records:
        cell = r.cell
        place = (*locate_cell(cell), cell.label, cell.quantize, cell.recompute, *sorted(cell.seeds.items()))
        rates.setdefault(place, set()).add(cell.protocol.lr)
    return any(len(distinct) > 1 for distinct in rates.values())


def _split_seeds(runs: pd.DataFrame) -> set[int]:
    """The seeds that choose, where every seed has several rates."""
    seeds = sorted(set(runs["seed"]))
    count = max(LEAST_SEARCHING, math.ceil(SHARE * len(seeds)))
    if len(seeds) - count < LEAST_COMPARED:
        raise UserError(
            f"several learning rates with {count_noun(len(seeds), 'seed')}: {LEAST_SEARCHING + LEAST_COMPARED} or more"
            " are needed, as some choose the rates and the others are compared"
        )
    return set(seeds[:count])


def _check_choice(runs: pd.DataFrame, rates: Mapping[tuple[Place, str], float]) -> None:
    """Raise UserError for a method that has several rates and no chosen one."""
    search = runs[runs["stage"] == "search"]
    for place, own in search.groupby(["suite", "task", "batch_size", "budget", "method"], sort=False):
        key = (tuple(place[:-1]), place[-1])
        if own["lr"].nunique() > 1 and key not in rates:
            raise UserError(
                f"{place[-1]} on {place[1]} has several learning rates and no validation scores to choose by; run it"
                " with --validation, or with one rate"
            )


def _is_fresh(record: Record, fresh: set[int], rates: Mapping[tuple[Place, str], float]) -> bool:
    if record.cell.seeds["init"] not in fresh:
        return False
    chosen = rates.get((locate_cell(record.cell), record.cell.label))
    return chosen is None or record.cell.protocol.lr == chosen
