"""The report's tables as plain text cells; the templates give them a form."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from harness.core.record import Profile, Record
from harness.core.text import format_bytes
from reports.compare import (
    Coverage,
    collect_metric,
    estimate_average,
    estimate_average_gap,
    estimate_task,
    estimate_task_gap,
    find_coverage,
    task_headline,
)
from reports.document import LinkedText, Table, transpose_table
from reports.frames import Grid, format_seeds, get_seeds
from reports.intervals import Estimate
from reports.solo import find_profile
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.power import describe_reach
from reports.statistics.shared_seeds import describe_streams, estimate_interval


def format_estimate(value: Estimate | None, sign: bool = False) -> str:
    """'84.2 ± 1.3', '84.2 (no spread)' of values that are all the same; '-' where there is nothing."""
    if value is None:
        return "-"
    mean = f"{value.mean:+.1f}" if sign else f"{value.mean:.1f}"
    if value.half == 0:
        return f"{mean} (no spread)"
    return mean if value.half is None else f"{mean} ± {value.half:.1f}"


def format_cell(grid: Grid, task: str, method: str, value: Estimate | None) -> LinkedText:
    """The estimate, with n where some of the method's cells have no score."""
    records = grid.of(task, method)
    return LinkedText(format_with_n(value, len(records)), runs=(r.key for r in records))


def format_with_n(value: Estimate | None, asked: int) -> str:
    """The estimate, with its n where that is not `asked`."""
    text = format_estimate(value)
    return f"{text} (n={value.n} of {asked})" if value and value.n != asked else text


def format_average(grid: Grid, method: str, cover: Coverage) -> LinkedText:
    """A method's mean over the tasks, with n where some of its seeds lack a score on one of them."""
    cell_count = max((len(grid.of(task, method)) for task in cover.tasks), default=0)
    return LinkedText(
        format_with_n(estimate_average(grid, method, cover), cell_count), runs=list_run_keys(grid, method, cover.tasks)
    )


def format_metric(grid: Grid, task: str, method: str, metric: str) -> LinkedText:
    """A metric's mean, with n where some of the method's cells lack it."""
    return format_cell(grid, task, method, estimate_interval(collect_metric(grid, task, method, metric)))


def build_method_heads(methods: Sequence[str]) -> list[LinkedText]:
    """The methods as the heads of columns or rows."""
    return [LinkedText(method, method=method) for method in methods]


def list_run_keys(grid: Grid, method: str, tasks: Sequence[str]) -> list[str]:
    return [record.key for task in tasks for record in grid.of(task, method)]


def build_score_table(grid: Grid, average: str) -> Table:
    """Task x method: mean over seeds with its interval, the best constant prediction, and the mean over tasks."""
    cover = find_coverage(grid, average)
    partial = {t for t in grid.tasks if any(r.data_notes for r in grid.select_task(t))}
    rows, alone = [], False
    for task in grid.tasks:
        metrics = task_headline(grid, task, average)
        name = LinkedText(f"{task}†" if task in partial else task, task=task)
        baseline = (
            _find_majority_baseline(grid, task) if metrics == task_headline(grid, task, grid.averages[0]) else None
        )
        estimates = [estimate_task(grid, task, m, average) for m in grid.methods]
        alone |= any(value is not None and value.n == 1 for value in estimates)
        cells = [format_cell(grid, task, m, value) for m, value in zip(grid.methods, estimates, strict=True)]
        outside = "" if task in grid.list_tasks(average) else " (not in the average)"
        best = "-" if baseline is None else f"{baseline:.1f}"
        rows.append((name, " + ".join(metrics) + outside, best, *cells))
    means = [format_average(grid, m, cover) for m in grid.methods]
    label = LinkedText(cover.label, total=True)
    rows.append((label, ", ".join(cover.tasks) if not cover.full else average, "", *means))
    notes = [
        f"Points (0 to 100; correlations times 100): mean over seeds ± half of the 95 % t-interval for {NEW_SEEDS}."
    ]
    notes += list_seed_notes(grid)
    notes += [f"† {task}: {note}" for task in sorted(partial) for note in _list_data_notes(grid.select_task(task))]
    notes += _list_coverage_notes(cover)
    if alone:
        notes.append(ONE_SEED_NOTE)
    head = ("task", "score", "constant", *build_method_heads(grid.methods))
    table = Table(f"Scores, average '{average}'", head, rows, notes)
    return transpose_table(table, 3, "method") if len(grid.methods) > MAX_COLUMNS else table


def list_seed_notes(grid: Grid) -> list[str]:
    """Which streams have seeds of their own, where not all move together."""
    stream_names = dict.fromkeys(
        names for place in grid.cells for names in [describe_streams(get_seeds(r) for r in grid.cells[place])] if names
    )
    if not stream_names:
        return []
    summary = "; ".join(stream_names)
    return [
        f"Seeds vary by stream ({summary}): intervals are for new seeds of these, other streams held. Runs that "
        "share a seed are not independent, and the intervals count that (random effects)."
    ]


def _find_majority_baseline(grid: Grid, task: str) -> float | None:
    """The best constant prediction's score, which records have of the suite's first average only."""
    return next((r.majority for r in grid.select_task(task) if r.majority is not None), None)


ONE_SEED_NOTE = (
    "A value without ± is of one run: one value has no spread to make an interval of. More seeds (--seeds) give one."
)
MAX_COLUMNS = 6
"""A table of more methods than this has them as its rows."""


def _list_data_notes(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(note for record in records for note in record.data_notes))


def _list_coverage_notes(cover: Coverage) -> list[str]:
    if cover.full:
        return []
    why = "; ".join(f"{task}: {reason}" for task, reason in cover.missing.items())
    return [f"Not the average that papers publish: {why}."]


def build_difference_table(grid: Grid, average: str) -> Table | None:
    """Each method less the first, paired by seed."""
    first, *other_methods = grid.methods
    if not other_methods:
        return None
    cover = find_coverage(grid, average)
    rows: list[tuple[str, ...]] = []
    for method in other_methods:
        for task in grid.tasks:
            gap, runs = estimate_task_gap(grid, task, method, first, average), list_run_keys(grid, method, [task])
            rows.append((LinkedText(method, method=method), LinkedText(task, task=task), *_format_gap(gap, runs)))
        gap, runs = estimate_average_gap(grid, method, first, cover), list_run_keys(grid, method, cover.tasks)
        rows.append((LinkedText(method, method=method), cover.label, *_format_gap(gap, runs)))
    notes = [
        f"Same seeds, same data order and head: score of the method less that of {first}.",
        f"All of it is for {NEW_SEEDS}; where predictions were kept, the comparisons at the top are for new ones too.",
        "Each interval stands for itself; with many rows some exclude 0 by chance (no correction is made).",
    ]
    return Table(f"Paired difference to {first}", ("method", "task", "difference", "pairs", "reading"), rows, notes)


def _format_gap(gap: Estimate | None, runs: Sequence[str]) -> tuple[str, str, str]:
    if gap is None:
        return "-", "0", "no paired seeds"
    power_note = "" if gap.excludes_zero else describe_reach(gap)
    return (
        LinkedText(format_estimate(gap, sign=True), runs=runs),
        str(gap.n),
        f"{gap.reading}; {power_note}" if power_note else gap.reading,
    )


def build_metric_table(grid: Grid) -> Table:
    """Every official metric."""
    rows = []
    for task in grid.tasks:
        for metric in dict.fromkeys(name for r in grid.select_task(task) for name in r.scores):
            rows.append(
                (LinkedText(task, task=task), metric, *(format_metric(grid, task, m, metric) for m in grid.methods))
            )
    table = Table("Every metric", ("task", "metric", *build_method_heads(grid.methods)), rows)
    return transpose_table(table, 2, "method") if len(grid.methods) > MAX_COLUMNS else table


def build_cost_table(grid: Grid, profiles: Sequence[Profile]) -> Table:
    """Trained parameters and training state per method; memory and speed from solo profiles only."""
    rows = []
    first_rate: float | None = None
    for method in grid.methods:
        record = next((r for r in grid.select_method(method) if r.parameters), None)
        profile = find_profile(record or next(iter(grid.select_method(method))), profiles)
        p, s = (record.parameters, record.train_state) if record else (None, None)
        counts = (
            [f"{n:,}" for n in (p.adapter_trained, p.adapter_frozen, p.head_trained, p.backbone_trained)]
            if p
            else [""] * 4
        )
        state_size = format_bytes(s.gradients + s.optimizer) if s else ""
        rate = profile.samples_per_second if profile else None
        first_rate = first_rate or rate
        rows.append(
            (
                LinkedText(method, method=method),
                *counts,
                state_size,
                *_format_profile(profile),
                f"{rate / first_rate:.2f}" if rate and first_rate else "",
            )
        )
    head = ("method", "adapter trained", "adapter frozen", "head", "backbone trained", "gradients + moments")
    kinds = sorted({p.peak_kind for p in profiles})
    peak = f"peak memory ({', '.join(kinds)})" if kinds else "peak memory"
    notes = [
        "Counts are numbers, of the first task's cells (the head's width differs from task to task).",
        "Memory and speed come from runs alone in a process of their own, never from a pack; empty: not measured.",
        "samples/s: median over the timed steps, with the 10th and 90th percentile.",
    ]
    levels = sorted({r.cell.quantize for r in grid.records if r.cell.is_simulated})
    if levels:
        notes.append(
            f"{', '.join(levels)}: simulated in floating point, scores only; memory and speed are not measured."
        )
    return Table("Cost", (*head, peak, "samples/s", f"speed / {grid.methods[0]}"), rows, notes)


def _format_profile(profile: Profile | None) -> tuple[str, str]:
    if profile is None:
        return "", ""
    if profile.status != "ok" or profile.samples_per_second is None or len(profile.step_seconds) < 2:
        return profile.status, ""
    tenths = statistics.quantiles(profile.step_seconds, n=10)
    low, high = profile.batch_size / tenths[-1], profile.batch_size / tenths[0]
    return format_bytes(profile.peak_bytes), f"{profile.samples_per_second:.0f} ({low:.0f} to {high:.0f})"


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
    "precision": lambda r: r.cell.precision,
}
"""Columns of the table of protocols; a cell that tasks do not share is told for each of them."""


def build_protocol_table(grid: Grid) -> Table:
    """How each method trained."""
    rows = []
    for method in grid.methods:
        seeds = len({format_seeds(r.cell.seeds) for r in grid.select_method(method)})
        settings = [_format_by_task(grid, method, column) for column in PROTOCOL.values()]
        rows.append((LinkedText(method, method=method), *settings, str(seeds)))
    head = ("method", *PROTOCOL, "seeds")
    truncated = {
        (t, s): f"{t} {s} {r.truncation.rows[s]} of {n}"
        for t in grid.tasks
        for r in grid.select_task(t)
        if r.truncation
        for s, n in r.truncation.total.items()
        if r.truncation.rows[s]
    }
    notes = ["Rows cut at the length limit: " + ("; ".join(truncated.values()) or "none") + "."]
    return Table("Protocol", head, rows, notes)


def _format_by_task(grid: Grid, method: str, told: Callable[[Record], str]) -> str:
    """What all of a method's cells say, or else what those of each task do (a rate tuned per task)."""
    texts = {
        task: ", ".join(dict.fromkeys(map(told, group))) for task in grid.tasks if (group := grid.of(task, method))
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{task} {text}" for task, text in texts.items())


def build_failure_table(grid: Grid) -> Table | None:
    """Cells without a score, with the reason."""
    rows = [
        (
            LinkedText(task, task=task),
            LinkedText(method, method=method),
            format_seeds(r.cell.seeds),
            r.status,
            r.reason or "",
        )
        for (task, method), group in grid.cells.items()
        for r in group
        if r.status != "ok"
    ]
    return Table("Cells without a score", ("task", "method", "seeds", "status", "reason"), rows) if rows else None
