"""Records sorted into one grid of task x method per suite, each method under a name of its own."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from harness.core.cell import Cell
from harness.core.record import Record

Seeds = tuple[tuple[str, int], ...]
METHOD_FIELDS = frozenset({"lr", "method version", "parts", "protocol", "model", "suite version", "data"})
"""Fields that are each method's own, or in which cells of one comparison must not differ at all (see comparable)."""
FIRST_METRIC = ""
"""The measure of a suite that names no average: each task's first metric."""


@dataclass(frozen=True)
class Grid:
    """The cells of one suite. Methods in order of first appearance, tasks in the order of the suite's average."""

    suite: str
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    averages: tuple[str, ...]
    cells: Mapping[tuple[str, str], tuple[Record, ...]]

    @functools.cached_property
    def records(self) -> list[Record]:
        return [record for group in self.cells.values() for record in group]

    @functools.cached_property
    def answers(self) -> dict[Hashable, Any]:
        """What functions of `cache_in_grid` gave, by name and arguments: tables and figures ask many times."""
        return {}

    def of(self, task: str, method: str) -> tuple[Record, ...]:
        return self.cells.get((task, method), ())

    def select_task(self, task: str) -> list[Record]:
        return [record for method in self.methods for record in self.of(task, method)]

    def select_method(self, method: str) -> list[Record]:
        return [record for task in self.tasks for record in self.of(task, method)]

    def list_tasks(self, average: str) -> tuple[str, ...]:
        """The tasks that a full average covers."""
        return next((tuple(r.averages[average].tasks) for r in self.records if average in r.averages), ())


Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def cache_in_grid(
    function: Callable[Concatenate[Grid, Asked], Answer],
) -> Callable[Concatenate[Grid, Asked], Answer]:
    """The function, each answer of which is computed once and kept in the grid. Answers must not be changed."""

    @functools.wraps(function)
    def answer(grid: Grid, /, *asked: Asked.args, **named: Asked.kwargs) -> Answer:
        # a name stands for one function in all of reports, so the module is left out
        place = (function.__name__, asked, tuple(named.items()))
        if place not in grid.answers:
            grid.answers[place] = function(grid, *asked, **named)
        found: Answer = grid.answers[place]
        return found

    return answer


def build_grids(records: Sequence[Record]) -> list[Grid]:
    """One grid per suite, in order of first appearance; a key that comes twice counts once."""
    unique = list({record.key: record for record in records}.values())
    names = build_method_names(unique)
    suites: dict[str, list[Record]] = defaultdict(list)
    for record in unique:
        suites[record.cell.suite].append(record)
    return [_build_grid(suite, suite_records, names) for suite, suite_records in suites.items()]


def _build_grid(suite: str, records: Sequence[Record], names: Mapping[str, str]) -> Grid:
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[record.cell.task, names[record.key]].append(record)
    averages = dict.fromkeys(name for record in records for name in record.averages)
    # records of a store share equal lists, each of which is looked at once
    lists = {id(info.tasks): info.tasks for record in records for info in record.averages.values()}
    declared = [task for tasks in lists.values() for task in tasks]
    present = dict.fromkeys(record.cell.task for record in records)
    return Grid(
        suite=suite,
        methods=tuple(dict.fromkeys(names[record.key] for record in records)),
        tasks=tuple(dict.fromkeys([*(task for task in declared if task in present), *present])),
        averages=tuple(sorted(averages, key=lambda name: name != suite)) or (FIRST_METRIC,),
        cells={place: tuple(group) for place, group in cells.items()},
    )


# ---------------------------------------------------------------- names of methods


def build_method_names(records: Iterable[Record]) -> dict[str, str]:
    """Record key -> the method's label, with the fields added that tell cells of one label and task apart.

    So are fields that one comparison should share (steps, batch, precision, ...) and in which two methods differ.
    """
    alike: dict[tuple[str, str, str, Hashable], list[Record]] = {}
    for record in records:
        cell = record.cell
        alike.setdefault((cell.suite, cell.label, cell.task, _get_content(cell)), []).append(record)
    # one record stands for all that differ from it in their seeds only
    suites: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for (suite, label, _, _), (first, *_) in alike.items():
        suites[suite][label].append(first)
    names: dict[str, str] = {}
    for labels in suites.values():
        unlike = _find_unlike_fields(list(labels.values()))
        for group in labels.values():
            names |= _build_distinct_names(group, unlike)
    return {record.key: names[group[0].key] for group in alike.values() for record in group}


def _collect_values(records: Sequence[Record]) -> dict[str, dict[str, set[str]]]:
    """Field -> task -> values."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for cell in (record.cell for record in records):
        for field, value in _get_identity(cell).items():
            values[field][cell.task].add(value)
    return values


def _find_varying_fields(values: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    """What varies only from task to task (a rate tuned per task, say) does not make two methods."""
    return [field for field, tasks in values.items() if max(map(len, tasks.values())) > 1]


def _find_unlike_fields(groups: Sequence[Sequence[Record]]) -> list[str]:
    """Fields in which methods differ on a task though none of them differs from itself: no name would say so."""
    silent: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for group in groups:
        values = _collect_values(group)
        varying = set(_find_varying_fields(values)) | METHOD_FIELDS
        for field, tasks in values.items():
            for task, distinct in tasks.items() if field not in varying else ():
                silent[field][task] |= distinct
    return _find_varying_fields(silent)


def _build_distinct_names(records: Sequence[Record], unlike: Sequence[str]) -> dict[str, str]:
    values = _collect_values(records)
    varying = list(dict.fromkeys([*_find_varying_fields(values), *unlike]))
    if "quantize" not in varying and any(r.cell.is_simulated for r in records):
        varying.append("quantize")  # scores on a simulated type must never look like those on a real one
    names: dict[str, str] = {}
    for record in records:
        # data differs between tasks anyway; it is named where one task has several
        fields = [f for f in varying if f != "data" or len(values[f][record.cell.task]) > 1]
        names[record.key] = _format_title(record.cell, fields)
    return names


def _format_title(cell: Cell, fields: Sequence[str]) -> str:
    """The method's title with the values of `fields`."""
    if cell.title != cell.label:  # the short name says both
        fields = [f for f in fields if f not in ("dtype", "quantize")]
    tag = ", ".join(f"{field}={_format_field(field, cell)}" for field in fields)
    return f"{cell.title} [{tag}]" if tag else cell.title


def _get_content(cell: Cell) -> Hashable:
    """What `_get_identity` and `_format_field` read: cells that differ in their seeds only have it in common."""
    start = cell.initial.method_name if cell.initial else None
    versions = (cell.method_version, cell.suite_version, tuple(sorted(cell.parts.items())))
    # records of a store share equal protocols and models, whose ids are compared faster than they are
    shared = id(cell.protocol), id(cell.model)
    return shared, cell.dtype, cell.quantize, cell.recompute, cell.data, start, versions


def _get_identity(cell: Cell) -> dict[str, str]:
    """All that is in the key beside suite, task, label and seeds, as text."""
    protocol = {k: v for k, v in cell.protocol.model_dump().items() if k not in ("name", "lr_source")}
    other_fields = {
        "protocol": cell.protocol.name,
        "model": cell.model.content,
        "dtype": cell.dtype,
        "quantize": cell.quantize,
        "recompute": cell.recompute,
        "method version": cell.method_version,
        "suite version": cell.suite_version,
        "data": cell.data,
        "from": cell.initial.method_name if cell.initial else "none",
        "parts": ", ".join(f"{name} {version[:8]}" for name, version in sorted(cell.parts.items())) or "none",
    }
    return {field: str(value) for field, value in (protocol | other_fields).items()}


def _format_field(field: str, cell: Cell) -> str:
    # A model's name is not in its key, so it tells no two methods apart; it is only easier to read.
    if field == "quantize" and cell.is_simulated:
        return f"{cell.quantize}, simulated"
    if field == "model":
        return f"{cell.model.name}@{cell.model.revision[:8]}"
    return cell.data[:8] if field == "data" else _get_identity(cell)[field]


# ---------------------------------------------------------------- scores and seeds


def get_score(record: Record, average: str) -> float | None:
    """The headline score in points; a task outside of the average gives its first metric. Never NaN."""
    if record.status != "ok":
        return None
    info = record.averages.get(average)
    value = info.score if info else None
    if value is None and not (info and record.cell.task in info.tasks):
        value = next(iter(record.scores.values()), None)
    return value if value is not None and math.isfinite(value) else None


def get_seeds(record: Record) -> Seeds:
    return record.cell.sorted_seeds


def format_seeds(seeds: Mapping[str, int]) -> str:
    """'3' when every stream has seed 3, else 'init=0;mask=3'."""
    if len(set(seeds.values())) == 1:
        return str(next(iter(seeds.values())))
    return ";".join(f"{stream}={seed}" for stream, seed in sorted(seeds.items()))
