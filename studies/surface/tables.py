"""The tables of a surface: best rates, scores at them, and what a comparison at one rate would have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.document import Extra
from reports.statistics.student import estimate_mean
from studies.surface.contrasts import TaskRuns
from studies.surface.rates import BestRate
from studies.surface.runs import Place

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
SHARED = ("batch", "budget")
"""Columns that say nothing where all rows have the same value."""
RATES_TITLE = "Best learning rates, chosen on validation parts"
RATES = (
    "best rate: the rate with the highest mean validation score. interval: 95 % of 2,000 bootstrap draws of the search"
    " seeds choose a rate within. ratio: to the reference's best rate, in the same draws.",
    "usable: width, in factors of 2, of the range of rates whose validation score lies near the best one.",
)
SCORES = ("mean ± half of the 95 % interval over the confirming seeds; collapsed: runs by the rules of the report.",)
COMMON = (
    "Runs of the search with one learning rate for all methods: the mean over tasks of the eval score. It shows what a"
    " comparison at that rate would have found. -: not tried at that rate.",
)


def tidy_table(table: Extra) -> Extra:
    """The table without empty columns; a batch size and a budget that all rows share stand below it."""
    title, rows, notes, *rest = table
    shared = {name: rows[0][name] for name in SHARED if all(row.get(name) == rows[0].get(name, "") for row in rows)}
    empty = {name for name in rows[0] if all(row.get(name) in ("", None) for row in rows)}
    kept = [{name: value for name, value in row.items() if name not in {*shared, *empty}} for row in rows]
    below = [", ".join(f"{name}: {value}" for name, value in shared.items())] if shared else []
    lines = [*notes, *below]
    return (title, kept, lines, rest[0]) if rest else (title, kept, lines)


def list_rates(best: Mapping[tuple[Place, str], BestRate], reference: str, near: float) -> Rows:
    """One row per place and method: the best rate, its interval, and its ratio to the reference's."""
    rows = []
    for (place, method), found in best.items():
        low, high = found.interval
        compared = best.get((place, reference))
        is_known = compared and method != reference and not (found.is_flat or compared.is_flat)
        ratio = found.compute_ratio(compared) if compared and is_known else None
        rows.append(
            {
                "task": place[1],
                "batch": place[2],
                "budget": place[3],
                "method": method,
                "best rate": "none: all alike" if found.is_flat else f"{found.rate:.2g}",
                "interval": "" if found.is_flat else f"{low:.2g} to {high:.2g}",
                "ratio": "" if ratio is None else "{:.2g} ({:.2g} to {:.2g})".format(*ratio),
                "validation": max(found.means),
                "usable": "" if found.is_flat else f"{found.compute_usable_octaves(near):.1f}",
                "edge": found.edge,
                "diverged": ", ".join(f"{rate:.2g}" for rate in found.diverged),
                "seeds": found.seeds,
            }
        )
    return rows


def list_scores(tasks: Sequence[TaskRuns]) -> Rows:
    """One row per task and method: the score at its best rate on fresh seeds, and the collapsed runs."""
    rows = []
    for task in tasks:
        for method, scores in task.scores.items():
            values = list(scores.values())
            estimate = estimate_mean(values)
            kept = estimate_mean([s for seed, s in scores.items() if not task.collapsed[method][seed]])
            count = task.count_collapses(method)
            low, high = count.interval
            rows.append(
                {
                    "task": task.name,
                    "method": method,
                    "rate": f"{task.rates[method]:.2g}",
                    "score": f"{sum(values) / len(values):.1f}" + (f" ± {estimate.half:.1f}" if estimate else ""),
                    "without collapsed": f"{kept.value:.1f} ± {kept.half:.1f}" if kept else "",
                    "collapsed": f"{count} ({100 * low:.0f} to {100 * high:.0f} %)",
                    "majority": task.baseline,
                    "learned": "yes" if task.is_learned else "no",
                }
            )
    return rows


def list_common_rates(runs: pd.DataFrame, subject: str, reference: str) -> Rows:
    """One row per rate of the search: the mean over tasks of each method there."""
    search = runs[(runs["stage"] == "search") & runs["score"].notna()]
    methods = list(dict.fromkeys(search["method"]))
    rows = []
    for (_, batch, budget), group in search.groupby(["suite", "batch_size", "budget"], sort=False):
        means = group.groupby(["lr", "method", "task"])["score"].mean().unstack("task")
        for rate, table in means.groupby(level="lr"):
            by_method = table.droplevel("lr").dropna().mean(axis=1)
            if subject not in by_method or reference not in by_method:
                continue
            rows.append(
                {
                    "batch": int(batch),
                    "budget": budget,
                    "rate": f"{rate:.2g}",
                    f"{subject} - {reference}": f"{by_method[subject] - by_method[reference]:+.1f}",
                    **{str(m): float(by_method[m]) if m in by_method else None for m in methods},
                }
            )
    return rows
