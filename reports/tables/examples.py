"""How many examples become right or wrong between the baseline and each other method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.document import LinkedText, Table
from reports.registered import SuiteContext, report_table

SIGNIFICANT = 0.05
NOTE = (
    "Examples per pair of runs of one seed, the mean over pairs. p: exact McNemar test of each pair of models on new "
    "examples, not adjusted. The command python -m harness examples RUN --task TASK --between A,B lists the examples."
)


@report_table("examples", place=65, topic="examples")
def build(context: SuiteContext) -> Table | None:
    """One row per task and method; None where no predictions of classes were stored."""
    if context.analysis is None or not context.grid.methods:
        return None
    baseline = context.analysis.baselines[context.grid.suite]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in context.analysis.rows["pairs"]:
        if row.get("mcnemar_p") is None or row["suite"] != context.grid.suite:
            continue
        if row["first"] == baseline:
            groups.setdefault((row["task"], row["method"]), []).append(row)
        elif row["method"] == baseline:
            # a declared pair may have the baseline on its other side
            turned = {"only_first_right": row["only_method_right"], "only_method_right": row["only_first_right"]}
            groups.setdefault((row["task"], row["first"]), []).append({**row, **turned})
    places = [(task, method) for task in context.grid.tasks for method in context.grid.methods]
    rows = [_build_row(*place, baseline, groups[place], context) for place in places if place in groups]
    if not rows:
        return None
    head = ("task", "method", "becomes wrong", "becomes right", "pairs", "p < 0.05")
    counted_tasks = {task for task, _ in groups}
    absent = [task for task in context.grid.tasks if task not in counted_tasks]
    notes = [NOTE, *([f"Not counted, because no classes are predicted or stored: {', '.join(absent)}."] * bool(absent))]
    return Table(f"Examples that change against {baseline}", head, rows, notes)


def _build_row(
    task: str, method: str, baseline: str, pairs: Sequence[Mapping[str, Any]], context: SuiteContext
) -> tuple[str, str, str, str, str, str]:
    # a task with several eval splits has a row per split and pair of runs: counts add up over the splits
    seeds = dict.fromkeys(row["seeds"] for row in pairs)
    runs = [r.key for m in (baseline, method) for r in context.grid.of(task, m) if r.status == "ok"]
    lost, won = sum(row["only_first_right"] for row in pairs), sum(row["only_method_right"] for row in pairs)
    small = sum(row["mcnemar_p"] < SIGNIFICANT for row in pairs)
    return (
        LinkedText(task, task=task),
        LinkedText(method, method=method),
        LinkedText(f"{lost / len(seeds):.1f}", runs=runs),
        LinkedText(f"{won / len(seeds):.1f}", runs=runs),
        str(len(seeds)),
        f"{small} of {len(pairs)}",
    )
