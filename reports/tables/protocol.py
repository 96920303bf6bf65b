"""How each method was trained."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from harness.core.record import Record
from reports.document import LinkedText, Table
from reports.frames import Grid, cache_in_grid, format_seeds
from reports.registered import SuiteContext, report_table


@report_table("protocol", place=80, topic="protocol")
def build(context: SuiteContext) -> Table:
    return build_protocol_table(context.grid)


def _format_budget(record: Record) -> str:
    p = record.cell.protocol
    duration = f"{p.max_steps} steps at most" if p.max_steps else f"{p.epochs:g} epochs"
    caps = [f"{n:,} {part} rows at most" for part, n in (("train", p.train_rows), ("eval", p.eval_rows)) if n]
    return ", ".join([duration, *caps])


PROTOCOL: Mapping[str, Callable[[Record], str]] = {
    "protocol": lambda r: r.cell.protocol.name,
    "learning rate": lambda r: f"{r.cell.protocol.lr:g}",
    "its source": lambda r: r.cell.protocol.lr_source,
    "budget": _format_budget,
    "batch x tokens": lambda r: f"{r.cell.protocol.batch_size} x {r.cell.protocol.max_length}",
    "schedule": lambda r: r.cell.protocol.schedule,
    "optimizer": lambda r: r.cell.protocol.optimizer,
    "precision": lambda r: r.cell.precision,
}
"""Columns of the table of protocols; a cell that tasks do not share has the value of each of them."""


def build_protocol_table(grid: Grid) -> Table:
    """How each method trained."""
    rows = []
    for method in grid.methods:
        seeds = len({format_seeds(r.cell.seeds) for r in grid.select_method(method)})
        settings = [_format_by_task(grid, method, column) for column in PROTOCOL.values()]
        rows.append((LinkedText(method, method=method), *settings, str(seeds)))
    head = ("method", *PROTOCOL, "seeds")
    notes = [f"Rows cut at the length limit: {'; '.join(list_truncations(grid)) or 'none'}."]
    return Table("Protocol", head, rows, notes)


def list_truncations(grid: Grid) -> list[str]:
    """'cola train 3 of 100' for each task and split; with the length limit where cells of the task differ in it."""
    limits_by_task = {task: {r.cell.protocol.max_length for r in grid.select_task(task)} for task in grid.tasks}
    texts = []
    for task, limits in limits_by_task.items():
        for record in grid.select_task(task):
            if record.truncation is None:
                continue
            limit = f" (at {record.cell.protocol.max_length} tokens)" if len(limits) > 1 else ""
            for split, total in record.truncation.total.items():
                if count := record.truncation.rows[split]:
                    texts.append(f"{task} {split} {count} of {total}{limit}")
    # the cells of a task repeat each other
    return list(dict.fromkeys(texts))


@cache_in_grid
def _list_distinct(grid: Grid, task: str, method: str) -> Sequence[Record]:
    """The first record of each protocol and precision: what the columns read is equal in the others."""
    distinct: dict[Hashable, Record] = {}
    for r in grid.of(task, method):
        # records of a store share equal protocols, whose ids are compared faster than they are
        parts = tuple(r.cell.parts.items())
        distinct.setdefault((id(r.cell.protocol), r.cell.dtype, r.cell.quantize, r.cell.recompute, parts), r)
    return list(distinct.values())


def _format_by_task(grid: Grid, method: str, describe: Callable[[Record], str]) -> str:
    """What all of a method's cells say, or else what those of each task do (a rate tuned per task)."""
    texts = {
        task: ", ".join(dict.fromkeys(map(describe, group)))
        for task in grid.tasks
        if (group := _list_distinct(grid, task, method))
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{task} {text}" for task, text in texts.items())
