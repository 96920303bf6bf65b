"""Figures hold the numbers of the tables, and are left out where there are none."""

from __future__ import annotations

import pytest

from reports.compare import task_estimate
from reports.figures import figures
from reports.frames import grids
from tests.reports.records import cell, grid_of, profile, record


def test_points_and_bars_are_the_estimates() -> None:
    (grid,) = grids(grid_of({("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}))
    drawn = figures(grid, [profile("lora"), profile("lorasp")])
    assert list(drawn) == ["scores", "differences", "loss", "cost"]
    axes = drawn["scores"].axes[0]
    for method, container in zip(grid.methods, axes.containers, strict=True):
        value = task_estimate(grid, "cola", method, "glue")
        line, _, bars = container
        assert value is not None and line.get_ydata() == pytest.approx([value.mean])
        assert bars[0].get_segments()[0][:, 1] == pytest.approx([value.low, value.high])
    dots = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    assert dots == [[60.0, 62.0, 64.0], [59.0, 62.0, 61.0]]
    assert [bar.get_width() for bar in drawn["cost"].axes[1].patches] == [80.0, 80.0]


def test_what_has_no_numbers_is_not_drawn() -> None:
    (grid,) = grids([record(60.0), record(61.0, cell(method="lorasp", seed=9))])
    assert list(figures(grid, [])) == ["scores", "loss"]
    (grid,) = grids([record(None, loss_curve=[])])
    assert figures(grid, [profile("other")]) == {}


def test_many_methods_get_a_line_each() -> None:
    (grid,) = grids(grid_of({("cola", f"lora{i}"): [60.0 + i, 61.0 + i] for i in range(12)}))
    drawn = figures(grid, [])
    assert list(drawn) == ["scores"]
    axes = drawn["scores"].axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(grid.methods)
    means = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert means == [60.5 + i for i in range(12)]
