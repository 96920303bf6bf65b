"""Cells that must not be compared are refused with the field that differs."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from reports.statistics.analysis import analyse
from tests.reports.records import cell, record


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("protocol", {"protocol": {"name": "paper"}}),
        ("model", {"model": ModelRef(name="other", revision="b" * 64)}),
        ("data", {"data": "other rows"}),
        ("suite version", {"suite_version": 2}),
    ],
)
def test_refused(field: str, change: dict[str, Any]) -> None:
    records = [record(70.0 + s, cell("rte", seed=s)) for s in range(3)]
    records += [record(71.0 + s, cell("rte", "lorasp", seed=s, **change)) for s in range(3)]
    with pytest.raises(UserError, match=f"on rte is no comparison: {field} differs") as caught:
        analyse(records, [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"protocol": {"lr": 1e-4}}, {"dtype": "bf16"}, {"quantize": "nf4"}])
def test_what_a_method_sets_for_itself_may_differ(change: dict[str, Any]) -> None:
    records = [record(70.0 + s, cell("rte", seed=s)) for s in range(3)]
    records += [record(71.0 + s + s % 2, cell("rte", "lorasp", seed=s, **change)) for s in range(3)]
    assert analyse(records, []).judged[0].comparison.pairs == 3


def test_other_scored_rows_make_no_pairs() -> None:
    records = [record(70.0, cell("rte")), record(71.0, cell("rte", "lorasp", protocol={"eval_rows": 10}))]
    assert analyse(records, []).judged[0].verdict.kind == "unpaired"
