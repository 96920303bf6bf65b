"""Stores of thousands of records: what is computed grows with their number, and a page stays usable."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from harness.core.cell import Cell
from harness.core.record import Predictions, Record, SharedParts
from harness.core.store import Store
from reports.build import build, run_table, tables
from reports.changes import compare_runs
from reports.document import MOST_ROWS, Findings
from reports.figures import image
from reports.frames import grids
from reports.plots import scores
from tests.reports.predicted import kept
from tests.reports.records import cell, record


def runs(seeds: int) -> list[Record]:
    return [
        record(60.0 + (seed * 7 + len(method)) % 11, cell(task, method, seed), ("rte", "cola"))
        for task in ("rte", "cola")
        for method in ("lora", "lorasp")
        for seed in range(seeds)
    ]


def calls(work: Callable[[], object]) -> int:
    """Python calls: a measure of time that other load does not move."""
    count = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "work",
    [grids, lambda found: compare_runs(found, found), lambda found: tables(grids(found)[0], [])],
    ids=["grids", "compare", "tables"],
)
def test_four_times_the_records_take_about_four_times_the_work(work: Callable[[list[Record]], object]) -> None:
    small, large = runs(25), runs(100)
    work(small)  # what is made once
    assert calls(lambda: work(large)) < 6 * calls(lambda: work(small))


def test_the_page_lists_so_many_runs_and_names_the_file_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.build.figures", lambda *_: {})
    found = runs(MOST_ROWS // 4 + 1)
    report = build(found, [], "", "", [], Findings(), [])
    assert len(report.runs.rows) == MOST_ROWS
    assert "cells.csv" in report.runs.notes[0] and f"{len(found):,}" in report.runs.notes[0]
    assert len(run_table(grids(found)).rows) == len(found)


def test_many_dots_are_an_image_in_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    (grid,) = grids(runs(5))
    few = scores.scores(grid)
    monkeypatch.setattr(scores, "MOST_DOTS", 10)
    many = scores.scores(grid)
    assert few is not None and many is not None
    assert not any(line.get_rasterized() for line in few.figure.axes[0].lines)
    assert sum(bool(line.get_rasterized()) for line in many.figure.axes[0].lines) == 2
    assert len(many.points) == len(few.points) - 2


def test_the_image_of_many_dots_is_sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    (grid,) = grids(runs(5))
    monkeypatch.setattr(scores, "MOST_DOTS", 10)
    many = scores.scores(grid)
    assert many is not None
    root = ElementTree.fromstring(image(many, "svg"))
    images = list(root.iter("{http://www.w3.org/2000/svg}image"))
    assert images
    for element in images:
        content = element.attrib["{http://www.w3.org/1999/xlink}href"].partition("base64,")[2]
        pixels = Image.open(io.BytesIO(base64.b64decode(content))).size[0]
        assert pixels > 2 * float(element.attrib["width"])


def test_records_share_their_equal_parts_and_stay_equal() -> None:
    first, second = runs(2)[:2]
    before = [r.model_copy(deep=True) for r in (first, second)]
    shared = SharedParts()
    a, b = shared.share(first), shared.share(second)
    assert a.cell.protocol is b.cell.protocol and a.cell.model is b.cell.model
    assert [a, b] == before and a.cell.key != b.cell.key
    assert [r.model_dump_json() for r in (a, b)] == [r.model_dump_json() for r in before]


def test_a_copied_cell_has_a_key_of_its_own() -> None:
    first = runs(1)[0].cell
    assert first.key and first.sorted_seeds
    other = first.model_copy(update={"seeds": dict.fromkeys(first.seeds, 5), "quantize": "nf4"})
    fresh = Cell.model_validate(other.model_dump())
    assert (other.key, other.sorted_seeds) == (fresh.key, fresh.sorted_seeds)
    assert other.key != first.key


@pytest.mark.slow
def test_a_report_of_18000_records_takes_seconds_and_little_memory(tmp_path: Path) -> None:
    store, tasks, rng = Store(tmp_path), ("cola", "mrpc", "rte"), np.random.default_rng(0)
    store.prepare()
    targets, keys = rng.integers(0, 2, 200), []
    for task in tasks:
        for method in ("lora", "lorasp"):
            for seed in range(3000):
                right = rng.random(200) < 0.8
                made = kept(
                    store.cells,
                    np.where(right, targets, 1 - targets),
                    targets,
                    task=task,
                    method=method,
                    seed=seed,
                    tasks=tasks,
                )
                digest = hashlib.sha256((store.cells / f"{made.key}.parquet").read_bytes()).hexdigest()
                side = Predictions(path=f"{made.key}.parquet", sha256=digest, rows=200)
                store.write(made.model_copy(update={"predictions": side}), None)
                keys.append(made.key)
    store.write_run("command", "title", keys, [])
    code = (
        "import json, resource, sys; from harness.cli.main import main; main(['report', sys.argv[1]]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    seconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
    assert (tmp_path / "report" / "report.html").stat().st_size < 5e6
    assert mebibytes < 600
    assert seconds < 75  # 25 on two quiet cores; CPU time grows several times on a busy machine
