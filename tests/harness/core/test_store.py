"""The store: atomic, checked, resumable."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.core.errors import UserError
from harness.core.files import write_atomically
from harness.core.record import Record
from harness.core.spec_reading import make_spec
from harness.core.store import Store, select_missing_cells
from harness.planning.plan import make_plan


@pytest.fixture
def records() -> list[Record]:
    made = make_plan(make_spec({"tasks": ("rte",), "seeds": "2"}))
    at = "2026-01-01T00:00:00+00:00"
    return [
        Record(key=c.key, status="ok", cell=c, stand_in=True, started=at, finished=at)
        for c in (planned.cell for planned in made.cells)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    made.prepare()
    return made


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every entry below a folder with its time and content."""
    made = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        made[str(path.relative_to(folder))] = status.st_mode, status.st_mtime_ns, content
    return made


FRAME = pd.DataFrame({"id": ["a"], "logits": [[0.5, 1.0]]})


def test_round_trip_with_predictions(store: Store, records: list[Record]) -> None:
    store.write(records[0], FRAME)
    found, lines = store.read()
    assert lines == [] and found[records[0].key].predictions is not None
    side = pd.read_parquet(store.cells / found[records[0].key].predictions.path)  # type: ignore[union-attr]
    assert side["id"].tolist() == ["a"] and side["logits"][0].tolist() == [0.5, 1.0]


def test_a_score_that_is_no_number_reads_back(store: Store, records: list[Record]) -> None:
    store.write(records[0].model_copy(update={"scores": {"accuracy": math.nan, "f1": 1.0}}), None)
    found, lines = store.read()
    scores = found[records[0].key].scores
    assert lines == [] and math.isnan(scores["accuracy"]) and scores["f1"] == 1.0


def test_missing_runs_cancelled_again_and_failed_only_on_retry(store: Store, records: list[Record]) -> None:
    states = ("ok", "failed", "oom", "cancelled")
    by_key = {r.key: r.model_copy(update={"status": s}) for r, s in zip(records, states, strict=True)}
    cells = [r.cell for r in records]
    assert select_missing_cells(cells, by_key, retry=False) == cells[3:]
    assert select_missing_cells(cells, by_key, retry=True) == cells[1:]


@pytest.mark.parametrize(
    "damage", ["truncated", "foreign", "folder", "other key", "newer", "no predictions", "changed predictions"]
)
def test_a_file_that_cannot_be_trusted_is_named_and_set_aside(store: Store, records: list[Record], damage: str) -> None:
    store.write(records[0], FRAME)
    path = store.cells / f"{records[0].key}.json"
    content = json.loads(path.read_text())
    if damage == "truncated":
        path.write_text(path.read_text()[:100])
    elif damage == "foreign":
        path.write_text('{"a": 1}')
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "other key":
        content["cell"]["task"] = "cola"
        path.write_text(json.dumps(content))
    elif damage == "newer":
        path.write_text(json.dumps(content | {"schema_version": 99}))
    elif damage == "no predictions":
        path.with_suffix(".parquet").unlink()
    else:
        path.with_suffix(".parquet").write_bytes(b"x")
    before = snapshot(store.out)
    found, (line,) = store.read()
    assert found == {} and str(path) in line and snapshot(store.out) == before
    found, (line,) = store.repair()
    assert found == {} and str(path) in line
    assert not os.path.lexists(path) and (store.out / "set-aside" / path.name).exists()


def test_reading_waits_for_predictions_only(
    store: Store, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that does not read is no work of a run: runs replace whole files. So a damaged store is read at once."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    for record in records:
        store.write(record, FRAME)
    (store.cells / f"{records[0].key}.json").write_text("{")
    assert len(store.read()[1]) == 1 and pauses == []
    monkeypatch.setattr(time, "sleep", lambda _: store.write(records[1], FRAME))
    (store.cells / f"{records[1].key}.parquet").write_bytes(b"between two writes")
    assert len(store.read()[1]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"schema_version": 7, "steps": "a new meaning", "more": 1},
            "schema version 7, this harness reads 1",
        ),
        ({"steps": "many"}, "steps: Input should be a valid integer"),
        ({"cell": {"suite": "glue"}}, "cell.suite_version: Field required"),
    ],
)
def test_why_a_record_does_not_read(store: Store, records: list[Record], change: dict[str, Any], says: str) -> None:
    store.write(records[0], None)
    path = store.cells / f"{records[0].key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    _, (line,) = store.read()
    assert says in line and "\n" not in line


def test_a_full_disk_is_one_line_and_loses_nothing(
    store: Store, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(records[0], None)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="disk is full"):
        store.write(records[1], None)
    monkeypatch.undo()
    assert list(store.read()[0]) == [records[0].key]
    assert not list(store.cells.glob(".*"))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can be written"):
        Store(tmp_path / "file" / "out").prepare()


def test_two_runs_in_one_folder(store: Store) -> None:
    with store.lock(), pytest.raises(UserError, match="another run"), store.lock():
        pass


def test_the_lock_of_a_killed_process_is_free(store: Store) -> None:
    code = "import sys, time, pathlib; from harness.core.store import Store\n"
    code += "with Store(pathlib.Path(sys.argv[1])).lock():\n print('locked', flush=True)\n time.sleep(60)"
    command = [sys.executable, "-c", code, str(store.out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="another run"), store.lock():
            pass
        holder.kill()
        holder.wait()
        with store.lock():
            pass


def test_what_cannot_be_locked_is_named(store: Store) -> None:
    (store.out / ".lock").mkdir()
    with pytest.raises(UserError, match=r"cannot lock .*\.lock: Is a directory; delete it"), store.lock():
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", "5", '{"order": []}'])
def test_a_run_file_of_something_else_is_no_run(store: Store, content: str) -> None:
    (store.out / "run.json").write_text(content)
    with pytest.raises(UserError, match="holds no run"):
        store.read_run()


def test_what_is_written_can_be_read_by_those_whom_the_umask_lets(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "pythons").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "pythons").stat().st_mode


def test_profiles_that_do_not_read_count_as_absent(store: Store) -> None:
    for name, content in (("empty", b""), ("bytes", b"\xff\xfe"), ("list", b"[]")):
        (store.profile_dir / f"{name}.json").write_bytes(content)
    (store.profile_dir / "folder.json").mkdir()
    (store.profile_dir / "nowhere.json").symlink_to("absent")
    assert store.profiles() == {}
