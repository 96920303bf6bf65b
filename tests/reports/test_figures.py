"""Figures hold the numbers of the tables, and are left out where there are none."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from PIL import Image

from harness.core.record import Record
from harness.core.tuned import Trial, Tuned
from reports.compare import estimate_task
from reports.document import Drawing
from reports.figures import draw_figures, render_image
from reports.frames import Grid, build_grids
from reports.plots.curves import compute_gaps_to_best, compute_profile
from reports.plots.style import COLUMN_FONT_SIZE, COLUMN_WIDTH, FONT_SIZE, TEXT_WIDTH
from reports.plots.tradeoff import find_pareto_front
from reports.registered import SuiteContext
from reports.statistics.analysis import analyse
from reports.statistics.families import Question
from tests.reports.predicted import guesses, kept
from tests.reports.records import EIGHT, cell, grid_of, profile, record

Scores = dict[tuple[str, str], list[float | None]]
TWO: Scores = {("cola", "lora"): [60.0, 62.0, 64.0], ("cola", "lorasp"): [59.0, 62.0, 61.0]}
WIDTHS = (TEXT_WIDTH, COLUMN_WIDTH)


def draw(records: list[Record], *profiled: str, width: float = TEXT_WIDTH) -> tuple[Grid, dict[str, Drawing]]:
    profiles = [profile(name) for name in profiled]
    (grid,) = build_grids(records)
    context = SuiteContext(grid, profiles, analysis=analyse(records, profiles), figure_width=width)
    return grid, draw_figures(context)


def drawn(scores: Scores, *profiled: str) -> tuple[Grid, dict[str, Drawing]]:
    return draw(grid_of(scores), *profiled)


def test_points_and_bars_are_the_estimates() -> None:
    grid, made = drawn(TWO, "lora", "lorasp")
    assert list(made) == ["scores", "differences", "tradeoff", "seeds", "loss", "cost"]
    axes = made["scores"].figure.axes[0]
    ((line, _, (bars,)),) = axes.containers
    values = [estimate_task(grid, "cola", method, "glue") for method in grid.methods]
    assert list(line.get_xdata()) == pytest.approx([value.mean for value in values if value])
    ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
    assert ends == pytest.approx(np.array([[value.low, value.high] for value in values if value]))
    (dots,) = [line for line in axes.lines if line.get_marker() == "."]
    assert list(dots.get_xdata()) == [60.0, 62.0, 64.0, 59.0, 62.0, 61.0]
    assert [round(y) for y in dots.get_ydata()] == [0, 0, 0, 1, 1, 1]
    # median, slowest and fastest tenth of steps of 0.1, 0.2 and 0.3 s with 16 samples
    ((rates, _, (spreads,)),) = made["cost"].figure.axes[1].containers
    assert rates.get_xdata() == pytest.approx([80.0, 80.0])
    assert spreads.get_segments()[0][:, 0] == pytest.approx([16 / 0.28, 16 / 0.12])


def test_differences_are_those_of_the_comparisons() -> None:
    """Each panel has the values and intervals of comparisons.csv, and a declared pair is turned to the baseline."""
    rng = np.random.default_rng(0)
    scores = {(t, m): [float(x) for x in rng.normal(70, 3, 5)] for t in ("cola", "rte") for m in ("a", "b", "c")}
    records = grid_of(scores)
    analysis = analyse(records, [], question=Question(primary="a vs b"))
    (grid,) = build_grids(records)
    made = draw_figures(SuiteContext(grid, analysis=analysis))
    rows = {(c.method, c.first, c.place): c.estimate for c in (j.comparison for j in analysis.judged) if c.estimate}
    assert analysis.baselines["glue"] == "b"
    for axes, place in zip(made["differences"].figure.axes, ("average of 2 tasks", "cola", "rte"), strict=True):
        assert axes.get_title(loc="left").replace("\n", " ") == place
        ((line, _, (bars,)),) = axes.containers
        expected = rows["a", "b", place]
        assert line.get_xdata()[0] == pytest.approx(expected.value)
        assert bars.get_segments()[0][:, 0] == pytest.approx([expected.low, expected.high])


def test_the_interval_is_that_of_the_table_where_examples_count(tmp_path: Path) -> None:
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
    ((line, _, (bars,)),) = drawing.figure.axes[0].containers
    assert line.get_xdata() == pytest.approx([comparison.estimate.value])
    ends = bars.get_segments()[0][:, 0]
    assert ends == pytest.approx([comparison.estimate.low, comparison.estimate.high])


def test_memory_by_category_adds_up_to_the_peak() -> None:
    (grid,) = build_grids([record(60.0), record(61.0, cell(method="lorasp"))])
    state = record(1.0).train_state
    made = draw_figures(SuiteContext(grid, [profile("lora", train_state=state), profile("lorasp")]))
    bars = [container.patches for container in made["cost"].figure.axes[0].containers]
    widths = np.array([[bar.get_width() for bar in part] for part in bars]) * 2**20
    assert widths[:3, 0] == pytest.approx([4616, 4616, 9232]) and widths[:3, 1] == pytest.approx(0)
    assert widths.sum(axis=0) == pytest.approx(3 * 2**20)


def test_what_has_no_numbers_is_not_drawn() -> None:
    (grid,) = build_grids([record(60.0), record(61.0, cell(method="lorasp", seed=9))])
    assert list(draw_figures(SuiteContext(grid))) == ["scores", "tradeoff", "loss"]
    (grid,) = build_grids([record(None, loss_curve=[])])
    assert draw_figures(SuiteContext(grid, [profile("other")])) == {}


def test_many_methods_get_a_line_each() -> None:
    grid, made = drawn({("cola", f"lora{i}"): [60.0 + i, 61.0 + i] for i in range(12)})
    assert list(made) == ["scores", "differences", "tradeoff", "loss"]
    axes = made["scores"].figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(grid.methods)
    means = [x for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert means == [60.5 + i for i in range(12)]


def test_map_and_profiles_come_with_enough_methods_and_tasks() -> None:
    scores: Scores = {(t, f"lora{m}"): [60.0 + m, 61.0 + m] for t in EIGHT[:3] for m in range(4)}
    grid, made = drawn(scores)
    assert {"heatmap", "profiles"} <= set(made)
    squares = made["heatmap"].figure.axes[0].images[0].get_array()
    assert squares.tolist() == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert compute_gaps_to_best(grid, "lora0") == [2.5] * 3 + [3.5] * 3  # the best mean is 63.5 on each task
    assert dict(compute_profile(grid, "lora0", 3.5)) == {0.0: 0.0, 2.5: 0.5, 3.5: 1.0}
    assert "profiles" not in drawn({k: v for k, v in scores.items() if k[0] != "cola"})[1]


def test_runs_without_a_score_count_in_the_profile_and_never_arrive() -> None:
    scores: Scores = {(t, f"lora{m}"): [60.0 + m, 61.0 + m] for t in EIGHT[:3] for m in range(4)}
    scores |= {(t, "lora0"): [60.0, None] for t in EIGHT[:3]}
    grid, made = drawn(scores)
    assert "profiles" in made
    assert [max(y for _, y in compute_profile(grid, m, 9.0)) for m in grid.methods] == [0.5, 1.0, 1.0, 1.0]


def test_front_is_that_of_a_brute_force_search() -> None:
    rng = np.random.default_rng(0)
    spots = [(i, float(x), float(y)) for i, (x, y) in enumerate(rng.integers(0, 12, (40, 2)))]
    better = [
        s for s in spots if not any(o[1] <= s[1] and o[2] >= s[2] and (o[1] < s[1] or o[2] > s[2]) for o in spots)
    ]
    assert {s[1:] for s in find_pareto_front(spots)} == {s[1:] for s in better}


@pytest.mark.parametrize(("width", "size"), [(TEXT_WIDTH, FONT_SIZE), (COLUMN_WIDTH, COLUMN_FONT_SIZE)])
def test_figures_have_the_width_of_print_and_legible_text(width: float, size: float) -> None:
    records = grid_of({(t, f"lora{m}"): [60.0 + m, 61.5 + m, 63.0] for t in EIGHT[:3] for m in range(4)})
    _, made = draw(records, *(f"lora{m}" for m in range(4)), width=width)
    assert len(made) == 8 and size >= 7
    for drawing in made.values():
        texts = [t for t in drawing.figure.findobj(Text) if t.get_text()]
        assert texts and min(t.get_fontsize() for t in texts) >= size
        assert drawing.figure.get_size_inches()[0] == width


def test_fonts_are_embedded_as_truetype() -> None:
    """Of each figure, for publishers refuse Type 3."""
    content = b"".join(_inflate(render_image(d, "pdf")) for d in draw(grid_of(TWO))[1].values())
    assert b"/FontFile2" in content and b"/Type3" not in content and b"/CIDFontType2" in content


def _inflate(content: bytes) -> bytes:
    """The PDF with its compressed streams beside it as they read."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
    texts = [content]
    for stream in streams:
        with contextlib.suppress(zlib.error):
            texts.append(zlib.decompress(stream))
    return b"".join(texts)


def test_png_has_the_dots_of_print() -> None:
    image = Image.open(io.BytesIO(render_image(drawn(TWO)[1]["scores"], "png")))
    assert image.width == TEXT_WIDTH * 300 and image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


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
    assert {"10k", "1M"} <= set(labels) and not any("$" in label for label in labels)


LONG = [f"lorasp:ratio=0.{i},select=row,targets=all-linear" for i in range(7)] + [f"m{i}" for i in range(8)]
HOSTILE = ["n" * 200, "lorasp:" + ",".join(f"option{i}=value{i}" for i in range(12)), "lora"]


NAMES = {"2": LONG[:2], "7": LONG[3:10], "15": LONG, "hostile": HOSTILE}
QUICK = {("7", WIDTHS[0]), ("hostile", WIDTHS[-1])}
"""Each kind of names at one width in the tests of every change."""
CASES = [(key, width) for key in NAMES for width in WIDTHS]


@pytest.mark.parametrize(
    ("methods", "width"),
    [
        pytest.param(NAMES[key], width, marks=[] if (key, width) in QUICK else pytest.mark.slow, id=f"{key}-{width}")
        for key, width in CASES
    ],
)
def test_no_text_is_cut_off_and_no_two_overlap(methods: list[str], width: float) -> None:
    """15 methods on 6 tasks, and names of 200 characters, at both widths of print."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    scores: Scores = {(t, m): [60.0 + i, 62.5 + i, 63.0] for t in EIGHT[:6] for i, m in enumerate(methods)}
    records = grid_of(scores, EIGHT[:6])
    (grid,) = build_grids(records)
    own = [tuned(t, m) for t in EIGHT[:6] for m in methods]
    profiles = [profile(m, peak_bytes=2**28 + i * 2**22) for i, m in enumerate(methods)]
    context = SuiteContext(grid, profiles, tuned=own, analysis=analyse(records, profiles), figure_width=width)
    made = draw_figures(context)
    assert len(made) == (9 if len(methods) > 3 else 8 if len(methods) == 3 else 7)
    for name, drawing in made.items():
        canvas = FigureCanvasAgg(drawing.figure)
        canvas.draw()
        area = drawing.figure.bbox.padded(1)
        texts = [t for legend in drawing.figure.legends for t in legend.get_texts()]
        texts += [t for axes in drawing.figure.axes for t in seen(axes)]
        texts += [t for t in [getattr(drawing.figure, "_supxlabel", None)] if t is not None]
        # of an annotation without its line
        boxes = {t: Text.get_window_extent(t, canvas.get_renderer()) for t in texts if t.get_text()}
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
    made += [text for text in axes.texts if isinstance(text, Annotation)]
    return made if axes.get_visible() and axes.axison else []


def tuned(task: str, method: str) -> Tuned:
    trials = [Trial(values={"lr": 1e-3}, keys=["k"], score=60.0 + i, steps=7, seconds=0.5) for i in range(12)]
    start = {"suite": "glue", "tasks": [task], "method": method, "ranges": {"lr": (1e-4, 1e-1)}}
    return Tuned.model_validate(start | {"trials": trials, "best": 3, "edges": {}})


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_many_methods_and_tasks_stay_readable(width: float) -> None:
    """60 methods on 40 tasks: rows keep their height, and panels that are left out are named."""
    tasks = [f"task{i}" for i in range(40)]
    records = grid_of({(t, f"method{m}"): [60.0 + m, 61.0] for t in tasks for m in range(60)}, tasks)
    _, made = draw(records, width=width)
    assert "28 more tasks are in the table" in made["scores"].caption
    for drawing in made.values():
        assert drawing.figure.get_size_inches()[0] == width
    assert made["heatmap"].figure.get_size_inches()[1] / 60 > 0.1
