"""The picture of a bench shows the figures that its JSON holds."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.colors import to_rgb

from harness.bench.table import Bench, Panel
from reports.figures import render_image
from reports.plots.bench import draw_bench
from reports.plots.style import PALETTE

BARS = Panel("ratio", ["a", "b"], {"ratio": [2.0, 3.0]}, [1.5, 2.5], [2.25, 4.0], mark=1.0)
STACKED = Panel("MiB", ["a", "b"], {"weights": [1.0, 2.0], "gradients": [0.5, 4.0], "rest": [3.0, 0.5]})
CURVE = Panel("ms per replica", [], {"pack": [10.0, 6.0, 5.9]}, mark=2, places=[1, 2, 4])


def content(*panels: Panel) -> dict[str, Any]:
    return Bench("step", {"device": "a processor"}, [{"what": "a"}], [], panels).content()


def test_bars_whiskers_and_the_mark() -> None:
    (axes,) = draw_bench(content(BARS)).figure.axes
    assert [bar.get_width() for bar in axes.patches] == [2.0, 3.0]
    ends = [list(segment[:, 0]) for segment in axes.collections[0].get_segments()]
    assert ends == [pytest.approx([1.5, 2.25]), pytest.approx([2.5, 4.0])]
    assert any(list(line.get_xdata()) == [1.0, 1.0] for line in axes.lines)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_stacked_bars_end_at_the_sum_in_colours_told_apart() -> None:
    (axes,) = draw_bench(content(STACKED)).figure.axes
    assert [bar.get_x() + bar.get_width() for bar in axes.patches[4:]] == [4.5, 6.5]
    assert [bar.get_facecolor()[:3] for bar in axes.patches[::2]] == [to_rgb(c) for c in PALETTE[:3]]


def test_a_curve_over_sizes_and_its_words() -> None:
    drawing = draw_bench(content(BARS, CURVE))
    line = drawing.figure.axes[1].lines[0]
    assert list(line.get_xdata()) == [1, 2, 4] and list(line.get_ydata()) == [10.0, 6.0, 5.9]
    assert "Bars of ratio: a 2 and b 3." in drawing.alt and "1 10, 2 6 and 4 5.9" in drawing.alt
    assert "device a processor" in drawing.caption


def test_the_same_bytes_each_time() -> None:
    made = content(BARS, STACKED, CURVE)
    for kind in ("png", "svg"):
        assert render_image(draw_bench(made), kind) == render_image(draw_bench(made), kind)
