"""Choose the best values of a tuning, and put them into the plan."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from harness.core.record import Record
from harness.core.tuned import Trial, Tuned
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.tuning.search import Values, find_best_trial, find_edges
from harness.runner.tuning.trials import Arm, apply_values, build_arm_key


def group_arms(arms: Sequence[Arm], over_tasks: Sequence[str]) -> dict[str, list[Arm]]:
    """Arms with trials in groups that share one choice of values.

    A group is one arm or, with `over_tasks`, a method's arms on all tasks.
    """
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        if arm.trials:
            groups.setdefault(build_arm_key(arm.first, any_task=bool(over_tasks)), []).append(arm)
    return groups


def has_records(arm: Arm, records: Mapping[str, Record]) -> bool:
    """Whether all trials of an arm have records; a method that does not fit its model has none."""
    return all(cell.key in records for trial in arm.trials for cell in trial)


def summarize_trials(arms: Sequence[Arm], records: Mapping[str, Record]) -> Tuned:
    """The trials of one group of arms and the best of them, by the mean validation score over its tasks and seeds."""
    first = arms[0]
    trials = []
    for i, values in enumerate(first.values):
        trial_cells = [cell for arm in arms for cell in arm.trials[i]]
        trials.append(_build_trial(values, [records[cell.key] for cell in trial_cells]))
    best = find_best_trial(trials)  # None if every trial failed
    precision = "" if first.first.precision == "fp32" else f" [{first.first.precision}]"
    return Tuned(
        suite=first.first.suite,
        tasks=[arm.first.task for arm in arms],
        method=f"{first.first.title}{precision}",
        ranges={name: (limits.low, limits.high) for name, limits in first.space.items()},
        trials=trials,
        best=best,
        edges={} if best is None else find_edges(trials, best),
    )


def _build_trial(values: Values, records: Sequence[Record]) -> Trial:
    scores = [score for r in records if (score := get_validation_score(r)) is not None]
    # a mean over the cells that succeeded would favour values under which the hard tasks fail
    return Trial(
        values=values,
        keys=[r.key for r in records],
        score=sum(scores) / len(scores) if len(scores) == len(records) else None,
        reason=next((r.reason or r.status for r in records if get_validation_score(r) is None), None),
        steps=sum(r.steps or 0 for r in records),
        seconds=sum(_compute_seconds(r) for r in records),
    )


def get_validation_score(record: Record) -> float | None:
    """The score in points by which a trial is judged; None for a record without a finite one.

    It is the headline score of the suite's first average or, for a task outside of all averages, the first metric.
    """
    if record.status != "ok":
        return None
    headline = next((info.score for info in record.averages.values()), None)
    value = next(iter(record.scores.values()), None) if headline is None else headline
    return value if value is not None and math.isfinite(value) else None


def _compute_seconds(record: Record) -> float:
    """Seconds of one cell: an equal share of its pack's time."""
    if record.phases is None or record.pack is None:
        return 0.0
    return float(sum(record.phases.model_dump().values())) / record.pack.size


def apply_best_values(plan: Plan, arms: Sequence[Arm], tunings: Mapping[str, Tuned], over_tasks: bool) -> Plan:
    """The plan with the chosen values in its cells; `tunings` are by arm key.

    Arms without any scored trial are dropped with a note.
    """
    cells: list[PlannedCell] = []
    lines = []
    for arm in arms:
        tuned = tunings.get(build_arm_key(arm.first, any_task=over_tasks))
        if tuned and tuned.best is None:
            lines.append(f"{tuned.method} on {arm.first.suite}/{arm.first.task} left out: {_describe_failure(tuned)}")
        elif tuned and tuned.best is not None:
            values, source = tuned.trials[tuned.best].values, format_source(tuned, over_tasks)
            cells += [apply_values(planned, values, source) for planned in arm.cells]
        else:
            cells += arm.cells
    return dataclasses.replace(plan, cells=tuple(cells), dropped=(*plan.dropped, *lines))


def _describe_failure(tuned: Tuned) -> str:
    return f"none of its {len(tuned.trials)} trials has a score: {tuned.trials[0].reason}"


def format_source(tuned: Tuned, over_tasks: bool) -> str:
    """The source of a tuned learning rate, as the record states it."""
    part = f"validation parts of {', '.join(tuned.tasks)}" if over_tasks else "validation part"
    return f"tuned, {len(tuned.trials)} trials on the {part}"
