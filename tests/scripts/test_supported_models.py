"""The page of supported models says what the script measures, and that everything on it agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import supported_models
from scripts.supported_models import (
    COLUMNS,
    METHODS,
    NOT_HERE,
    OUT,
    TOLERANCE,
    measure_family,
    read_table,
)
from scripts.tiny_models import BOTH, FAMILIES

ROWS = {(row["model"], row["method"]): row for row in read_table(OUT.read_text())}
FAST = {"bert": ("lora:rank=4", "prompt:tokens=4"), "t5": ("lora:rank=4",), "gpt2": ("lora:rank=4", "prompt:tokens=4")}


def test_every_family_and_method_has_a_row_and_each_agrees() -> None:
    assert set(ROWS) == {(name, supported_models._format_method(method)) for name in FAMILIES for method in METHODS}
    for row in ROWS.values():
        cells = [row[column] for column in COLUMNS[2:] if row[column] != NOT_HERE]
        for cell in cells:
            agree, _, difference = cell.partition(", ")
            assert float(agree) == 1.0 and float(difference or 0) <= TOLERANCE
    for name, family in FAMILIES.items():  # LoRA works on all, for each kind of task that the model can do
        filled = [column for column in COLUMNS[2:] if ROWS[name, "lora"][column] != NOT_HERE]
        assert len(filled) == 2 * len(family.kinds) and family.kinds[0] == BOTH[0]


def same(name: str, methods: tuple[str, ...]) -> None:
    for row in measure_family(name, methods):
        stored = ROWS[row["model"], row["method"]]
        assert [row[c].partition(",")[0] for c in COLUMNS] == [stored[c].partition(",")[0] for c in COLUMNS]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_some_rows_are_those_that_the_script_measures(name: str) -> None:
    same(name, FAST[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_all_rows_are_those_that_the_script_measures(name: str) -> None:
    same(name, METHODS)


def test_a_prediction_that_differs_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supported_models, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="distilbert, lora"):
        measure_family("distilbert", ("lora:rank=4",))
