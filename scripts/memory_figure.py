"""Table and figure of predicted and measured memory, from the output of scripts/predicted_vs_measured.py.

    python -m scripts.memory_figure predicted_vs_measured.json

Writes results/predicted_vs_measured.tsv and docs/images/predicted-vs-measured.svg.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = "model method dtype quantize recompute batch length predicted measured ratio reserved captured".split()
GIB = 2**30
WITHIN = 0.1
"""Share on either side of equality that the figure shades."""


def select_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The combinations that were both predicted and measured, in bytes; `ratio` is predicted / measured."""
    # Combinations that ran out of memory have a prediction only.
    both = [r for r in content["results"] if r.get("predicted") and r.get("measured")]
    facts = {"gpu": content["gpu"], "torch": content["torch"]}
    selected = []
    for result in both:
        row = {name: result.get(name) for name in COLUMNS}
        selected.append(row | {"ratio": round(result["predicted"] / result["measured"], 4)} | facts)
    return selected


def format_table(made: Sequence[Mapping[str, Any]]) -> str:
    """Tab-separated text with one line per combination."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*COLUMNS, "gpu", "torch"], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    return stream.getvalue()


def draw_figure(made: Sequence[Mapping[str, Any]]) -> bytes:
    """SVG: measured against predicted in GiB, both logarithmic, and their ratio by model."""
    import matplotlib

    from reports.document import Drawing
    from reports.figures import render_image
    from reports.plots.style import STYLE, add_legend, create_figure, freeze_layout, get_colour, get_marker

    models = list(dict.fromkeys(row["model"] for row in made))
    with matplotlib.rc_context(STYLE):
        figure = create_figure(7.4, 3.6)
        left, right = figure.subplots(1, 2)
        for i, model in enumerate(models):
            model_rows = [row for row in made if row["model"] == model]
            measured = [row["measured"] / GIB for row in model_rows]
            predicted = [row["predicted"] / GIB for row in model_rows]
            left.plot(measured, predicted, get_marker(i), color=get_colour(i), label=model, markersize=5)
            right.plot(
                [row["ratio"] for row in model_rows],
                [i] * len(model_rows),
                get_marker(i),
                color=get_colour(i),
                markersize=5,
            )
        _draw_equality(left, made)
        right.axvspan(1 - WITHIN, 1 + WITHIN, color="#999999", alpha=0.15, linewidth=0)
        right.axvline(1, color="#999999", linewidth=1)
        right.set_yticks(range(len(models)), models)
        right.set_xlabel("predicted / measured (10 % shaded)")
        add_legend(figure, left)
        freeze_layout(figure)
        return render_image(Drawing(figure, "Predicted and measured memory", ""), "svg")


def _draw_equality(axes: Any, made: Sequence[Mapping[str, Any]]) -> None:
    """The line of equality over the range of the points, with the shaded tolerance."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    # Factors and not offsets at both ends, because the axes are logarithmic.
    sizes = [row[name] / GIB for row in made for name in ("measured", "predicted")]
    ends = [min(sizes) * 0.8, max(sizes) * 1.25]
    axes.plot(ends, ends, color="#999999", linewidth=1, zorder=0)
    lower, upper = [end * (1 - WITHIN) for end in ends], [end * (1 + WITHIN) for end in ends]
    axes.fill_between(ends, lower, upper, color="#999999", alpha=0.15)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("measured peak, GiB")
    axes.set_ylabel("predicted peak, GiB")


def write_files(content: Mapping[str, Any], root: Path = ROOT) -> list[Path]:
    """Both files under `root`. Raises SystemExit where nothing was both predicted and measured."""
    combinations = select_rows(content)
    if not combinations:
        sys.exit("no combination was both predicted and measured: run scripts/predicted_vs_measured.py on a GPU")
    paths = [root / "results" / "predicted_vs_measured.tsv", root / "docs" / "images" / "predicted-vs-measured.svg"]
    for path, text in zip(paths, (format_table(combinations).encode(), draw_figure(combinations)), strict=True):
        path.write_bytes(text)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    for path in write_files(json.loads(parser.parse_args().json.read_text())):
        print(path)


if __name__ == "__main__":
    main()
