"""The facts of which two runs differ: spec, code, data and environment."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.record import Record


@dataclass(frozen=True)
class Change:
    """One fact of which the two runs differ: what only A has and what only B has."""

    part: str
    what: str
    a: tuple[str, ...]
    b: tuple[str, ...]


Facts = Callable[[Record], Mapping[str, Any]]


def _collect_spec(r: Record) -> Mapping[str, Any]:
    protocol = r.cell.protocol.model_dump(exclude={"lr_source"})
    per_method = {f"{name} of {r.cell.label}": value for name, value in protocol.items() if name in ("lr", "name")}
    protocol_fields = {name: value for name, value in protocol.items() if name not in ("lr", "name")}
    return {
        "suite": r.cell.suite,
        "task": r.cell.task,
        "method": r.cell.label,
        "seeds": "",  # of all records, see _collect_values
        "preset": r.cell.preset,
        "model": f"{r.cell.model.name}@{r.cell.model.revision[:8]}",
        "precision": r.cell.precision,
        **protocol_fields,
        **per_method,
    }


def _collect_code(r: Record) -> Mapping[str, Any]:
    versions = {f"method {r.cell.method}": r.cell.method_version, f"suite {r.cell.suite}": r.cell.suite_version}
    return versions | ({"commit": r.environment.commit, "harness": r.environment.harness} if r.environment else {})


def _collect_data(r: Record) -> Mapping[str, Any]:
    return {
        r.cell.task: r.cell.data[:12],
        "source": r.data_source,
        **{f"{r.cell.task} {s}": n for s, n in r.rows.items()},
    }


def _collect_environment(r: Record) -> Mapping[str, Any]:
    return r.environment.model_dump(exclude={"commit", "harness"}) if r.environment else {}


def _get_spec_content(r: Record) -> Hashable:
    c = r.cell
    # records of a store share equal protocols and models, whose ids are compared faster than they are
    precision = c.dtype, c.quantize, c.recompute, tuple(c.parts.items())
    return c.suite, c.task, c.label, c.preset, id(c.model), id(c.protocol), precision


def _get_code_content(r: Record) -> Hashable:
    return r.cell.method, r.cell.method_version, r.cell.suite, r.cell.suite_version, id(r.environment)


def _get_data_content(r: Record) -> Hashable:
    return r.cell.task, r.cell.data, r.data_source, tuple(r.rows.items())


PARTS: Mapping[str, tuple[Facts, Callable[[Record], Hashable]]] = {
    "spec": (_collect_spec, _get_spec_content),
    "code": (_collect_code, _get_code_content),
    "data": (_collect_data, _get_data_content),
    "environment": (_collect_environment, lambda r: id(r.environment)),
}
"""Part -> its facts of a record, and what they are read from."""


def find_changes(a: Sequence[Record], b: Sequence[Record]) -> list[Change]:
    """Each fact whose values differ; of a task or method that one run lacks, only that it lacks it."""
    differences = []
    for part in PARTS:
        values_by_run = [_collect_values(records, part) for records in (a, b)]
        for fact in dict.fromkeys([*values_by_run[0], *values_by_run[1]]):
            left, right = (t.get(fact) for t in values_by_run)
            shared = part == "environment" or (left and right)
            if shared and left != right:
                only = [tuple(sorted((x or set()) - (y or set()))) for x, y in ((left, right), (right, left))]
                differences.append(Change(part, fact, *only))
    return differences


def _collect_values(records: Sequence[Record], part: str) -> dict[str, set[str]]:
    facts, get_content = PARTS[part]
    # most records differ in their seeds and scores only: one stands for all of equal content
    distinct: dict[Hashable, Record] = {}
    for record in records:
        distinct.setdefault(get_content(record), record)
    values_by_fact: dict[str, set[str]] = {}
    for record in distinct.values():
        for fact, value in facts(record).items():
            values_by_fact.setdefault(fact, set()).add(str(value))
    if part == "spec":
        seeds = {seed for record in records for seed in record.cell.seeds.values()}
        values_by_fact["seeds"] = set(map(str, seeds))
    return values_by_fact
