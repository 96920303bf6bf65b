"""Rows longer than the length limit: when so many are truncated that a user must know, and how to say it."""

from __future__ import annotations

from harness.core.metric import METRICS
from harness.core.record import Record, Truncation

MAX_SHARE = 0.05
"""Share of truncated train or eval rows up to which nothing is said beside the table of protocols."""
FLAG = "--max-length N raises the limit"
TARGET_FLAG = "--max-length N, or of target texts --max-target-length N, raises the limit"


def compute_truncated_shares(truncation: Truncation) -> dict[str, float]:
    """'train' and 'eval' (all eval splits together) -> the share of their rows that are truncated, 0 to 1."""
    shares = {}
    for part in ("train", "eval"):
        splits = [name for name in truncation.total if (name == "train") == (part == "train")]
        total = sum(truncation.total[name] for name in splits)
        shares[part] = sum(truncation.rows[name] for name in splits) / total if total else 0.0
    return shares


def describe_shares(record: Record) -> str:
    """'92 % of the train rows and 90 % of the eval rows' where one of the two is above 5 %, else ''."""
    if record.truncation is None:
        return ""
    shares = compute_truncated_shares(record.truncation)
    if max(shares.values()) <= MAX_SHARE:
        return ""
    return " and ".join(f"{_format_share(share)} of the {part} rows" for part, share in shares.items() if share)


def _format_share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1g} %"


def describe_truncation(record: Record) -> str:
    """What a run says of a task whose rows are truncated, as one line; '' where few are."""
    shares = describe_shares(record)
    cell = record.cell
    limit = cell.protocol.max_length
    return shares and f"{cell.suite} {cell.task}: {shares} are truncated at {limit} tokens; {choose_flag(record)}"


def choose_flag(record: Record) -> str:
    """Which flag helps: target texts that are generated have a limit of their own."""
    generates = any(name in METRICS and METRICS.get(name).reads == "texts" for name in record.scores)
    return TARGET_FLAG if generates else FLAG
