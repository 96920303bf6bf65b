"""The report's tables as plain text cells; the templates give them a form."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from harness.record import Profile, Record
from reports.compare import (
    Coverage,
    average_difference,
    average_estimate,
    coverage,
    metric_by_seed,
    task_difference,
    task_estimate,
    task_headline,
)
from reports.document import Table, Text, turned
from reports.frames import Grid, seed_text, seeds_of
from reports.intervals import Estimate
from reports.solo import profile_of, size
from reports.statistics.comparisons import NEW_SEEDS
from reports.statistics.power import reach
from reports.statistics.shared_seeds import estimate_over, varied


def shown(value: Estimate | None, sign: bool = False) -> str:
    """'84.2 ± 1.3', '84.2 (no spread)' of values that are all the same; '-' where there is nothing."""
    if value is None:
        return "-"
    mean = f"{value.mean:+.1f}" if sign else f"{value.mean:.1f}"
    if value.half == 0:
        return f"{mean} (no spread)"
    return mean if value.half is None else f"{mean} ± {value.half:.1f}"


def with_n(grid: Grid, task: str, method: str, value: Estimate | None) -> Text:
    """The estimate, with n where some of the method's cells have no score."""
    asked = grid.of(task, method)
    return Text(counted(value, len(asked)), runs=(r.key for r in asked))


def counted(value: Estimate | None, asked: int) -> str:
    """The estimate, with its n where that is not `asked`."""
    text = shown(value)
    return f"{text} (n={value.n} of {asked})" if value and value.n != asked else text


def of_average(grid: Grid, method: str, cover: Coverage) -> Text:
    """A method's mean over the tasks, with n where some of its seeds lack a score on one of them."""
    asked = max((len(grid.of(task, method)) for task in cover.tasks), default=0)
    return Text(counted(average_estimate(grid, method, cover), asked), runs=runs_of(grid, method, cover.tasks))


def of_metric(grid: Grid, task: str, method: str, metric: str) -> Text:
    """A metric's mean, with n where some of the method's cells lack it."""
    return with_n(grid, task, method, estimate_over(metric_by_seed(grid, task, method, metric)))


def named(methods: Sequence[str]) -> list[Text]:
    """The methods as the heads of columns or rows."""
    return [Text(method, method=method) for method in methods]


def runs_of(grid: Grid, method: str, tasks: Sequence[str]) -> list[str]:
    return [record.key for task in tasks for record in grid.of(task, method)]


def score_table(grid: Grid, average: str) -> Table:
    """Task x method: mean over seeds with its interval, the best constant prediction, and the mean over tasks."""
    cover = coverage(grid, average)
    partial = {t for t in grid.tasks if any(r.data_notes for r in grid.of_task(t))}
    rows, alone = [], False
    for task in grid.tasks:
        metrics = task_headline(grid, task, average)
        name = Text(f"{task}†" if task in partial else task, task=task)
        majority = _constant(grid, task) if metrics == task_headline(grid, task, grid.averages[0]) else None
        found = [task_estimate(grid, task, m, average) for m in grid.methods]
        alone |= any(value is not None and value.n == 1 for value in found)
        cells = [with_n(grid, task, m, value) for m, value in zip(grid.methods, found, strict=True)]
        outside = "" if task in grid.declared(average) else " (not in the average)"
        best = "-" if majority is None else f"{majority:.1f}"
        rows.append((name, " + ".join(metrics) + outside, best, *cells))
    means = [of_average(grid, m, cover) for m in grid.methods]
    label = Text(cover.label, total=True)
    rows.append((label, ", ".join(cover.tasks) if not cover.full else average, "", *means))
    notes = [
        f"Points (0 to 100; correlations times 100): mean over seeds ± half of the 95 % t-interval for {NEW_SEEDS}."
    ]
    notes += seed_notes(grid)
    notes += [f"† {task}: {note}" for task in sorted(partial) for note in _notes(grid.of_task(task))]
    notes += _coverage_notes(cover)
    if alone:
        notes.append(ONE_SEED)
    head = ("task", "score", "constant", *named(grid.methods))
    table = Table(f"Scores, average '{average}'", head, rows, notes)
    return turned(table, 3, "method") if len(grid.methods) > MOST_COLUMNS else table


def seed_notes(grid: Grid) -> list[str]:
    """Which streams have seeds of their own, where not all move together."""
    found = dict.fromkeys(
        told for place in grid.cells for told in [varied(seeds_of(r) for r in grid.cells[place])] if told
    )
    if not found:
        return []
    own = "; ".join(found)
    return [
        f"Seeds vary by stream ({own}): intervals are for new seeds of these, other streams held. Runs that "
        "share a seed are not independent, and the intervals count that (random effects)."
    ]


def _constant(grid: Grid, task: str) -> float | None:
    """The best constant prediction's score, which records have of the suite's first average only."""
    return next((r.majority for r in grid.of_task(task) if r.majority is not None), None)


ONE_SEED = (
    "A value without ± is of one run: one value has no spread to make an interval of. More seeds (--seeds) give one."
)
MOST_COLUMNS = 6
"""A table of more methods than this has them as its rows."""


def _notes(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(note for record in records for note in record.data_notes))


def _coverage_notes(cover: Coverage) -> list[str]:
    if cover.full:
        return []
    why = "; ".join(f"{task}: {reason}" for task, reason in cover.missing.items())
    return [f"Not the average that papers publish: {why}."]


def difference_table(grid: Grid, average: str) -> Table | None:
    """Each method less the first, paired by seed."""
    first, *others = grid.methods
    if not others:
        return None
    cover = coverage(grid, average)
    rows: list[tuple[str, ...]] = []
    for method in others:
        for task in grid.tasks:
            gap, runs = task_difference(grid, task, method, first, average), runs_of(grid, method, [task])
            rows.append((Text(method, method=method), Text(task, task=task), *_gap(gap, runs)))
        gap, runs = average_difference(grid, method, first, cover), runs_of(grid, method, cover.tasks)
        rows.append((Text(method, method=method), cover.label, *_gap(gap, runs)))
    notes = [
        f"Same seeds, same data order and head: score of the method less that of {first}.",
        f"All of it is for {NEW_SEEDS}; where predictions were kept, the comparisons at the top are for new ones too.",
        "Each interval stands for itself; with many rows some exclude 0 by chance (no correction is made).",
    ]
    return Table(f"Paired difference to {first}", ("method", "task", "difference", "pairs", "reading"), rows, notes)


def _gap(gap: Estimate | None, runs: Sequence[str]) -> tuple[str, str, str]:
    if gap is None:
        return "-", "0", "no paired seeds"
    told = "" if gap.excludes_zero else reach(gap)
    return Text(shown(gap, sign=True), runs=runs), str(gap.n), f"{gap.reading}; {told}" if told else gap.reading


def metric_table(grid: Grid) -> Table:
    """Every official metric."""
    rows = []
    for task in grid.tasks:
        for metric in dict.fromkeys(name for r in grid.of_task(task) for name in r.scores):
            rows.append((Text(task, task=task), metric, *(of_metric(grid, task, m, metric) for m in grid.methods)))
    table = Table("Every metric", ("task", "metric", *named(grid.methods)), rows)
    return turned(table, 2, "method") if len(grid.methods) > MOST_COLUMNS else table


def cost_table(grid: Grid, profiles: Sequence[Profile]) -> Table:
    """Trained parameters and training state per method; memory and speed from solo profiles only."""
    rows = []
    first_rate: float | None = None
    for method in grid.methods:
        record = next((r for r in grid.of_method(method) if r.parameters), None)
        profile = profile_of(record or next(iter(grid.of_method(method))), profiles)
        p, s = (record.parameters, record.train_state) if record else (None, None)
        counts = (
            [f"{n:,}" for n in (p.adapter_trained, p.adapter_frozen, p.head_trained, p.backbone_trained)]
            if p
            else [""] * 4
        )
        held = size(s.gradients + s.optimizer) if s else ""
        rate = profile.samples_per_second if profile else None
        first_rate = first_rate or rate
        rows.append(
            (
                Text(method, method=method),
                *counts,
                held,
                *_profile_cells(profile),
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
    levels = sorted({r.cell.quantize for r in grid.records if r.cell.simulated})
    if levels:
        notes.append(
            f"{', '.join(levels)}: simulated in floating point, scores only; memory and speed are not measured."
        )
    return Table("Cost", (*head, peak, "samples/s", f"speed / {grid.methods[0]}"), rows, notes)


def _profile_cells(profile: Profile | None) -> tuple[str, str]:
    if profile is None:
        return "", ""
    if profile.status != "ok" or profile.samples_per_second is None or len(profile.step_seconds) < 2:
        return profile.status, ""
    tenths = statistics.quantiles(profile.step_seconds, n=10)
    low, high = profile.batch_size / tenths[-1], profile.batch_size / tenths[0]
    return size(profile.peak_bytes), f"{profile.samples_per_second:.0f} ({low:.0f} to {high:.0f})"


def _budget(record: Record) -> str:
    p = record.cell.protocol
    told = f"{p.max_steps} steps at most" if p.max_steps else f"{p.epochs:g} epochs"
    caps = [f"{n:,} {part} rows at most" for part, n in (("train", p.train_rows), ("eval", p.eval_rows)) if n]
    return ", ".join([told, *caps])


PROTOCOL: Mapping[str, Callable[[Record], str]] = {
    "protocol": lambda r: r.cell.protocol.name,
    "learning rate": lambda r: f"{r.cell.protocol.lr:g}",
    "its source": lambda r: r.cell.protocol.lr_source,
    "budget": _budget,
    "batch x tokens": lambda r: f"{r.cell.protocol.batch_size} x {r.cell.protocol.max_length}",
    "schedule": lambda r: r.cell.protocol.schedule,
    "precision": lambda r: r.cell.precision,
}
"""Columns of the table of protocols; a cell that tasks do not share is told for each of them."""


def protocol_table(grid: Grid) -> Table:
    """How each method trained."""
    rows = []
    for method in grid.methods:
        seeds = len({seed_text(r.cell.seeds) for r in grid.of_method(method)})
        told = [_by_task(grid, method, column) for column in PROTOCOL.values()]
        rows.append((Text(method, method=method), *told, str(seeds)))
    head = ("method", *PROTOCOL, "seeds")
    cut = {
        (t, s): f"{t} {s} {r.truncation.rows[s]} of {n}"
        for t in grid.tasks
        for r in grid.of_task(t)
        if r.truncation
        for s, n in r.truncation.total.items()
        if r.truncation.rows[s]
    }
    notes = ["Rows cut at the length limit: " + ("; ".join(cut.values()) or "none") + "."]
    return Table("Protocol", head, rows, notes)


def _by_task(grid: Grid, method: str, told: Callable[[Record], str]) -> str:
    """What all of a method's cells say, or else what those of each task do (a rate tuned per task)."""
    said = {task: ", ".join(dict.fromkeys(map(told, group))) for task in grid.tasks if (group := grid.of(task, method))}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{task} {text}" for task, text in said.items())


def failure_table(grid: Grid) -> Table | None:
    """Cells without a score, with the reason."""
    rows = [
        (Text(task, task=task), Text(method, method=method), seed_text(r.cell.seeds), r.status, r.reason or "")
        for (task, method), group in grid.cells.items()
        for r in group
        if r.status != "ok"
    ]
    return Table("Cells without a score", ("task", "method", "seeds", "status", "reason"), rows) if rows else None
