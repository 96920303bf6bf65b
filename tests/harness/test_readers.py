"""Commands that only read: they change no file, pass over what is damaged and say so, and do not race with a run."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

import reports.render
import results
from harness.cli.main import main
from harness.cli.watch import RunWatcher
from harness.core.errors import UserError
from harness.core.record import Predictions, Record
from harness.core.store import Store
from reports.frames import build_method_names
from tests.harness.core.test_store import snapshot
from tests.reports.records import cell, profile, record

SEEDS = 8
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two methods of eight seeds with kept predictions, and a profile."""
    store = Store(tmp_path / "run")
    store.prepare()
    made = [record(60.0 + seed, cell("cola", name, seed)) for name in ("lora", "head") for seed in range(SEEDS)]
    for own in made:
        store.write(
            own, pd.DataFrame({"id": ["a"], "split": ["validation"], "target": [0], "prediction": [seed_of(own)]})
        )
    store.write_profile(profile("lora"))
    store.write_run("python -m harness run", "glue: made up", [own.key for own in made], [])
    return store.out


def seed_of(own: Record) -> int:
    return own.cell.seeds["init"]


def damage(run: Path) -> int:
    """Put something else in the place of some records; how many."""
    cells = run / "cells"
    paths = sorted(cells.glob("*.json"))
    for path in paths[:9]:
        path.unlink()
    paths[0].mkdir()
    (paths[0] / "inside").write_text("x")
    paths[1].write_text("[" * 100_000)
    paths[2].write_text("1" * 5000)
    os.mkfifo(paths[3])
    paths[4].symlink_to("/nowhere")
    paths[5].symlink_to(paths[5].name)
    paths[6].write_bytes(b"\xff\xfe")
    paths[7].write_text('{"schema_version": 9}')
    paths[8].write_text("")
    os.mkfifo(cells / f"{paths[9].stem}.fifo")
    side = cells / f"{paths[9].stem}.parquet"
    side.unlink()
    os.mkfifo(side)
    (cells / os.fsdecode(b"\xff\n.json")).write_text("{}")
    (run / "set-aside").write_text("a file")
    (run / "profiles" / "deep.json").write_text("[" * 100_000)
    os.mkfifo(run / "profiles" / "pipe.json")
    return 10


def test_readers_pass_over_what_is_damaged_and_change_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree(run, tmp_path / "whole")
    lost = damage(run)
    before = snapshot(run)
    good = sorted(Store(run).read()[0])
    assert len(good) == 2 * SEEDS - lost
    elsewhere = tmp_path / "elsewhere"
    for words in (
        ["report", str(run), "--to", str(elsewhere), "--formats", "md", "--figures", "svg"],
        ["compare", str(run), str(whole)],
        ["compare", str(whole), str(run), "--json"],
        ["show", good[0], str(run)],
        ["watch", str(run), "--once"],
        ["study", "claims", "--runs", str(run), "--out", str(tmp_path / "claims")],
    ):
        capsys.readouterr()
        assert main(words) == 0, words
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        if words[0] not in ("show", "watch"):
            assert "skipped" in said.err and len(said.err.splitlines()) <= 30
    assert "skipped" in (elsewhere / "report.md").read_text()
    assert f"{2 * SEEDS - lost} of {2 * SEEDS} cells done" in RunWatcher(run).look().summary
    with pytest.warns(UserWarning, match="skipped"):
        assert set(results.load(run)["key"]) == set(good)
    with pytest.warns(UserWarning, match="skipped"):
        assert len(results.profiles(run)) == 1
    assert snapshot(run) == before


def test_the_run_moves_them_out_of_the_way_and_keeps_the_rest(run: Path) -> None:
    damage(run)
    (run / "cells" / "0123.parquet").mkdir()
    store = Store(run)
    good = store.read()[0]
    files = {key: (store.cells / f"{key}.json").stat().st_mtime_ns for key in good}
    records, lines = store.repair()
    assert records == good and files == {key: (store.cells / f"{key}.json").stat().st_mtime_ns for key in good}
    assert all("set aside" in line and "\n" not in line and line.isprintable() for line in lines)
    assert store.read() == (good, []) and store.read_profiles()[1] == []
    assert not (store.cells / "0123.parquet").exists() and (run / "set-aside-2" / "0123.parquet").is_dir()
    made = record(1.0, cell("cola", "lora", 99))
    (store.cells / f"{made.key}.json").mkdir()  # once more, with the name of one that was set aside before
    (run / "set-aside-2" / f"{made.key}.json").mkdir()
    store.repair()
    store.write(made, None)
    assert made.key in store.read()[0]


def test_predictions_that_are_gone_make_no_success_and_move_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for side in (copy / "cells").glob("*.parquet"):
        side.unlink()
    before = snapshot(copy)
    for words in (["compare", str(copy), str(run)], ["compare", str(run), str(copy)], ["report", str(copy)]):
        capsys.readouterr()
        assert main(words) == 2
        assert "absent or changed" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(UserError, match="absent or changed"):
        results.load(copy)
    assert snapshot(copy) == before


def test_compare_of_runs_without_a_common_cell_fails(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Store(tmp_path / "other")
    other.prepare()
    for words, made in ((["compare"], record(60.0, cell("rte"))), (["compare"], record(None, cell("cola", "lora", 0)))):
        other.write(made, None)
        other.write_run("command", "title", [made.key], [])
        capsys.readouterr()
        assert main([*words, str(run), str(other.out)]) == 1
        assert "nothing was compared" in capsys.readouterr().err


def test_a_gate_does_not_pass_where_cells_of_a_do_not_read(run: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(run, tmp_path / "whole")
    assert main(["compare", str(run), str(whole), "--fail-if-worse", "1"]) == 0
    next((run / "cells").glob("*.json")).write_text("")
    assert main(["compare", str(run), str(whole), "--fail-if-worse", "1"]) == 1


def test_predictions_of_another_name_are_not_read(run: Path) -> None:
    made = record(60.0, cell("cola", "lora", 50))
    other = run / "run.json"
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    for path in ("../run.json", str(other)):
        side = Predictions(path=path, sha256=digest, rows=1)
        Store(run).write(made.model_copy(update={"predictions": side}), None)
        assert made.key not in Store(run).read()[0]


def test_a_reader_beside_a_writer_misses_nothing(run: Path) -> None:
    """The writer replaces predictions and record one after the other, with new content each time."""
    store = Store(run)
    (made, *_) = store.read()[0].values()
    done, writes = threading.Event(), [0]

    def write() -> None:
        while not done.is_set():
            writes[0] += 1
            store.write(made, pd.DataFrame({"x": [writes[0]]}))

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    try:
        while looks < 100 or writes[0] < 100:
            records, lines = store.read()
            looks += 1
            assert lines == [] and len(records) == 2 * SEEDS
    finally:
        done.set()
        writer.join()


def test_what_cannot_be_read_is_not_empty(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "cells")
    assert Store(run).read() == ({}, [])
    (run / "cells").symlink_to("cells")
    key = "0123"
    for words in (["report", str(run)], ["show", key, str(run)], ["watch", str(run), "--once"]):
        assert main(words) == 2
        assert f"cannot read {run / 'cells'}" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot read"):
        results.load(run)


@ON_LINUX
@pytest.mark.parametrize("name", ["cells", "profiles", "adapters", "report", "report/figures"])
def test_a_folder_that_takes_no_files_ends_a_run_before_it_trains(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc can be read, and takes no files, from root either."""
    monkeypatch.setattr("harness.runner.run.make_plan", lambda spec: pytest.fail("it was planned"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to("/proc/self")
    assert main(["run", "--tasks", "rte", "--methods", "head", "--save-adapters", "--out", str(tmp_path)]) == 2
    assert f"cannot write in {tmp_path / name}" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_says_the_way_out(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(reports.render, "replace_file", refuse)
    assert main(["report", str(run), "--formats", "csv"]) == 2
    said = capsys.readouterr().err
    assert "Read-only" in said and "--to" in said


def test_reports_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(30):
                reports.render._write_files(tmp_path, {"report.md": b"text" * 5000, "figures/a.svg": b"<svg/>" * 500})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and sorted(p.name for p in tmp_path.rglob("*")) == ["a.svg", "figures", "report.md"]


@pytest.mark.parametrize(
    ("formats", "name"),
    [
        ("csv", "scores.csv"),
        ("parquet,csv", "scores.parquet"),
        ("csv,md", "report.md"),
        ("latex,md,html", "report.html"),
        ("latex,csv", "report.tex"),
    ],
)
def test_the_path_that_is_printed(formats: str, name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--formats", formats, "--figures", "svg"]) == 0
    path = Path(capsys.readouterr().out.strip().removeprefix("report: "))
    assert path == run / "report" / name and path.is_file()


def test_methods_that_differ_only_in_rate_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    means = {1e-3: 60.0, 2e-3: 70.0}
    for folder, precision in (("a", "fp32"), ("b", "bf16")):
        store = Store(tmp_path / folder)
        store.prepare()
        made = [
            record(score + seed, cell(seed=seed, protocol={"lr": rate}, dtype=precision))
            for rate, score in means.items()
            for seed in range(3)
        ]
        for own in made:
            store.write(own, None)
        store.write_run("command", "title", [own.key for own in made], [])
    rows = RunWatcher(tmp_path / "a", build_method_names).look().rows()
    assert [row[5] for row in rows] == ["61.0", "71.0"] and len({row[1] for row in rows}) == 2
    assert main(["watch", str(tmp_path / "a"), "--once"]) == 0
    said = capsys.readouterr().out
    assert "lr=0.001" in said and "lr=0.002" in said
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "61.00 -> 61.00" in said and "71.00 -> 71.00" in said
