"""Stores of thousands of records: what is computed grows with their number, and a page stays usable."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import harness.core.files
import results.report
from harness.core.cell import Cell
from harness.core.record import Predictions, Record
from harness.core.shared_parts import SharedParts
from harness.core.store import Store
from reports import compare
from reports.build import build_report, build_run_table
from reports.changes import compare_runs
from reports.charts import MAX_RUNS
from reports.document import MAX_ROWS, MOST_KEYS, Findings
from reports.figures import render_image
from reports.frames import build_grids
from reports.plots import scores
from reports.registered import SuiteContext, build_tables
from reports.render import write_report
from reports.statistics.analysis import analyse
from reports.statistics.examples import find_constant_keys
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
    [
        build_grids,
        lambda found: compare_runs(found, found),
        lambda found: build_tables(SuiteContext(build_grids(found)[0])),
        lambda found: analyse(found, []),
    ],
    ids=["grids", "compare", "tables", "analysis"],
)
def test_four_times_the_records_take_about_four_times_the_work(work: Callable[[list[Record]], object]) -> None:
    small, large = runs(25), runs(100)
    work(small)  # what is made once
    assert calls(lambda: work(large)) < 6 * calls(lambda: work(small))


def test_the_page_lists_so_many_runs_and_names_the_file_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.build.draw_figures", lambda *_: {})
    found = runs(MAX_ROWS // 4 + 1)
    report = build_report(found, [], "", "", [], Findings(), [])
    assert len(report.runs.rows) == MAX_ROWS
    assert "cells.csv" in report.runs.notes[0] and f"{len(found):,}" in report.runs.notes[0]
    assert len(build_run_table(build_grids(found)).rows) == len(found)


def test_many_dots_are_an_image_in_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    (grid,) = build_grids(runs(5))
    few = scores.draw_scores(SuiteContext(grid))
    monkeypatch.setattr(scores, "MAX_DOTS", 10)
    many = scores.draw_scores(SuiteContext(grid))
    assert few is not None and many is not None
    assert not any(line.get_rasterized() for line in few.figure.axes[0].lines)
    assert sum(bool(line.get_rasterized()) for line in many.figure.axes[0].lines) == 1


def test_the_image_of_many_dots_is_sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    (grid,) = build_grids(runs(5))
    monkeypatch.setattr(scores, "MAX_DOTS", 10)
    many = scores.draw_scores(SuiteContext(grid))
    assert many is not None
    root = ElementTree.fromstring(render_image(many, "svg"))
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


def test_cells_of_other_seeds_have_the_keys_that_they_compute_themselves() -> None:
    seeds = [{"init": 3, "mask": 0}, {"mask": 1, "init": 3}, {}, {"init": 10**9}]
    varied = runs(1)[0].cell.vary_seeds(seeds)
    assert [one.seeds for one in varied] == seeds
    assert [one.key for one in varied] == [Cell.model_validate(one.model_dump()).key for one in varied]
    assert len({one.key for one in varied}) == 4


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
    assert (tmp_path / "report" / "report.html").stat().st_size < 2e6
    assert mebibytes < 600
    assert seconds < 75  # 25 on two quiet cores; CPU time grows several times on a busy machine


def reported(seeds: int, folder: Path) -> tuple[Path, list[Record]]:
    found = runs(seeds)
    store = Store(folder)
    store.prepare()
    return write_report(found, [], folder / "report", "title", "command", images=("svg",)), found


@pytest.mark.slow
def test_the_page_grows_little_with_the_seeds_and_links_the_file_of_all(tmp_path: Path) -> None:
    small, few = reported(500, tmp_path / "a")
    large, many = reported(2000, tmp_path / "b")
    text = large.read_text()
    assert large.stat().st_size < 1.1 * small.stat().st_size < 2e6
    listed = [keys.split() for keys in re.findall(r'data-runs="([^"]*)"', text)]
    assert max(map(len, listed)) == MOST_KEYS
    assert f'data-more="{2000 - MOST_KEYS}"' in text
    assert 'href="cells.csv"' in text and (large.parent / "cells.csv").read_bytes().count(b"\n") == len(many) + 1
    (suite,) = json.loads(re.findall(r'id="numbers">(.*?)</script>', text)[0]).values()
    assert suite["total"] == len(many) and len(few) < len(suite["runs"]) <= MAX_RUNS
    assert len(few) == 2000 and 'href="cells.csv"' in small.read_text()


def test_a_page_of_few_runs_names_all_of_them_and_links_no_file(tmp_path: Path) -> None:
    page, found = reported(MOST_KEYS // 2, tmp_path)  # means over two tasks name twice as many
    text = page.read_text()
    assert 'data-more="' not in text and 'href="cells.csv"' not in text
    (suite,) = json.loads(re.findall(r'id="numbers">(.*?)</script>', text)[0]).values()
    listed = {int(number) for numbers in re.findall(r'data-runs="([^"]*)"', text) for number in numbers.split()}
    assert {suite["runs"][number][5] for number in listed} == {r.key for r in found}


def test_a_long_list_of_runs_has_the_first_of_each_task_and_method() -> None:
    found = build_grids(runs(30))
    table = build_run_table(found, 40)
    places = Counter((row[2], row[3]) for row in table.rows)
    assert set(places.values()) == {10} and len(places) == 4
    assert [row[5] for row in table.rows[:10]] == [str(seed) for seed in range(10)]
    assert table.total == 120 and build_run_table(found, 120).total is None


@pytest.mark.parametrize("made_up", [None, 70.0], ids=["scores of the predictions", "other scores"])
def test_each_file_of_a_store_is_read_once_for_its_record_and_once_for_its_predictions(
    made_up: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, targets = Store(tmp_path), np.array([0, 1] * 20)
    store.prepare()
    rng, keys = np.random.default_rng(0), []
    for method in ("lora", "lorasp", "full", "dora"):
        for seed in range(6):
            said = np.where(rng.random(40) < 0.8, targets, 1 - targets)
            score = None if made_up is None else made_up + seed
            made = kept(store.cells, said, targets, method=method, seed=seed, score=score)
            digest = hashlib.sha256((store.cells / f"{made.key}.parquet").read_bytes()).hexdigest()
            side = Predictions(path=f"{made.key}.parquet", sha256=digest, rows=40)
            store.write(made.model_copy(update={"predictions": side}), None)
            keys.append(made.key)
    store.write_run("command", "title", keys, [])
    opened: Counter[str] = Counter()

    def count(path: Path, real: Callable[[Path], bytes] = harness.core.files.read_bytes) -> bytes:
        opened[path.name] += 1
        return real(path)

    for module in ("harness.core.stored_files", "reports.statistics.examples"):
        monkeypatch.setattr(f"{module}.read_bytes", count)
    results.report.rewrite_report(tmp_path)
    assert {opened[f"{key}.json"] for key in keys} == {1}
    # for its digest, and for its values; the first also to see whether any need be read
    assert [opened[f"{key}.parquet"] for key in keys if key != keys[0]] == [2] * (len(keys) - 1)


def test_a_texts_or_classes_targets_are_not_decoded_where_its_predictions_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = np.array([0, 1] * 20)
    both = [kept(tmp_path, said, targets, seed=seed) for seed, said in enumerate((targets, np.zeros(40, dtype=int)))]
    columns: list[list[str]] = []
    real = pyarrow.parquet.ParquetFile.read

    def read(self: Any, columns_: Any = None, **options: Any) -> Any:
        columns.append(options["columns"])
        return real(self, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", read)
    assert find_constant_keys(both, tmp_path) == {both[1].key}
    assert columns == [["prediction"], ["prediction"], ["target"]]


def test_names_scores_and_estimates_of_a_grid_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (grid,) = build_grids(runs(10))
    asked: Counter[str] = Counter()
    real = compare.find_headline_metrics

    def headline(records: Sequence[Record], average: str) -> tuple[str, ...]:
        asked[average] += 1
        return real(records, average)

    monkeypatch.setattr(compare, "find_headline_metrics", headline)
    first, second = build_tables(SuiteContext(grid)), build_tables(SuiteContext(grid))
    assert [table.rows for table in first] == [table.rows for table in second]
    assert set(asked.values()) == {2}  # of each task
    place = ("rte", "lorasp", "lora", "glue")
    assert compare.find_pairs(grid, *place) is compare.find_pairs(grid, *place)
