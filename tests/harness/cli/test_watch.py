"""`watch`: what is done of a run that is still going on."""

from __future__ import annotations

import io
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import results
from harness.cli.main import main
from harness.cli.watch import RunWatcher
from harness.core.store import Store
from harness.core.stored_files import read_record
from reports.frames import build_grids
from reports.tables.scores import build_score_table
from tests.reports.records import cell, grid_of, record, store_of

SCORES = {("cola", "lora"): [60.0, 63.0, 61.0], ("cola", "lorasp"): [59.0, None, 61.0]}


def test_counts_means_and_time_left(tmp_path: Path) -> None:
    made = grid_of(SCORES)
    store_of(tmp_path, made)
    begun = datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp()
    os.utime(tmp_path / "run.json", (begun, begun))
    for late in made[-2:]:
        (tmp_path / "cells" / f"{late.key}.json").unlink()
    watched = RunWatcher(tmp_path)
    snapshot = watched.look()
    assert snapshot.summary == "4 of 6 cells done; about 30 s left"  # four in one minute
    assert snapshot.rows() == [
        ("cola", "lora", "3", "", "accuracy", "61.3", "0.500"),
        ("cola", "lorasp", "1", "", "accuracy", "59.0", "0.500"),
    ]
    Store(tmp_path).write(made[4], None)
    snapshot = watched.look()
    assert snapshot.summary == "5 of 6 cells done; 1 failed; about 10 s left"
    assert snapshot.rows()[1] == ("cola", "lorasp", "2", "1", "accuracy", "59.0", "0.500")
    os.utime(tmp_path / "run.json", (begun + 90, begun + 90))  # begun again: what was there tells nothing of the speed
    assert "left" not in watched.look().summary


def test_the_score_and_its_name_are_those_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [
        record(
            (80.0 + 90.0) / 2 + seed,
            cell("mrpc", seed=seed),
            ("mrpc",),
            scores={"accuracy": 80.0 + seed, "f1": 90.0 + seed},
        )
        for seed in range(2)
    ]
    store_of(tmp_path, both)
    (grid,) = build_grids(both)
    row = build_score_table(grid, "glue").rows[0]
    assert row[1] == "accuracy + f1" and row[3].startswith("85.5 ")
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert re.split(r" {2,}", capsys.readouterr().out.splitlines()[-1])[:5] == [
        "mrpc",
        "lora",
        "2",
        "accuracy + f1",
        "85.5",
    ]


def test_a_record_is_read_again_only_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = made = [record(60.0)]
    store_of(tmp_path, made)
    watched, reads = RunWatcher(tmp_path), []
    monkeypatch.setattr("harness.cli.watch.read_record", lambda path: reads.append(path.name) or read_record(path))
    for _ in range(3):
        watched.look()
    assert reads == [f"{first.key}.json"]


def test_cancelled_cells_are_not_done_and_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    made = [record(60.0), record(None, cell(seed=1), status="cancelled"), record(61.0, cell(seed=2))]
    store_of(tmp_path, made)
    broken = tmp_path / "cells" / f"{made[2].key}.json"
    broken.write_text("{")
    assert RunWatcher(tmp_path).look().summary.startswith("1 of 3 cells done; 1 cancelled")
    assert broken.read_text() == "{"


def test_once_prints_plain_lines_and_the_live_form_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_of(tmp_path, grid_of(SCORES))
    assert main(["watch", str(tmp_path), "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["glue: made up", "6 of 6 cells done; 1 failed"] and len(lines) == 5
    stream = io.StringIO()
    Console(file=stream, width=100).print(RunWatcher(tmp_path).look().table())
    assert "61.3" in stream.getvalue() and lines[1] in stream.getvalue()
    assert main(["watch", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("finished", ["", "yesterday", "2026-01-01T00:01:00", "2026-13-01T00:00:00+00:00", "9" * 5000])
def test_a_record_whose_time_is_no_time_is_skipped_by_every_reader(tmp_path: Path, finished: str) -> None:
    whole, broken = made = [record(60.0), record(61.0, cell(seed=1))]
    store_of(tmp_path, [*made, record(None, cell(seed=2), status="cancelled")])
    path = tmp_path / "cells" / f"{broken.key}.json"
    content = json.loads(path.read_text()) | {"finished": finished}
    content["extra"].pop("sha256", None)
    path.write_text(json.dumps(content))
    assert RunWatcher(tmp_path).look().summary.startswith("1 of 3 cells done")
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert main(["show", broken.key, str(tmp_path)]) == 2
    with pytest.warns(UserWarning, match=broken.key):
        assert set(results.load(tmp_path)["key"]) > {whole.key}


def test_times_of_any_form_and_year_are_read(tmp_path: Path) -> None:
    times = ["2026-01-01T00:01:00+00:00", "20260101T020000.5+0100", "2026-01-01 00:01Z", "0001-01-01T00:00:00+00:00"]
    store_of(tmp_path, [record(60.0, cell(seed=n), finished=time) for n, time in enumerate(times)])
    finished = results.load(tmp_path).set_index("seed")["finished"]
    assert finished[0] == finished[2] == pd.Timestamp(times[0]) and finished[1] == pd.Timestamp(
        "2026-01-01T01:00:00.5Z"
    )
    assert main(["watch", str(tmp_path), "--once"]) == 0
