"""Before any training: does each method fit its model?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.cell import Cell
from harness.contracts import SUITES
from harness.errors import UserError
from harness.models import skeleton
from harness.plan import Plan


def check_fit(plan: Plan, cells: Sequence[Cell]) -> None:
    """Raise UserError naming the first method, and its task, that its model has no place for."""
    seen: set[tuple[str, str]] = set()
    models = {}
    for cell in cells:
        if (cell.suite, cell.label) in seen:
            continue
        seen.add((cell.suite, cell.label))
        if cell.suite not in models:
            outputs = SUITES.get(cell.suite).tasks[cell.task].outputs
            models[cell.suite] = skeleton(plan.models[cell.suite], outputs)
        try:
            plan.methods[cell.key].fits(models[cell.suite])
        except UserError as error:
            raise UserError(f"{cell.label} on {cell.model.name}: {error}") from error
