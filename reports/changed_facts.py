"""What differs between two runs beside their scores: facts of spec, code, data and environment.

records of A ─┐  each of PARTS gives the facts of a record
              ├─> {fact: values in A}, {fact: values in B} ──> a Change for each fact that differs
records of B ─┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    # these two differ between the methods of one run, so their values are held by method
    per_method = {f"{name} of {r.cell.label}": value for name, value in protocol.items() if name in ("lr", "name")}
    protocol_fields = {name: value for name, value in protocol.items() if name not in ("lr", "name")}
    return {
        "suite": r.cell.suite,
        "task": r.cell.task,
        "method": r.cell.label,
        "seeds": sorted(set(r.cell.seeds.values())),
        "preset": r.cell.preset,
        "model": f"{r.cell.model.name}@{r.cell.model.revision[:8]}",
        "precision": r.cell.precision,
        **protocol_fields,
        **per_method,
    }


def _collect_code(r: Record) -> Mapping[str, Any]:
    # a version counts for its method or suite only, so their names are part of the fact
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


PARTS: Mapping[str, Facts] = {
    "spec": _collect_spec,
    "code": _collect_code,
    "data": _collect_data,
    "environment": _collect_environment,
}


def find_changes(a: Sequence[Record], b: Sequence[Record]) -> list[Change]:
    """Each fact whose values differ; of a task or method that one run lacks, only that it lacks it."""
    differences = []
    for part, facts in PARTS.items():
        values_by_run = [_collect_values(records, facts) for records in (a, b)]
        for fact in dict.fromkeys([*values_by_run[0], *values_by_run[1]]):
            left, right = (t.get(fact) for t in values_by_run)
            # facts of a task that one run lacks would only repeat that it lacks it
            shared = part == "environment" or (left and right)
            if shared and left != right:
                only = [tuple(sorted((x or set()) - (y or set()))) for x, y in ((left, right), (right, left))]
                differences.append(Change(part, fact, *only))
    return differences


def _collect_values(records: Sequence[Record], facts: Facts) -> dict[str, set[str]]:
    values_by_fact: dict[str, set[str]] = {}
    for record in records:
        for fact, value in facts(record).items():
            values = value if isinstance(value, list) else [value]
            values_by_fact.setdefault(fact, set()).update(map(str, values))
    return values_by_fact
