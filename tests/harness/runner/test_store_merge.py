"""`store merge`: cells of several folders in one, sources untouched, conflicts never hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.record import Record, Status
from harness.core.store import Store
from tests.reports.records import cell, profile, record


def build(folder: Path, cells: Mapping[int, tuple[Status, float]], **declared: object) -> Store:
    """A store with cells by seed: their statuses and scores."""
    store = Store(folder)
    store.prepare()
    keys = []
    for seed, (status, score) in cells.items():
        made = record(score if status == "ok" else None, cell("rte", "lora", seed)).model_copy(
            update={"status": status}
        )
        frame = pd.DataFrame({"id": ["a"], "prediction": [score]}) if status == "ok" else None
        store.write(made, frame)
        keys.append(made.key)
    store.write_run("command", "title", keys, [f"dropped in {folder.name}"], **declared)  # type: ignore[arg-type]
    return store


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def read_by_seed(out: Path) -> dict[int, Record]:
    return {made.cell.seeds["init"]: made for made in Store(out).read()[0].values()}


def test_cells_of_all_folders_come_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = build(tmp_path / "a", {0: ("ok", 70.0), 1: ("failed", 0.0), 2: ("cancelled", 0.0)})
    b = build(tmp_path / "b", {0: ("ok", 70.0), 1: ("ok", 71.0), 2: ("oom", 0.0), 3: ("ok", 73.0)})
    b.write_profile(profile())
    before = snapshot(a.out), snapshot(b.out)
    assert main(["store", "merge", str(a.out), str(b.out), str(tmp_path / "whole")]) == 0
    assert "4 cells copied" in capsys.readouterr().out
    assert (snapshot(a.out), snapshot(b.out)) == before
    found = read_by_seed(tmp_path / "whole")
    assert {seed: made.status for seed, made in found.items()} == {0: "ok", 1: "ok", 2: "oom", 3: "ok"}
    whole = Store(tmp_path / "whole")
    assert whole.read_run()["order"] == [found[seed].key for seed in (0, 1, 2, 3)]
    assert whole.read_run()["dropped"] == ["dropped in a", "dropped in b"] and len(whole.profiles()) == 1
    assert main(["store", "check", str(whole.out)]) == 0
    # the same again changes nothing
    again = snapshot(whole.out)
    assert main(["store", "merge", str(a.out), str(b.out), str(whole.out)]) == 0
    assert {n: c for n, (_, c) in snapshot(whole.out).items()} == {n: c for n, (_, c) in again.items()}


def test_different_scores_are_refused_or_kept_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = build(tmp_path / "a", {0: ("ok", 70.0), 1: ("ok", 1.0)})
    into = build(tmp_path / "into", {0: ("ok", 71.0)})
    before = snapshot(into.out)
    assert main(["store", "merge", str(a.out), str(into.out)]) == 2
    error = capsys.readouterr().err
    assert "1 cell has different scores" in error and "70.0" in error and "71.0" in error
    assert {n: c for n, c in snapshot(into.out).items() if n != ".lock"} == before
    assert main(["store", "merge", str(a.out), str(into.out), "--keep-both"]) == 0
    found = read_by_seed(into.out)
    assert found[0].scores == {"accuracy": 71.0} and found[1].scores == {"accuracy": 1.0}
    (other,) = (into.out / "conflicts").rglob("*.json")
    assert Record.model_validate_json(other.read_bytes()).scores == {"accuracy": 70.0}
    assert other.with_suffix(".parquet").exists()


def test_a_damaged_record_of_a_source_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = build(tmp_path / "a", {0: ("ok", 70.0), 1: ("ok", 1.0)})
    path = min(a.cells.glob("*.json"))
    path.write_text("{")
    assert main(["store", "merge", str(a.out), str(tmp_path / "into")]) == 0
    assert str(path) in capsys.readouterr().err
    assert len(read_by_seed(tmp_path / "into")) == 1


def test_another_margin_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = build(tmp_path / "a", {0: ("ok", 70.0)}, margin=1.0)
    b = build(tmp_path / "b", {1: ("ok", 70.0)}, margin=2.0)
    assert main(["store", "merge", str(a.out), str(b.out), str(tmp_path / "into")]) == 0
    assert "declares another margin: 2.0, kept: 1.0" in capsys.readouterr().err
    assert Store(tmp_path / "into").read_run()["margin"] == 1.0


def test_trials_are_merged_too(tmp_path: Path) -> None:
    a = build(tmp_path / "a", {0: ("ok", 70.0)})
    build(a.out / "tuning", {5: ("ok", 70.0)})
    assert main(["store", "merge", str(a.out), str(tmp_path / "into")]) == 0
    assert list(read_by_seed(tmp_path / "into" / "tuning")) == [5]


@pytest.mark.parametrize("folders", [["a"], ["a", "a"], ["absent", "into"]])
def test_folders_that_cannot_be_merged(tmp_path: Path, folders: list[str]) -> None:
    build(tmp_path / "a", {0: ("ok", 70.0)})
    before = snapshot(tmp_path)
    assert main(["store", "merge", *(str(tmp_path / name) for name in folders)]) == 2
    assert snapshot(tmp_path) == before
