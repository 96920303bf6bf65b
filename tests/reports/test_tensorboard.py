"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from reports.tensorboard import load_writer, write_events
from tests.reports.records import cell, record, store_of


def test_tensorboard_reads_losses_and_scores(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    made = [record(61.25, cell(method="lorasp", options={"ratio": 0.25}, seed=s), steps=2) for s in (0, 1)]
    for _ in range(2):  # the second time replaces the first
        write_events(made, tmp_path)
    folders = sorted(p.parent for p in tmp_path.rglob("events.*"))
    assert [p.relative_to(tmp_path).as_posix() for p in folders] == [
        f"glue/cola/lorasp_ratio=0.25/seed-{s}" for s in (0, 1)
    ]
    found = accumulators.EventAccumulator(str(folders[0])).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(1, pytest.approx(0.7)), (2, 0.5)]
    assert [(e.step, e.value) for e in found.Scalars("score/accuracy")] == [(2, 61.25)]


def test_report_writes_them_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = store_of(tmp_path, [record(60.0)])
    assert main(["report", str(out), "--formats", "md", "--figures", "svg"]) == 0
    assert not (out / "tensorboard").exists()
    assert main(["report", str(out), "--formats", "md", "--figures", "svg", "--tensorboard"]) == 0
    assert len(list((out / "tensorboard").rglob("events.*"))) == 1


def test_where_it_is_not_installed_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(UserError, match=r"pip install 'lorasp-harness\[tensorboard\]'"):
        load_writer()
