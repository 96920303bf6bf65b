"""Learning rates that a grid declares by method, and by task where they differ: what no list `lr` can say.

rates = { lora = 1.4e-3, full = [5e-5, 1e-4], lorasp = { sst2 = 4e-3, mrpc = 2e-3 } }
          one for all tasks   to search           by task
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from harness.core.errors import UserError, shorten
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell

Rates = Mapping[str, Any]
"""Method -> its rate, its rates, or task -> rate."""


def list_rates(rates: Rates) -> list[float]:
    """All of them, ascending: the list that a spec needs, from which `select_rates` keeps each method's own."""
    return sorted({rate for declared in rates.values() for rate in _list_declared(declared)})


def select_rates(rates: Rates) -> Callable[[Plan], Plan]:
    """A function that keeps the cells whose rate is declared for their method and task; of no rates all cells.

    The function raises UserError for a method or task of the plan without a rate.
    """

    def select(plan: Plan) -> Plan:
        return dataclasses.replace(plan, cells=tuple(cell for cell in plan.cells if _is_declared(rates, cell)))

    return select if rates else lambda plan: plan


def check_rates(name: str, rates: Any) -> None:
    """Raise UserError for rates of another form."""
    example = "{ lora = 1e-3, lorasp = [1e-3, 2e-3], full = { sst2 = 1e-4 } }"
    is_table = isinstance(rates, dict)
    values = [rate for declared in rates.values() for rate in _list_declared(declared)] if is_table else []
    is_number = [isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate > 0 for rate in values]
    if not is_table or not all(is_number) or not all(map(_list_declared, rates.values())):
        raise UserError(f"study {name}: rates={shorten(rates)}: give a rate for each method, as in {example}")


def _list_declared(declared: Any) -> list[Any]:
    if isinstance(declared, Mapping):
        return list(declared.values())
    return list(declared) if isinstance(declared, (list, tuple)) else [declared]


def _is_declared(rates: Rates, planned: PlannedCell) -> bool:
    label, task = planned.cell.label, planned.cell.task
    declared = rates.get(label)
    if isinstance(declared, Mapping):
        declared = declared.get(task)
    if declared is None:
        raise UserError(f"rates: none for {label} on {task}; give one, or --lr for all methods")
    return planned.cell.protocol.lr in _list_declared(declared)
