"""Figures hold the numbers of the tables, know their runs, and are left out where there are none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from harness.core.record import Profile, Trial, Tuned
from reports.compare import estimate_task
from reports.document import Drawing
from reports.figures import draw_figures, render_image
from reports.frames import Grid, build_grids
from reports.plots.curves import compute_gaps_to_best
from reports.plots.style import MIN_FONT_SIZE, PALETTE
from reports.plots.tradeoff import find_pareto_front
from reports.registered import SuiteContext
from reports.statistics.analysis import analyse
from tests.reports.predicted import guesses, kept
from tests.reports.records import EIGHT, cell, grid_of, many, profile, record

TWO = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}


def drawn(scores: dict[tuple[str, str], list[float]], *profiled: str) -> tuple[Grid, dict[str, Drawing]]:
    (grid,) = build_grids(grid_of(scores))
    return grid, draw_all(grid, [profile(name) for name in profiled])


def draw_all(grid: Grid, profiles: Sequence[Profile] = (), tuned: Sequence[Tuned] = ()) -> dict[str, Drawing]:
    """The figures of a suite, with those that show differences."""
    return draw_figures(SuiteContext(grid, profiles, tuned=tuned, analysis=analyse(grid.records, profiles)))


def test_points_and_bars_are_the_estimates() -> None:
    grid, made = drawn(TWO, "lora", "lorasp")
    assert list(made) == ["scores", "differences", "tradeoff", "seeds", "loss", "cost"]
    axes = made["scores"].figure.axes[0]
    for method, container in zip(grid.methods, axes.containers, strict=True):
        value = estimate_task(grid, "cola", method, "glue")
        line, _, bars = container
        assert value is not None and line.get_ydata() == pytest.approx([value.mean])
        assert bars[0].get_segments()[0][:, 1] == pytest.approx([value.low, value.high])
    dots = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    assert dots == [[60.0, 62.0, 64.0], [59.0, 62.0, 61.0]]
    assert [bar.get_width() for bar in made["cost"].figure.axes[1].patches] == [80.0, 80.0]


def test_differences_are_those_of_the_comparisons(tmp_path: Path) -> None:
    """Also where examples count: the figure and the table have one interval."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 80)
    records = [
        kept(tmp_path, guesses(rng, targets, share), targets, method=method, seed=seed)
        for method, share in (("lora", 0.8), ("lorasp", 0.7))
        for seed in range(4)
    ]
    (grid,) = build_grids(records)
    analysis = analyse(records, [], cells=tmp_path)
    comparison = analysis.judged[0].comparison
    assert comparison.target == "new seeds and new examples" and comparison.estimate is not None
    drawing = draw_figures(SuiteContext(grid, analysis=analysis))["differences"]
    _, _, bars = drawing.figure.axes[0].containers[0]
    ends = bars[0].get_segments()[0][:, 0]
    assert ends == pytest.approx([comparison.estimate.low, comparison.estimate.high])


def test_memory_by_category_adds_up_to_the_peak() -> None:
    (grid,) = build_grids([record(60.0), record(61.0, cell(method="lorasp"))])
    state = record(1.0).train_state
    made = draw_figures(SuiteContext(grid, [profile("lora", train_state=state), profile("lorasp")]))
    bars = [container.patches for container in made["cost"].figure.axes[0].containers]
    widths = np.array([[bar.get_width() for bar in part] for part in bars]) * 2**20
    assert widths[:3, 0] == pytest.approx([4616, 4616, 9232]) and widths[:3, 1] == pytest.approx(0)
    assert widths.sum(axis=0) == pytest.approx(3 * 2**20)


def test_each_marker_knows_its_runs() -> None:
    grid, made = drawn(TWO, "lora", "lorasp")
    for name in ("scores", "differences", "tradeoff", "seeds"):
        found = {line.get_gid(): line for axes in made[name].figure.axes for line in axes.lines if line.get_gid()}
        assert set(found) == set(made[name].points)
        assert all(len(found[gid].get_xdata()) == len(runs) for gid, runs in made[name].points.items())
    assert made["scores"].points["runs0"] == [(r.key,) for r in grid.of("cola", "lora")]
    assert made["scores"].points["runs1"] == [tuple(r.key for r in grid.of("cola", "lora"))]


def test_what_has_no_numbers_is_not_drawn() -> None:
    (grid,) = build_grids([record(60.0), record(61.0, cell(method="lorasp", seed=9))])
    assert list(draw_figures(SuiteContext(grid))) == ["scores", "tradeoff", "loss"]
    (grid,) = build_grids([record(None, loss_curve=[])])
    assert draw_figures(SuiteContext(grid, [profile("other")])) == {}


def test_many_methods_get_a_line_each() -> None:
    (grid,) = build_grids(grid_of({("cola", f"lora{i}"): [60.0 + i, 61.0 + i] for i in range(12)}))
    made = draw_all(grid)
    assert list(made) == ["scores", "differences", "tradeoff", "loss"]
    axes = made["scores"].figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(grid.methods)
    means = [x for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert means == [60.5 + i for i in range(12)]


def test_map_and_profiles_come_with_enough_methods_and_tasks() -> None:
    scores = {(t, f"lora{m}"): [60.0 + m, 61.0 + m] for t in EIGHT[:3] for m in range(4)}
    grid, made = drawn(scores)
    assert {"heatmap", "profiles"} <= set(made)
    squares = made["heatmap"].figure.axes[0].images[0].get_array()
    assert squares.tolist() == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert compute_gaps_to_best(grid, "lora0") == [2.5] * 3 + [3.5] * 3  # the best mean is 63.5 on each task
    curve = made["profiles"].figure.axes[0].lines[0]
    at = dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True))
    assert at[2.5] == 0.5 and at[3.5] == 1.0
    assert "profiles" not in drawn({k: v for k, v in scores.items() if k[0] != "cola"})[1]


def test_runs_without_a_score_count_in_the_profile_and_never_arrive() -> None:
    scores = {(t, f"lora{m}"): [60.0 + m, 61.0 + m] for t in EIGHT[:3] for m in range(4)}
    scores |= {(t, "lora0"): [60.0, None] for t in EIGHT[:3]}
    _, made = drawn(scores)
    lines = made["profiles"].figure.axes[0].lines
    assert [max(line.get_ydata()) for line in lines] == [0.5, 1.0, 1.0, 1.0]


def test_front_is_that_of_a_brute_force_search() -> None:
    rng = np.random.default_rng(0)
    spots = [(i, float(x), float(y)) for i, (x, y) in enumerate(rng.integers(0, 12, (40, 2)))]
    better = [
        s for s in spots if not any(o[1] <= s[1] and o[2] >= s[2] and (o[1] < s[1] or o[2] > s[2]) for o in spots)
    ]
    assert {s[1:] for s in find_pareto_front(spots)} == {s[1:] for s in better}


def test_text_is_large_enough_and_a_method_keeps_its_colour() -> None:
    records = grid_of({(t, f"lora{m}"): [60.0 + m, 61.5 + m, 63.0] for t in EIGHT[:3] for m in range(4)})
    (grid,) = build_grids(records)
    made = draw_all(grid, [profile(m) for m in grid.methods])
    assert len(made) == 8
    for drawing in made.values():
        texts = [t for t in drawing.figure.findobj(Text) if t.get_text()]
        assert texts and min(t.get_fontsize() for t in texts) >= MIN_FONT_SIZE >= 9
    expected = {m: to_rgb(PALETTE[i]) for i, m in enumerate(grid.methods)}
    for name in ("scores", "differences", "tradeoff", "loss", "profiles"):
        handles, labels = made[name].figure.axes[0].get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            line = handle[0] if isinstance(handle, tuple) else handle
            assert to_rgb(line.get_color()) == expected[label], name
    assert [to_rgb(b.get_facecolor()) for b in made["cost"].figure.axes[1].patches] == list(expected.values())


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files_are_of_their_kind_and_the_same_each_time(kind: str, start: bytes) -> None:
    contents = [render_image(drawn(TWO)[1]["scores"], kind) for _ in range(2)]
    assert contents[0].startswith(start) and contents[0] == contents[1]


def test_a_dollar_sign_in_a_name_is_no_formula() -> None:
    _, made = drawn({("cola", r"a$\frac$"): [60.0, 61.0], ("cola", "b"): [60.0, 61.0]})
    assert all(b"frac" in render_image(made[name], "svg") for name in ("scores", "tradeoff"))


def test_no_label_is_left_in_the_language_of_formulas() -> None:
    made = [record(60.0 + i, cell(method=f"m{i}")) for i in range(3)]
    counts = [10**k for k in (2, 4, 6)]
    made = [
        r.model_copy(update={"parameters": r.parameters.model_copy(update={"adapter_trained": n})})
        for r, n in zip(made, counts, strict=True)
        if r.parameters
    ]
    (grid,) = build_grids(made)
    drawing = draw_figures(SuiteContext(grid))["tradeoff"]
    assert drawing.figure.axes[0].get_xscale() == "log"
    labels = [label.get_text() for label in drawing.figure.axes[0].get_xticklabels()]
    assert {"1k", "10k", "1M"} <= set(labels) and not any("$" in label for label in labels)


LONG = [f"lorasp:ratio=0.{i},select=row,targets=all-linear" for i in range(7)] + [f"m{i}" for i in range(8)]


@pytest.mark.parametrize("methods", [LONG[:2], LONG[3:10], LONG], ids=len)
def test_no_text_is_cut_off_and_no_two_overlap(methods: list[str]) -> None:
    """15 methods on 6 tasks, long names among them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    scores = {(t, m): [60.0 + i, 62.5 + i, 63.0] for t in EIGHT[:6] for i, m in enumerate(methods)}
    (grid,) = build_grids(grid_of(scores, EIGHT[:6]))
    own = [tuned(t, m) for t in EIGHT[:6] for m in methods]
    made = draw_all(grid, [profile(m, peak_bytes=2**28 + i * 2**22) for i, m in enumerate(methods)], own)
    assert len(made) == (9 if len(methods) > 3 else 7)
    for name, drawing in made.items():
        canvas = FigureCanvasAgg(drawing.figure)
        canvas.draw()
        area = drawing.figure.bbox.padded(1)
        texts = [t for legend in drawing.figure.legends for t in legend.get_texts()]
        texts += [t for axes in drawing.figure.axes for t in seen(axes)]
        boxes = {t: t.get_window_extent(canvas.get_renderer()) for t in texts}
        for text, box in boxes.items():
            assert area.containsx(box.x0) and area.containsx(box.x1), (name, text)
            assert area.containsy(box.y0) and area.containsy(box.y1), (name, text)
        for (one, box), (two, other) in itertools.combinations(boxes.items(), 2):
            assert not box.padded(-1).overlaps(other.padded(-1)), (name, one, two)


def seen(axes: Axes) -> list[Text]:
    """Titles, and the labels of the ticks within the axis' limits."""
    made = [t for t in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label) if t.get_text()]
    ticks = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]
    made += [t for t in ticks if t.get_text() and t.get_visible()]
    return made if axes.get_visible() and axes.axison else []


def tuned(task: str, method: str) -> Tuned:
    trials = [Trial(values={"lr": 1e-3}, keys=["k"], score=60.0 + i, steps=7, seconds=0.5) for i in range(12)]
    start = {"suite": "glue", "tasks": [task], "method": method, "ranges": {"lr": (1e-4, 1e-1)}}
    return Tuned.model_validate(start | {"trials": trials, "best": 3, "edges": {}})


def test_many_methods_and_seeds_stay_readable() -> None:
    (grid,) = build_grids(many(methods=12, seeds=3))
    width, height = draw_all(grid)["heatmap"].figure.get_size_inches()
    assert height / 12 > 0.2 and width < 12
