"""Make the pictures of README.md and docs/getting-started.md.

usage: python -m scripts.readme_images [--demo RUN] [--reference RUN]

Always docs/images/tuned-scores.svg, from the scores of the reference run on real data. With the folder of a run of
`make demo`: its scores. With the folder of the reference run (unpacked cells.tar.xz): the first screen of its report,
if there is Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import pandas as pd
from scipy import stats

from reports.plots.style import INK, STYLE, create_figure, get_colour

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SCORES = ROOT / "results" / "reference" / "glue-minilm-h100-tuned" / "scores.csv"
METHODS = ("full", "lora", "lora:rank=8", "lorasp", "lorasp:select=rank", "lorasp:select=column", "bitfit")
"""Rows of the picture; the report has all methods of the run."""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --window-size=1400,900"
).split()


def read_means(path: Path = SCORES) -> pd.DataFrame:
    """The mean over tasks of each seed (rows) and method (columns), in points."""
    rows = pd.read_csv(path)
    # A task with two metrics counts once, by their mean.
    headlines = rows.groupby(["seed", "method", "task"]).value.mean()
    return headlines.groupby(["seed", "method"]).mean().unstack("method")


def draw_means(means: pd.DataFrame, target: Path) -> None:
    """One row per method: each seed as a dot, the mean and its 95 % t-interval beside them."""
    # Text as paths: the README is shown where the fonts are not installed.
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "path"}):
        figure = create_figure(6.8, 2.6)
        axes = figure.subplots()
        for row, method in enumerate(METHODS):
            scores = means[method]
            half_width = stats.t.ppf(0.975, len(scores) - 1) * scores.sem()
            colour = get_colour(1 if method.startswith("lorasp") else 0)
            axes.plot(scores, [row + 0.18] * len(scores), ".", color=colour, alpha=0.35, markersize=5)
            axes.errorbar(scores.mean(), row - 0.12, xerr=half_width, fmt="o", color=colour, markersize=5, capsize=3)
        axes.axvline(means["lora"].mean(), color=INK, linestyle="--", linewidth=0.8)
        axes.set_yticks(range(len(METHODS)), METHODS)
        axes.invert_yaxis()
        axes.set_xlabel("mean of 6 GLUE tasks in points; dots: 10 seeds, bars: 95 % interval")
        # Without a date the same scores give the same file.
        figure.savefig(target, metadata={"Date": None})


def capture_report(run: Path) -> None:
    """Take a picture of the first screen of the HTML report; without Chromium the old picture stays."""
    # The picture is optional, so a machine without Chromium can still update the figures.
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium: docs/images/reference-report.png is not changed", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as profile:
        page = (run / "report" / "report.html").resolve().as_uri()
        screenshot = f"--screenshot={IMAGES / 'reference-report.png'}"
        command = [browser, *FLAGS, f"--user-data-dir={profile}", screenshot, page]
        subprocess.run(command, check=True, capture_output=True)


def write_report(run: Path) -> None:
    subprocess.run([sys.executable, "-m", "harness", "report", str(run)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the README and of docs/.")
    parser.add_argument("--demo", type=Path, metavar="RUN", help="folder of a run of `make demo`")
    parser.add_argument("--reference", type=Path, metavar="RUN", help="folder of the reference run")
    arguments = parser.parse_args()
    draw_means(read_means(), IMAGES / "tuned-scores.svg")
    if arguments.demo:
        write_report(arguments.demo)
        shutil.copyfile(arguments.demo / "report" / "figures" / "glue-scores.svg", IMAGES / "quick-scores.svg")
    if arguments.reference:
        write_report(arguments.reference)
        capture_report(arguments.reference)


if __name__ == "__main__":
    main()
