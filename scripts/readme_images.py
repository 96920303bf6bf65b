"""Make the pictures of README.md and docs/getting-started.md.

usage: python -m scripts.readme_images [RUN]

Without RUN: docs/images/tuned-scores.svg, from the scores of the reference run on real data.
With the folder of a run of `make demo`: its scores, and the top of its HTML report if there is Chromium.
"""

from __future__ import annotations

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
    "--disable-sync --hide-scrollbars --window-size=1000,620"
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
    """Take a picture of the top of the HTML report; without Chromium the old picture stays."""
    # The picture is optional, so a machine without Chromium can still update the figures.
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium: docs/images/quick-report.png is not changed", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as profile:
        page = (run / "report" / "report.html").resolve().as_uri()
        screenshot = f"--screenshot={IMAGES / 'quick-report.png'}"
        command = [browser, *FLAGS, f"--user-data-dir={profile}", screenshot, page]
        subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    if len(sys.argv) == 1:
        draw_means(read_means(), IMAGES / "tuned-scores.svg")
        return
    run = Path(sys.argv[1])
    subprocess.run([sys.executable, "-m", "harness", "report", str(run)], check=True)
    shutil.copyfile(run / "report" / "figures" / "glue-scores.svg", IMAGES / "quick-scores.svg")
    capture_report(run)


if __name__ == "__main__":
    main()
