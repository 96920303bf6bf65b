"""Truncated rows that a user must know of: what share, at which length, which flag helps."""

from __future__ import annotations

import pytest

from harness.core.record import Record, Truncation
from harness.core.truncation import compute_truncated_shares, describe_truncation
from tests.reports.records import cell, record


def cut(train: int, first: int = 0, second: int = 0, task: str = "rte") -> Record:
    """So many truncated rows of 1,000 train rows and of two eval splits of 100 rows."""
    names = ("train", "validation_matched", "validation_mismatched")
    total = dict(zip(names, (1000, 100, 100), strict=True))
    truncation = Truncation(rows=dict(zip(names, (train, first, second), strict=True)), total=total)
    return record(70.0, cell(task, protocol={"max_length": 32})).model_copy(update={"truncation": truncation})


def test_eval_splits_count_together() -> None:
    truncation = cut(920, 10, 30).truncation
    assert truncation is not None
    assert compute_truncated_shares(truncation) == {"train": 0.92, "eval": 0.2}


@pytest.mark.parametrize("few", [cut(50), cut(0), cut(50, 10, 0)], ids=["5 %", "none", "5 % of eval rows"])
def test_nothing_is_said_up_to_5_percent(few: Record) -> None:
    assert describe_truncation(few) == ""


@pytest.mark.parametrize("many", [cut(51), cut(0, 11, 0)], ids=["train", "eval"])
def test_more_than_5_percent_of_either_part_is_said(many: Record) -> None:
    assert describe_truncation(many)


def test_the_line_has_share_length_and_flag() -> None:
    line = describe_truncation(cut(920, 10, 30))
    for part in ("rte", "92 %", "20 %", "32 tokens", "--max-length"):
        assert part in line
    assert "\n" not in line


def test_a_record_without_the_counts_says_nothing() -> None:
    assert describe_truncation(record(70.0)) == ""
