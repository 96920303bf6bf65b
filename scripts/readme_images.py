"""The README's pictures of a real report: runs the main job where it is not done, and copies its figures.

usage: python scripts/readme_images.py [RUN]   (without RUN, `python -m harness run` makes one)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.core.spec import Spec

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NAMES = {"glue-scores": "quick-scores", "glue-differences": "quick-differences"}
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --window-size=1000,620"
).split()


def copy_figures(run: Path) -> None:
    for name, image in NAMES.items():
        shutil.copyfile(run / "report" / "figures" / f"{name}.svg", IMAGES / f"{image}.svg")


def capture_report(run: Path) -> None:
    """The top of the HTML report as a browser shows it; left as it is where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium here: docs/images/quick-report.png stays as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as profile:
        page = (run / "report" / "report.html").resolve().as_uri()
        shot = f"--screenshot={IMAGES / 'quick-report.png'}"
        subprocess.run([browser, *FLAGS, f"--user-data-dir={profile}", shot, page], check=True, capture_output=True)


def main() -> None:
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else Spec().folder
    if len(sys.argv) == 1:
        subprocess.run([sys.executable, "-m", "harness", "run"], check=False)
    subprocess.run([sys.executable, "-m", "harness", "report", str(run)], check=True)
    copy_figures(run)
    capture_report(run)


if __name__ == "__main__":
    main()
