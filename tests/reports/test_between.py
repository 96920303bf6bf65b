"""`--between`: names of methods and seeds, with options that have commas of their own."""

from __future__ import annotations

import pytest

from harness.core.errors import UserError
from reports.between import pair_sides
from tests.reports.records import cell, record

RECORDS = [
    *(record(60.0 + s, cell("rte", seed=s)) for s in range(3)),
    *(record(61.0, cell("rte", "lorasp", s, options={"rank": 8, "ratio": 0.25})) for s in range(1, 4)),
    record(None, cell("rte", "lorasp", 0, options={"rank": 8, "ratio": 0.25})),
    record(70.0, cell("cola", "lora", 0)),
]


def test_two_methods_are_paired_by_seed() -> None:
    before, after, names = pair_sides(RECORDS, "lora,lorasp:rank=8,ratio=0.25", "rte")
    assert (before.name, after.name, names) == ("lora", "lorasp:rank=8,ratio=0.25", ("1", "2"))
    assert [r.cell.seeds["init"] for r in before.records] == [r.cell.seeds["init"] for r in after.records] == [1, 2]
    first, second, _ = pair_sides(RECORDS, "lorasp:rank=8,ratio=0.25,lora", "rte")
    assert (first.records, second.records) == (after.records, before.records)


def test_two_seeds() -> None:
    before, after, names = pair_sides(RECORDS, "lora@2,lora@0", "rte")
    assert [s.records[0].cell.seeds["init"] for s in (before, after)] == [2, 0] and names == ("2 to 0",)


@pytest.mark.parametrize(
    ("between", "task", "message"),
    [
        ("lora", "rte", "one side only"),
        ("lora,lorsp:rank=8,ratio=0.25", "rte", "did you mean 'lorasp:rank=8,ratio=0.25'"),
        ("lora,lora", "rte", "both sides are the same method"),
        ("lora@0,lora@0", "rte", "both sides are the same run"),
        ("lora@0,lora", "rte", "a seed on one side only"),
        ("lora@0,lora@9", "rte", "unknown seed in --between lora@9: '9': allowed: 0, 1, 2"),
        ("lora,lorasp:rank=8,ratio=0.25", "sst2", "unknown task of this run 'sst2'"),
        ("", "rte", "one side only"),
        (",", "rte", "unknown method of this run ''"),
    ],
)
def test_a_wrong_side_is_one_line(between: str, task: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pair_sides(RECORDS, between, task)


def test_cells_of_two_models_are_no_comparison() -> None:
    other = cell("rte", "dora", 0, model={"name": "other", "revision": "b" * 64})
    with pytest.raises(UserError, match="model differs"):
        pair_sides([*RECORDS, record(1.0, other)], "lora,dora", "rte")


def test_no_seed_in_common() -> None:
    with pytest.raises(UserError, match="no seed on rte has a score on both sides"):
        pair_sides([RECORDS[0], *RECORDS[3:6]], "lora,lorasp:rank=8,ratio=0.25", "rte")
