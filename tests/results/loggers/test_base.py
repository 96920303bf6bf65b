"""The step after a run that hands finished cells to trackers, with a made-up tracker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.record import Record
from results.loggers.base import LOGGERS, STATE, LoggedCell, Logger, build_cells, check_loggers, log_records
from tests.reports.records import cell, record

NAN = float("nan")


class Fake(Logger):
    package = "fake"
    cells: ClassVar[list[LoggedCell]] = []
    fails_at: ClassVar[str | None] = None

    @classmethod
    def load(cls) -> Any:
        return None

    def write(self, cell: LoggedCell) -> None:
        print("a tracker that prints")
        if cell.key == self.fails_at:
            raise ConnectionError("no route\nto host")
        self.cells.append(cell)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    assert LOGGERS.names() == ["mlflow", "trackio", "wandb"]
    monkeypatch.setitem(LOGGERS._items, "fake", Fake)
    monkeypatch.setattr(Fake, "cells", [])
    return Fake


def build_records() -> list[Record]:
    curve = [(1, 0.7), (2, NAN), (3, 0.4)]
    return [
        record(
            60.0,
            cell("rte", "lorasp", 2, options={"rank": 4, "targets": ("query", "value")}),
            loss_curve=curve,
            steps=3,
        ),
        record(None, cell("cola")),
        record(None, cell("cola", seed=1), status="cancelled"),
    ]


def test_a_cell_has_settings_loss_and_scores(tmp_path: Path) -> None:
    first, failed, _ = build_cells(build_records(), tmp_path / "a run")
    assert (first.name, first.group) == ("rte lorasp:rank=4,targets=query+value seed 2", "a run")
    assert first.curve == ((1, 0.7), (3, 0.4)) and first.scores == {"accuracy": 60.0} and first.steps == 3
    assert first.config["protocol.lr"] == 1e-3 and first.config["option.rank"] == 4
    assert json.loads(str(first.config["option.targets"])) == ["query", "value"]
    assert first.finished - first.started == 60.0 and first.is_ok
    assert not failed.is_ok and failed.scores == {} and failed.config["reason"] == "ValueError: on purpose"


def test_each_cell_is_logged_once(tmp_path: Path, fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    made = build_records()
    assert log_records(["fake"], made, tmp_path) == [] and log_records(["fake"], made, tmp_path) == []
    assert [c.key for c in fake.cells] == [made[0].key, made[1].key]
    assert capsys.readouterr().out == ""
    # a cell that was trained again is logged again
    again = made[1].model_copy(update={"finished": "2026-02-01T00:00:00+00:00"})
    log_records(["fake"], [made[0], again], tmp_path)
    assert [c.key for c in fake.cells][2:] == [again.key]


def test_a_failure_is_one_line_and_the_rest_follows_later(
    tmp_path: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build_records()
    monkeypatch.setattr(fake, "fails_at", made[1].key)
    (line,) = log_records(["fake"], made, tmp_path)
    assert line.startswith(f"--log fake: stopped at cell {made[1].key}: no route to host; the records are stored")
    monkeypatch.setattr(fake, "fails_at", None)
    assert log_records(["fake"], made, tmp_path) == [] and [c.key for c in fake.cells] == [r.key for r in made[:2]]
    (tmp_path / STATE).write_text("damaged")
    assert log_records(["fake"], made, tmp_path) == [] and len(fake.cells) == 4


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_ends_the_run_before_training(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    out = tmp_path / "run"
    assert main(["run", "--tasks", "rte", "--out", str(out), "--log", name]) == 2
    error = capsys.readouterr().err
    assert error == f"error: --log {name}: not installed; pip install {LOGGERS.get(name).package}\n"
    assert not out.exists()


def test_an_unknown_logger(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown logger 'wandbb': did you mean 'wandb'"):
        check_loggers(["wandbb"])


def test_the_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    """A tracker changes neither the name of the folder nor the keys of cells."""
    from harness.core.spec_reading import make_spec

    assert make_spec({"log": ("wandb",)}).folder == make_spec({}).folder
