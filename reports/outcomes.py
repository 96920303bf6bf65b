"""What else a method is judged by beside its scores: tables of stability and of cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.core.text import format_bytes
from reports.cells import format_p
from reports.document import Extra
from reports.statistics.analysis import Analysis
from reports.statistics.collapse import BY_LUCK, FAR_BELOW, FAR_OUT, LEAST_GAIN
from reports.statistics.savings import STATE_PARTS
from reports.statistics.stability import describe_dominations

RULE_NOTE = (
    "A run has collapsed if its loss or score is not finite. On a task that some method learned it has also collapsed "
    "if it predicts the same for every example, if it ends at most {margin:g} points above the majority baseline, or "
    "if it gains at most a third of what the task's best method gains and half of what its own method's best run gains."
)
DROP_NOTE = (
    f"On any task a run has collapsed if it lies {FAR_BELOW:g} points and {FAR_OUT:g} standard deviations (of the "
    "better half) below its method's median and has lost a third of that median's gain."
)
LEARNED_NOTE = (
    f"A task is learned if the best method gains {LEAST_GAIN:g} points over the majority baseline; the best method has "
    f"the highest median, or the best run less {BY_LUCK:g} points. Neither equivalence nor non-inferiority is claimed "
    "on a task where runs collapsed or that no method learned."
)
RATE_NOTE = (
    "Rate: of collapsed runs, with its 95 % interval (Wilson). McNemar p: exact test of the collapses against the "
    "baseline, paired by seed, not adjusted. Means: over all runs, and over those that did not collapse."
)
COST_NOTE = (
    "In brackets the method that is compared with. A speed is compared only if both profiles were undisturbed (other "
    "processes used at most a tenth of the processors' time, and none the GPU) and their spreads (10th to 90th "
    "percentile of the timed steps) do not overlap. A peak is one measurement."
)


def build_stability_table(analysis: Analysis) -> list[Extra]:
    """One row per task and method."""
    rows = [_format_stability(row) for row in analysis.rows["stability"]]
    if not rows:
        return []
    drop_lone_suite(rows)
    rule = RULE_NOTE.format(margin=analysis.question.collapse_margin)
    dominations = [one for of_suite in analysis.dominations.values() for one in of_suite]
    return [
        ("Stability", rows, [*describe_dominations(dominations), RATE_NOTE, rule, DROP_NOTE, LEARNED_NOTE], "stability")
    ]


def drop_lone_suite(rows: Sequence[dict[str, Any]]) -> None:
    """Remove the column `suite` from rows that are all of one suite, where it says nothing."""
    if len({row["suite"] for row in rows}) == 1:
        for row in rows:
            del row["suite"]


def _format_stability(row: Mapping[str, Any]) -> dict[str, Any]:
    # one run may collapse by chance; two or more that all do are the method's fault
    is_never_learned = row["learned"] and 2 <= row["runs"] == row["collapsed"]
    return {
        "suite": row["suite"],
        "task": row["task"],
        "method": row["method"],
        "collapsed": f"{row['collapsed']} of {row['runs']}",
        "rate (95 % interval)": (
            f"{100 * row['rate']:.0f} % ({100 * row['rate_low']:.0f} to {100 * row['rate_high']:.0f})"
        ),
        "against": row["against"],
        "McNemar p": format_p(row["mcnemar_p"]),
        "mean": _format_mean(row, "mean"),
        "mean without collapsed": _format_mean(row, "mean_without_collapsed"),
        "note": "no method learned the task" if not row["learned"] else "never learned" if is_never_learned else "",
    }


def _format_mean(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return ""
    return f"{value:.1f}" if low is None else f"{value:.1f} ({low:.1f} to {high:.1f})"


def build_cost_table(analysis: Analysis) -> list[Extra]:
    """What each method costs beside the one that it is compared with, once per pair."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for judged in analysis.judged:
        c, saving = judged.comparison, judged.saving
        if saving.trained is None and saving.state is None and saving.peak is None and saving.speed is None:
            continue
        # costs are the same on all tasks, so the first comparison of a pair stands for the others
        rows.setdefault(
            (c.suite, c.method, c.first),
            {
                "suite": c.suite,
                "method": c.method,
                "against": c.first,
                "trainable parameters": _format_beside(saving.trained, "{:,}".format),
                "training state": _format_beside(saving.state, format_bytes),
                "peak memory": _format_beside(saving.peak, format_bytes, saving.peak_kind),
                "speed": saving.speed.describe(c.first) if saving.speed else "",
            },
        )
    state = f"Training state: {STATE_PARTS}."
    return [("Cost, method against method", list(rows.values()), [COST_NOTE, state], "cost")] if rows else []


def _format_beside(pair: tuple[int, int] | None, form: Callable[[int], str], kind: str = "") -> str:
    """'512 (1,024)': the method's figure, and that of the one it is compared with."""
    if pair is None:
        return ""
    return f"{form(pair[0])} ({form(pair[1])}){f' {kind}' if kind else ''}"
