"""Before any training: does each method fit its model?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.cell import Cell
from harness.errors import UserError
from harness.models import skeleton
from harness.plan import Plan, not_applicable


def fitting(plan: Plan, cells: Sequence[Cell]) -> Plan:
    """The plan without those of `cells` whose model has no place for their method, each with a line that says why.

    Raises UserError where the user asked for such a cell by name.
    """
    refused: dict[tuple[str, str], UserError | None] = {}
    models = {}
    for cell in cells:
        if (cell.suite, cell.label) in refused:
            continue
        if cell.suite not in models:
            outputs = plan.suites[cell.suite].tasks[cell.task].outputs
            models[cell.suite] = skeleton(plan.models[cell.suite], outputs)
        try:
            plan.methods[cell.key].fits(models[cell.suite])
            refused[cell.suite, cell.label] = None
        except UserError as error:
            if cell.key in plan.named:
                raise UserError(f"{cell.label} on {cell.model.name}: {error}") from error
            refused[cell.suite, cell.label] = error
    keys = {c.key for c in cells if refused[c.suite, c.label]}
    lines = [not_applicable(f"{label} on {suite}", error) for (suite, label), error in refused.items() if error]
    return plan.without(keys, lines) if keys else plan
