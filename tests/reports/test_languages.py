"""Scores by language."""

from __future__ import annotations

import statistics

from reports.frames import build_grids
from reports.tables.languages import build_language_table
from tests.reports.records import cell, record


def test_the_drop_is_to_english_and_paired_by_seed() -> None:
    scores = {"lora": [(80.0, 70.0), (90.0, 60.0), (82.0, 71.0)], "head": [(50.0, 55.0)]}
    records = [
        record(en, cell("en", method, seed, suite="xnli"), ["en"], scores={"accuracy_de": de, "accuracy_en": en})
        for method, pairs in scores.items()
        for seed, (en, de) in enumerate(pairs)
    ]
    (grid,) = build_grids(records)
    table = build_language_table(grid)
    assert table is not None and table.head == ("trained on", "scored in", "lora", "head")
    english, german = table.rows
    assert english[:2] == ("en", "en") and english[3] == "50.0"
    assert german[:2] == ("en", "de") and german[3] == "55.0 (+5.0)"
    half = 4.302653 * statistics.stdev([-10, -30, -11]) / 3**0.5  # the 97.5 % point of t with 2 degrees of freedom
    assert german[2].endswith(f"(-17.0 ± {half:.1f})")


def test_other_suites_have_none() -> None:
    assert build_language_table(build_grids([record(80.0)])[0]) is None
