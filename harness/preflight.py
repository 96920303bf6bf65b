"""Before any training: does each method fit its model?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.cell import Cell
from harness.contracts import SUITES
from harness.errors import UserError
from harness.models import skeleton
from harness.plan import Plan, not_applicable

if TYPE_CHECKING:
    from torch import nn

    from harness.contracts import Task
    from harness.model_source import ModelSource


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
            models[cell.suite] = _shapes(plan.models[cell.suite], SUITES.get(cell.suite).tasks[cell.task])
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


def _shapes(source: ModelSource, task: Task) -> nn.Module:
    """The model's shapes. Raises UserError where it is of no kind that the task can train."""
    if task.kind != "instruction":
        return skeleton(source, task.outputs)
    needs = f"{task.name} needs a causal model (llama, gpt): --model PATH"
    try:
        model = skeleton(source, task.outputs)
    except UserError as error:
        raise UserError(f"{str(error).partition('; give')[0]}; {needs}") from error
    config: Any = model.config
    if config.is_encoder_decoder:
        what = f"models of type '{config.model_type}' are encoder-decoders"
        raise UserError(f"model '{source.name}': {what}; {needs}")
    return model
