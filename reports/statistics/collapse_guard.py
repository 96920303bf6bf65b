"""What a verdict without a collapsed run leaves open: collapses that few seeds cannot show, and what they would cost.

A run that collapses loses up to what its task's best method gains over the majority baseline. So a rate of collapses
r of one method moves its mean over all runs by up to r times that.
"""

from __future__ import annotations

from harness.core.looks import Decision
from reports.statistics.collapse import compute_upper_rate
from reports.statistics.comparisons import Comparison


def describe_guard(c: Comparison, decision: Decision) -> str:
    """What the seeds without a collapse exclude, and what others would do to the claim; '' where runs collapsed."""
    shares = [one.shares[name] for one in c.collapses for name in (c.method, c.first) if name in one.shares]
    loss = _compute_loss(c)
    if not shares or any(share.collapsed for share in shares) or loss <= 0 or c.difference is None:
        return ""
    runs = min(share.runs for share in shares)
    rate = compute_upper_rate(0, runs)
    start = f"No run collapsed in {runs} seeds of either method, which excludes rates above {_format_rate(rate)} %."
    if decision == "equivalent":
        return f"{start} At that rate the mean over all runs would move by up to {rate * loss:.1f} points."
    if decision not in ("better", "worse"):
        return ""
    leader, other = (c.method, c.first) if c.difference > 0 else (c.first, c.method)
    undoing = abs(c.difference) / loss
    if undoing > rate:
        return f"{start} Only a higher rate of {leader} alone could undo the difference over all runs."
    return f"{start} If {_format_rate(undoing)} % of {leader} and none of {other} did, it would undo the difference."


def _compute_loss(c: Comparison) -> float:
    """The most points that a collapsed run loses on the mean over the tasks."""
    gains = [one.attained - one.baseline for one in c.collapses if one.attained is not None]
    return max(gains, default=0.0) / max(1, len(c.tasks))


def _format_rate(rate: float) -> str:
    percent = 100 * rate
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"
