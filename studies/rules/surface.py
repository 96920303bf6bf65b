"""Scores over learning rates: each method's best rate, and the methods compared at their own best rates."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.core.looks import GUARD_SEEDS
from harness.core.text import count_noun
from reports.document import Extra
from reports.statistics.collapse import LEAST_GAIN
from reports.statistics.verdicts import FEW_SEEDS
from studies.answer import Answer, Part, StudyRuns, merge_verdicts
from studies.rules.margins import format_interval, judge_estimates
from studies.study import Kind, Study
from studies.surface.contrasts import Contrast, TaskRuns, contrast, decide, group_tasks
from studies.surface.rates import BestRate, choose_rates
from studies.surface.runs import GROUP, Place, collect_runs, name_places
from studies.surface.sharpness import CORRELATION_NOTES, SHARPNESS_NOTES, list_correlations, list_sharpness
from studies.surface.tables import (
    COMMON,
    RATES,
    RATES_TITLE,
    SCORES,
    Rows,
    list_common_rates,
    list_rates,
    list_scores,
    tidy_table,
)

if TYPE_CHECKING:
    import pandas as pd

SAME = 0.01
"""Points of the mean validation score within which two rates are equally good: stored scores are rounded."""
LUCKY = 10.0
"""Points that a score of the search lies above that of fresh seeds from which the choice of the rate is in doubt."""


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `reference` and `subject` (methods), `against` (methods of the verdict), `others` (methods of further
    parts), `near` and `collapse` (points).

    The verdict is whether the subject is not worse than each of `against` by the margin, each at its own best rate, on
    the mean of all tasks.
    """
    runs = seen.runs if seen.runs is not None else collect_runs(seen.records)
    best = choose_rates(runs)
    confirming = runs[runs["stage"] == "confirm"]
    margin, reference = seen.margin or 0.0, study.options["reference"]
    tasks = group_tasks(confirming, study.options["collapse"])
    methods = list(dict.fromkeys(confirming["method"]))
    subject = study.options["subject"]
    # the subject first, so that a row has the sign of its sentence in the verdict
    pairs = [(subject, m) for m in methods if m != subject and subject in methods]
    pairs += [(m, reference) for m in methods if m not in (reference, subject) and reference in methods]
    contrasts = [contrast(tasks, m, other) for m, other in pairs]
    deciding = [contrast(tasks, study.options["subject"], other) for other in study.options["against"]]
    further = [contrast(tasks, study.options["subject"], o) for o in study.options["others"] if o in methods]
    # the family of the verdict is declared; the other comparisons are a family of their own
    kinds = judge_estimates([c.all_runs for c in deciding], margin, "not worse")
    all_kinds = [*kinds, *judge_estimates([c.all_runs for c in further], margin, "not worse")]
    parts = {c.name: _build_part(c, k, margin, tasks) for c, k in zip([*deciding, *further], all_kinds, strict=True)}
    missing = [c.name for c in deciding if not c.tasks]
    unknown = [c.name for c in deciding if c.tasks and c.all_runs is None]
    lacks = f"confirming runs of {', '.join(missing)}" if missing else ""
    lacks = lacks or (f"more seeds, or seeds that differ, of {', '.join(unknown)}" if unknown else "")
    sentence = " ".join(parts[c.name].summary for c in deciding)
    tables: list[Extra] = [
        (RATES_TITLE, list_rates(best, reference, study.options["near"]), RATES),
        ("Scores at the best rates, by task", list_scores(tasks), SCORES),
        ("Sharpness of the loss", list_sharpness(runs, best, reference), SHARPNESS_NOTES),
        ("Sharpness and best rate", list_correlations(runs, best), CORRELATION_NOTES),
        ("The same rate for all methods", list_common_rates(runs, study.options["subject"], reference), COMMON),
    ]
    notes = [
        f"margin {margin:g}; difference: points of the method less those of the one it is held against, on the mean of"
        " the tasks, each at its own best rate of each task, on seeds that took no part in choosing it; 95 % intervals"
        " over seeds, Holm over the rows",
        *_list_cautions(study, best, tasks, runs),
    ]
    # a comparison without runs is no evidence of anything, not even of an open question
    judged = [c.name for c in (*deciding, *further) if c.tasks]
    return Answer(
        merge_verdicts(kinds),
        sentence,
        {name: parts[name] for name in judged},
        _list_contrasts(contrasts, margin, tasks),
        notes,
        lacks,
        tables=[tidy_table(table) for table in tables if table[1]],
        runs=runs,
    )


def _build_part(found: Contrast, kind: Kind, margin: float, tasks: Sequence[TaskRuns]) -> Part:
    if found.all_runs is None:
        if not found.tasks:
            return Part(kind, f"{found.name}: no runs of both.")
        reason = "one seed, or the same difference for all seeds"
        return Part(kind, f"{found.name}: undecided: no interval on {', '.join(found.unknown)} ({reason}).")
    limit = "1 point" if margin == 1 else f"{margin:g} points"
    meaning = {
        "confirmed": f"not worse by {limit}",
        "contradicted": f"worse by more than {limit}",
        "undecided": "undecided",
    }[kind]
    collapses = " and ".join(
        f"{sum(task.count_collapses(m).collapsed for task in tasks)} of {m}" for m in (found.subject, found.reference)
    )
    return Part(
        kind,
        f"{found.name}: {meaning}: {format_interval(found.all_runs)} points on the mean of"
        f" {_count_tasks(found, tasks)}, {format_interval(found.without_collapses)} without collapsed runs"
        f" ({collapses}).",
    )


def _count_tasks(found: Contrast, tasks: Sequence[TaskRuns]) -> str:
    """'6 tasks', or '12 combinations of task and batch size or budget'."""
    names = {task.place[:2] for task in tasks if task.name in found.tasks}
    if len(names) == len(found.tasks):
        return count_noun(len(names), "task")
    return f"{len(found.tasks)} combinations of task and batch size or budget"


def _list_contrasts(contrasts: Sequence[Contrast], margin: float, tasks: Sequence[TaskRuns]) -> Rows:
    words = decide([c.all_runs for c in contrasts], margin)
    kept_words = decide([c.without_collapses for c in contrasts], margin)
    rows = []
    for found, word, kept in zip(contrasts, words, kept_words, strict=True):
        counts = [task.count_collapses(found.subject) for task in tasks]
        rows.append(
            {
                "method": found.subject,
                "against": found.reference,
                "tasks": len(found.tasks),
                "difference": format_interval(found.all_runs),
                "decided": word,
                "without collapsed runs": format_interval(found.without_collapses),
                "decided without": kept,
                "collapsed": f"{sum(c.collapsed for c in counts)} of {sum(c.runs for c in counts)}",
            }
        )
    return rows


def _list_cautions(
    study: Study, best: dict[tuple[Place, str], BestRate], tasks: Sequence[TaskRuns], runs: pd.DataFrame
) -> list[str]:
    """What limits the verdict: edges of the search, rates that diverged, tasks that no method learned, missing runs."""
    names = name_places(runs)
    edges = [f"{method} on {names[place]} ({found.edge})" for (place, method), found in best.items() if found.edge]
    unlearned = [task.name for task in tasks if not task.is_learned]
    searched = runs[runs["stage"] == "search"].groupby([*GROUP, "method"], sort=False).ngroups
    unusable = runs[(runs["stage"] == "search") & runs["validation"].isna()]
    lines = []
    if edges:
        lines.append(
            f"The best rate is at the edge of the rates tried, so a better one may lie beyond: {', '.join(edges)}."
        )
    lines += _list_other_rates(best, tasks, runs) + _list_lucky_choices(best, tasks, runs)
    if few := _find_few_seeds(tasks):
        lines.append(few)
    if unlearned:
        lines.append(
            f"No method gains {LEAST_GAIN:g} points over the majority baseline on {', '.join(unlearned)}: equal scores"
            " there say nothing of parity."
        )
    if len(unusable):
        lines.append(
            f"{count_noun(len(unusable), 'run')} of the search have no validation score (failed or diverged, or no"
            " validation part): their rates cannot be chosen."
        )
    if len(best) < searched:
        lines.append(
            f"{count_noun(searched - len(best), 'pair')} of method and task have one rate only, or none with scores."
        )
    return lines


def _find_few_seeds(tasks: Sequence[TaskRuns]) -> str:
    """That too few seeds without a collapse cannot rule collapses out; '' where there are enough, or some collapsed."""
    counts = [task.count_collapses(method) for task in tasks for method in task.scores]
    if not counts or any(count.collapsed for count in counts) or min(count.runs for count in counts) >= GUARD_SEEDS:
        return ""
    return f"No run collapsed; the claims are for runs that do not. {FEW_SEEDS}"


def _list_other_rates(
    best: dict[tuple[Place, str], BestRate], tasks: Sequence[TaskRuns], runs: pd.DataFrame
) -> list[str]:
    """Methods whose fresh seeds ran at a rate that is not the best by the search, as after a search was continued."""
    rates = {task.place: task.rates for task in tasks}
    labels, names = name_places(runs), []
    for (place, method), found in best.items():
        rate = rates.get(place, {}).get(method)
        means = dict(zip(found.rates, found.means, strict=True))
        if rate is not None and means.get(rate, -math.inf) < max(found.means) - SAME:
            names.append(f"{method} on {labels[place]} ({rate:.2g}, best {found.rate:.2g})")
    return [f"Fresh seeds ran at a rate that is not the best of the search: {', '.join(names)}."] if names else []


def _list_lucky_choices(
    best: dict[tuple[Place, str], BestRate], tasks: Sequence[TaskRuns], runs: pd.DataFrame
) -> list[str]:
    """Choices that fresh seeds do not bear out: the few seeds of the search were lucky at the chosen rate."""
    by_place = {task.place: task for task in tasks}
    labels, names = name_places(runs), []
    for (place, method), found in best.items():
        fresh = list(by_place[place].scores.get(method, {}).values()) if place in by_place else []
        at_rate = (runs["stage"] == "search") & (runs["method"] == method) & (runs["lr"] == found.rate)
        for column, value in zip(GROUP, place, strict=True):
            at_rate &= runs[column] == value
        searched = runs[at_rate]["score"].dropna()
        if fresh and len(searched) and searched.mean() - statistics.fmean(fresh) >= LUCKY:
            means = f"{searched.mean():.1f} in the search, {statistics.fmean(fresh):.1f} fresh"
            names.append(f"{method} on {labels[place]} ({means})")
    if not names:
        return []
    return [
        f"The few seeds of the search were lucky at a chosen rate, so another rate may be better: {', '.join(names)}."
    ]
