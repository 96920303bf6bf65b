"""The table and the figure of what fine-tuning forgets."""

from __future__ import annotations

import pytest
from scipy import stats

from harness.core.record import Forgetting, Record
from reports.frames import build_grids
from reports.plots.tradeoff import draw_forgetting
from reports.registered import SuiteContext
from reports.statistics.forgetting import estimate_forgetting
from reports.tables.forgetting import build_forgetting_table
from tests.reports.records import cell, record

CHANGES = {"lora": (0.5, 0.25, 0.75), "lorasp": (-0.125, 0.125, 0.25), "head": (0.0, 0.0, 0.0)}


def build_records(text: str = "a") -> list[Record]:
    made = []
    for place, (method, changes) in enumerate(CHANGES.items()):
        for seed, change in enumerate(changes):
            losses = Forgetting(text="t", sha256=text, tokens=9, unknown_tokens=0, before=2.0, after=2.0 + change)
            made.append(record(50.0 + place + seed, cell("rte", method, seed), ["rte"], forgetting=losses))
    return made


def test_the_table_has_means_and_intervals_over_seeds() -> None:
    (grid,) = build_grids(build_records())
    table = build_forgetting_table(grid)
    assert table is not None
    rows = {str(row[0]): row[1:] for row in table.rows}
    half = stats.sem(CHANGES["lora"]) * stats.t.ppf(0.975, 2)
    assert rows["lora"] == ("2.0000", "2.5000", f"+0.5000 ± {half:.4f}", "3")
    assert rows["head"] == ("2.0000", "2.0000", "+0.0000", "3")


def test_the_figure_has_a_point_per_method() -> None:
    (grid,) = build_grids(build_records())
    drawing = draw_forgetting(SuiteContext(grid, [], [], [], None))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    points = {line.get_label(): line.get_xdata()[0] for line in axes.lines if line.get_label() in CHANGES}
    assert points == {method: pytest.approx(sum(values) / 3) for method, values in CHANGES.items()}
    # head has the highest score and forgets nothing
    assert drawing.alt.endswith("On the Pareto front by forgetting in nats per token: head.")


def test_losses_on_different_texts_are_not_compared() -> None:
    records = build_records()
    other = [one.model_copy(update={"forgetting": None}) for one in records[:3]]
    mixed = [*build_records("b")[:3], *records[3:]]
    (grid,) = build_grids(mixed)
    assert estimate_forgetting(grid, "lora") is None and estimate_forgetting(grid, "lorasp") is None
    assert draw_forgetting(SuiteContext(grid, [], [], [], None)) is None
    table = build_forgetting_table(grid)
    assert table is not None and "2 different texts" in table.notes[-1] and not any(row[3] for row in table.rows)
    (partial,) = build_grids([*other, *records[3:]])
    assert estimate_forgetting(partial, "lora") is None and estimate_forgetting(partial, "lorasp") is not None


def test_records_without_it_have_no_table() -> None:
    (grid,) = build_grids([record(50.0)])
    assert build_forgetting_table(grid) is None and draw_forgetting(SuiteContext(grid, [], [], [], None)) is None
