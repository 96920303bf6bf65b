"""Whole runs on the embedded preset: resume, failures, interruption, packs against solo."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

from harness.core.errors import UserError
from harness.core.listener import PlainListener
from harness.core.method import METHODS
from harness.core.seeds import Streams
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from methods.lora import Lora
from results.job import FinishedRun as Outcome, run_spec as run
from results.report import rewrite_report as report

SMALL = {"tasks": ("rte",), "seeds": "2", "max_steps": 4, "train_rows": 64, "eval_rows": 40, "profile": False}
SMALL |= {"formats": ("csv",), "figures": ()}


def go(out: Path, **flags: Any) -> tuple[Outcome, str]:
    stream = io.StringIO()
    spec = make_spec(SMALL | {"out": out, "threads": 1} | flags)
    return run(spec, "command", lambda total: PlainListener(stream, total)), stream.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breaks(Lora):
    """Cannot attach with seed 1."""

    name: ClassVar[str] = "breaks"

    def start(self, site: Any, model: Any, streams: Streams, memo: Any) -> Any:
        if streams.seeds["init"] == 1:
            raise ZeroDivisionError("on purpose")
        return super().start(site, model, streams, memo)


def test_again_runs_only_what_is_missing(tmp_path: Path) -> None:
    first, said = go(tmp_path)
    assert "4 cells: 0 done, 4 to run" in said and first.failed == 0
    (tmp_path / "cells" / f"{first.records[2].key}.json").unlink()
    second, said = go(tmp_path)
    assert "4 cells: 3 done, 1 to run" in said
    assert [r.key for r in second.records] == [r.key for r in first.records]
    assert "4 cells: 4 done, 0 to run" in go(tmp_path)[1]
    assert second.report.is_file() and (tmp_path / "report" / "scores.csv").is_file()


def test_the_constant_prediction_is_scored_on_the_rows_that_are(tmp_path: Path) -> None:
    (record,) = go(tmp_path, eval_rows=7, max_steps=1, seeds="1", methods="head")[0].records
    told = pd.read_parquet(tmp_path / "cells" / f"{record.key}.parquet")
    assert len(told) == 7 and record.majority == pytest.approx(100 * told["target"].value_counts(normalize=True).max())


def test_record_has_what_a_report_needs(tmp_path: Path) -> None:
    lora, _, lorasp, _ = go(tmp_path)[0].records
    assert lora.stand_in and lora.majority is not None and 40 < lora.majority < 70
    assert lora.parameters is not None and lorasp.parameters is not None
    assert 2 * lorasp.parameters.adapter_trained == lora.parameters.adapter_trained
    assert lora.pack is not None and lora.pack.size == 4 and lora.pack.keys[lora.pack.slot] == lora.key
    assert lora.rows == {"train": 64, "validation": 40} and lora.steps == 4 and lora.loss_curve[-1][0] == 4
    frame = pd.read_parquet(tmp_path / "cells" / f"{lora.key}.parquet")
    assert list(frame) == ["id", "split", "target", "prediction", "logits"] and len(frame) == 40
    accuracy = 100 * (frame["target"] == frame["prediction"]).mean()
    assert lora.scores == {"accuracy": pytest.approx(accuracy)}


def test_packed_scores_equal_solo_scores(tmp_path: Path) -> None:
    packed, solo = go(tmp_path / "a")[0].records, go(tmp_path / "b", pack=1)[0].records
    assert [r.key for r in packed] == [r.key for r in solo]
    for a, b in zip(packed, solo, strict=True):
        assert b.pack is not None and b.pack.size == 1
        logits = [pd.read_parquet(tmp_path / d / "cells" / f"{a.key}.parquet")["logits"] for d in "ab"]
        gaps = [abs(x - y).max() for x, y in zip(*logits, strict=True)]
        assert max(gaps) < 1e-4


def test_a_method_that_raises_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._items, "breaks", Breaks)
    outcome, _ = go(tmp_path, methods="lora,breaks,head,full", formats=("md",))
    bad = [r for r in outcome.records if r.status != "ok"]
    assert outcome.failed == 1 and len(outcome.records) == 8
    assert (bad[0].cell.method, bad[0].cell.seeds["init"], bad[0].status) == ("breaks", 1, "failed")
    assert bad[0].reason == "ZeroDivisionError: on purpose" and "on purpose" in (bad[0].traceback or "")
    assert "on purpose" in (tmp_path / "report" / "report.md").read_text()


def test_out_of_memory_splits_the_pack_then_becomes_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import harness.training.pack_training as packrun

    whole = packrun.train_pack
    sizes = []

    def limited(job: Any, *others: Any) -> Any:
        sizes.append(len(job.pack.cells))
        if len(job.pack.cells) > 1 or job.pack.cells[0].method == "lorasp":
            raise RuntimeError("CUDA out of memory")
        return whole(job, *others)

    monkeypatch.setattr(packrun, "train_pack", limited)
    outcome, _ = go(tmp_path)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert [r.status for r in outcome.records] == ["ok", "ok", "oom", "oom"]


def test_interruption_keeps_finished_cells_and_the_same_command_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harness.training.pack_training as pack_training

    whole = pack_training.train_pack

    def interrupted(job: Any, *others: Any) -> Any:
        if job.pack.cells[0].method == "head":
            raise KeyboardInterrupt
        return whole(job, *others)

    monkeypatch.setattr(pack_training, "train_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, methods="lora,head")
    found, _ = Store(tmp_path).read()
    assert sorted(r.status for r in found.values()) == ["cancelled", "cancelled", "ok", "ok"]
    monkeypatch.undo()
    outcome, said = go(tmp_path, methods="lora,head")
    assert "4 cells: 2 done, 2 to run" in said and outcome.failed == 0


def test_a_loss_that_is_not_finite_fails_that_cell_only(tmp_path: Path) -> None:
    outcome, _ = go(tmp_path, methods="lora,lora:lr=1e30", seeds="1")
    assert [r.status for r in outcome.records] == ["ok", "failed"]
    assert "not finite" in (outcome.records[1].reason or "")


def test_profile_is_measured_alone(tmp_path: Path) -> None:
    outcome, _ = go(tmp_path, profile=True, methods="lora,lorasp", seeds="1")
    lora, lorasp = outcome.profiles
    assert [p.status for p in outcome.profiles] == ["ok", "ok"] and lora.method == "lora"
    assert len(lora.step_seconds) == 20 and min(lora.step_seconds) > 0
    assert lora.samples_per_second == pytest.approx(16 / float(pd.Series(lora.step_seconds).median()))
    assert lora.peak_bytes is not None and 2**18 < lora.peak_bytes < 2**30
    assert all(p.load is not None and 0 <= (p.load.others or 0) <= 1 for p in outcome.profiles)
    assert lora.train_state is not None and lorasp.train_state is not None
    head = 4 * (64 * 2 + 2)
    assert lora.train_state.optimizer - 2 * head == 2 * (lorasp.train_state.optimizer - 2 * head)


def test_the_margin_is_stored_with_the_run_and_a_late_one_is_told(tmp_path: Path) -> None:
    def asked(**flags: Any) -> tuple[float | None, bool]:
        go(tmp_path, methods="head", **flags)
        stored = Store(tmp_path).read_run()
        return stored["margin"], stored["margin_late"]

    assert asked(margin=1.0) == (1.0, False)
    assert asked(margin=1.0) == (1.0, False)  # going on changes nothing
    assert asked(margin=2.0) == (2.0, True)
    assert asked(margin=2.0) == (2.0, True)
    assert asked() == (None, False)
    assert asked(margin=1.0) == (1.0, True)


def test_a_report_says_how_many_cells_have_no_record(tmp_path: Path) -> None:
    """A file that was lost is no cell that never was: each report says so, not only the first."""
    go(tmp_path, methods="head", seeds="2")
    next(Store(tmp_path).cells.glob("*.json")).unlink()
    for _ in range(2):
        path, _ = report(tmp_path, make_spec({"formats": "md", "figures": ""}))
        assert "1 of 2 cells have no record" in path.read_text()


def test_declared_comparisons_are_stored_and_late_ones_flagged(tmp_path: Path) -> None:
    def ask(**flags: Any) -> tuple[object, ...]:
        go(tmp_path, **flags)
        stored = Store(tmp_path).read_run()
        names = ("primary", "primary_late", "collapse_margin", "collapse_margin_late")
        return tuple(stored[name] for name in names)

    assert ask(primary="lorasp vs lora") == ("lorasp vs lora", False, 2.0, False)
    assert ask() == ("lorasp vs lora", False, 2.0, False)  # the same command without the flag keeps it
    assert ask(primary="lora vs lorasp", collapse_margin=5.0) == ("lora vs lorasp", True, 5.0, True)
    # another run in this folder lacks a method of the pair
    assert ask(methods="lora")[0] is None


def test_a_missing_primary_method_stops_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--primary: this run has no method 'dora'; name one of its methods: lora, lor"):
        go(tmp_path, primary="lorasp vs dora")
    assert not list((tmp_path / "cells").iterdir())


def test_a_report_declares_late_and_stores_it(tmp_path: Path) -> None:
    go(tmp_path)
    spec = make_spec({"primary": "lora vs lorasp", "collapse_margin": 4.0, "formats": "md", "figures": ""})
    report(tmp_path, spec, tmp_path / "elsewhere")
    assert "Post hoc" in (tmp_path / "elsewhere" / "report.md").read_text()
    assert Store(tmp_path).read_run()["primary"] is None  # a report written elsewhere leaves the run as it is
    report(tmp_path, spec)
    stored = Store(tmp_path).read_run()
    assert (stored["primary"], stored["primary_late"]) == ("lora vs lorasp", True)
    assert (stored["collapse_margin"], stored["collapse_margin_late"]) == (4.0, True)
    report(tmp_path, make_spec({"formats": "md", "figures": ""}))
    assert "Post hoc" in (tmp_path / "report" / "report.md").read_text()
    with pytest.raises(UserError, match="no method 'dora'"):
        report(tmp_path, make_spec({"primary": "dora vs lora"}))
    assert Store(tmp_path).read_run() == stored


@pytest.mark.slow
def test_two_commands_on_one_folder_train_each_cell_once(tmp_path: Path) -> None:
    flags = {"tasks": "rte", "methods": "lora", "seeds": "4", "pack": "1", "max-steps": "20", "train-rows": "64"}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "harness", "run", *words, "--device", "cpu", "--threads", "1"]
    command += ["--no-profile", "--formats", "csv", "--out", str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    for process, error in zip(both, errors, strict=True):
        # the second finds the folder locked, or, if the first has ended by then, all cells done
        assert process.returncode == 0 or (process.returncode == 2 and "another run writes there" in error)
    finished = re.findall(r"(\d)/\d cells done", "".join(errors))
    assert finished == ["1", "2", "3", "4"] and len(Store(tmp_path).read()[0]) == 4
