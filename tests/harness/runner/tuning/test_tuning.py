"""`--tune`: whole runs on the embedded preset."""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.listener import PlainListener
from harness.core.method import METHODS, Range
from harness.core.record import Record
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.core.tuned import Tuned
from harness.runner.tuning.tuning import read_tuned
from methods.lora import Lora
from results.job import FinishedRun as Outcome, run_spec as run

SMALL = {"tasks": ("rte",), "methods": "lora,head", "seeds": "2", "max_steps": 3, "train_rows": 80, "eval_rows": 30}
SMALL |= {"formats": ("md",), "figures": ()}


def go(out: Path, **flags: Any) -> tuple[Outcome, str]:
    stream = io.StringIO()
    spec = make_spec(SMALL | {"out": out, "threads": 1, "profile": False, "tune": 3} | flags)
    return run(spec, "command", lambda total: PlainListener(stream, total)), stream.getvalue()


def trials_of(out: Path) -> dict[str, Record]:
    return Store(out / "tuning").read()[0]


def ids_of(folder: Path, keys: list[str]) -> set[str]:
    return {i for key in keys for i in pd.read_parquet(folder / "cells" / f"{key}.parquet")["id"]}


def judged(found: list[Tuned]) -> list[dict[str, Any]]:
    """All but what a clock says."""
    return [t.model_dump(exclude={"trials": {"__all__": {"seconds"}}}) for t in found]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wild(Lora):
    """Searched where training breaks."""

    name: ClassVar[str] = "wild"
    tunable: ClassVar[Mapping[str, Range]] = {"lr": Range(1e-3, 1e36)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Never(Lora):
    """Fails at each attempt."""

    name: ClassVar[str] = "never"

    def start(self, site: Any, model: Any, streams: Any, memo: Any) -> Any:
        raise ZeroDivisionError("on purpose")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(Lora):
    """Lets its scale be tuned."""

    name: ClassVar[str] = "scaled"
    tunable: ClassVar[Mapping[str, Range]] = {"alpha": Range(2.0, 128.0)}


def test_each_method_gets_as_many_trials_and_trains_with_its_best(tmp_path: Path) -> None:
    outcome, said = go(tmp_path)
    assert "tuning: 6 trials: 0 done, 6 to run" in said and "4 cells: 0 done, 4 to run" in said
    records = trials_of(tmp_path)
    for found in read_tuned(tmp_path):
        assert len(found.trials) == 3 and found.best is not None
        scores = [records[trial.keys[0]].scores["accuracy"] for trial in found.trials]
        assert [trial.score for trial in found.trials] == scores and scores[found.best] == max(scores)
        chosen = found.trials[found.best].values["lr"]
        own = [r for r in outcome.records if r.cell.method == found.method]
        assert len(own) == 2 and {r.cell.protocol.lr for r in own} == {chosen}
        assert {r.cell.protocol.lr_source for r in own} == {"tuned, 3 trials on the validation part"}
        assert [trial.steps for trial in found.trials] == [3, 3, 3] and all(t.seconds > 0 for t in found.trials)
    assert {r.cell.protocol.name for r in [*outcome.records, *records.values()]} == {"tuned"}
    assert {r.pack.size for r in records.values() if r.pack and r.cell.method == "lora"} == {3}
    assert "Best validation score to expect" in outcome.report.with_name("report.md").read_text()


def test_tuning_never_sees_the_dev_set_and_the_run_trains_on_all_rows(tmp_path: Path) -> None:
    outcome, _ = go(tmp_path, eval_rows=None)
    records = trials_of(tmp_path)
    part = ids_of(tmp_path / "tuning", list(records))
    dev = ids_of(tmp_path, [r.key for r in outcome.records])
    assert len(part) == 16 and not part & dev
    assert {r.rows["train"] for r in records.values()} == {64} and {r.rows["train"] for r in outcome.records} == {80}
    assert not {r.cell.data for r in records.values()} & {r.cell.data for r in outcome.records}


def test_again_runs_nothing_and_elsewhere_the_same_comes_out(tmp_path: Path) -> None:
    first, _ = go(tmp_path / "a")
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "a").glob("**/cells/*")}
    second, said = go(tmp_path / "a")
    assert "tuning: 6 trials: 6 done, 0 to run" in said and "4 cells: 4 done, 0 to run" in said
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "a").glob("**/cells/*")} == files
    third, _ = go(tmp_path / "b")
    assert [r.key for r in first.records] == [r.key for r in second.records] == [r.key for r in third.records]
    assert judged(read_tuned(tmp_path / "a")) == judged(read_tuned(tmp_path / "b"))
    assert "tuning: 8 trials: 6 done, 2 to run" in go(tmp_path / "a", tune=4)[1]  # a longer search adds to it


def test_trials_that_break_count_as_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._items, "wild", Wild)
    outcome, _ = go(tmp_path, methods="lora,wild", tune=4)
    (wild,) = (t for t in read_tuned(tmp_path) if t.method == "wild")
    broken = [t for t in wild.trials if t.score is None]
    assert len(wild.trials) == 4 and broken and all("not finite" in (t.reason or "") for t in broken)
    assert outcome.failed == 0


def test_a_method_without_any_score_is_left_out_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._items, "never", Never)
    outcome, said = go(tmp_path, methods="head,never")
    assert {r.cell.method for r in outcome.records} == {"head"}
    assert "never on glue/rte left out: none of its 3 trials has a score: ZeroDivisionError: on purpose" in said
    assert read_tuned(tmp_path)[1].best is None


def test_what_does_not_fit_the_model_is_left_out_before_its_trials(tmp_path: Path) -> None:
    outcome, said = go(tmp_path, methods="lora:target=query|absent")
    assert len(outcome.records) == 2 and "not applicable" in said
    assert [t.method for t in read_tuned(tmp_path)] == ["lora:target=query"]


def test_options_that_a_method_lets_be_tuned_go_into_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._items, "scaled", Scaled)
    outcome, _ = go(tmp_path, methods="scaled", seeds="1")
    (found,) = read_tuned(tmp_path)
    assert len({trial.values["alpha"] for trial in found.trials}) == 3 and found.best is not None
    alpha = outcome.records[0].cell.options.get("alpha", Scaled().alpha)
    assert alpha == found.trials[found.best].values["alpha"]
    tried = {r.cell.options.get("alpha", Scaled().alpha) for r in trials_of(tmp_path).values()}
    assert tried == {trial.values["alpha"] for trial in found.trials}


def test_methods_with_fewer_train_rows_are_tuned_on_a_part_of_those(tmp_path: Path) -> None:
    outcome, _ = go(tmp_path, methods="head,head:train_rows=40", seeds="1", tune=2)
    rows = [(r.rows["train"], r.rows["validation"]) for r in trials_of(tmp_path).values()]
    assert sorted(rows) == [(32, 8)] * 2 + [(64, 16)] * 2
    assert [r.rows["train"] for r in outcome.records] == [80, 40] and outcome.failed == 0


def test_a_suite_whose_tasks_are_files_is_tuned(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("text,label\n" + "\n".join(f"thing {i},{'xy'[i % 2]}" for i in range(60)))
    flags = {"suite": ("table",), "tasks": (), "data_file": (str(file),), "text": "text", "label": "label"}
    outcome, _ = go(tmp_path / "out", methods="head", seeds="1", tune=2, **flags)
    assert [r.cell.protocol.name for r in outcome.records] == ["tuned"] and outcome.failed == 0
    assert {r.cell.task for r in trials_of(tmp_path / "out").values()} == {"mine"}


def test_two_tasks_may_choose_one_rate_for_all(tmp_path: Path) -> None:
    outcome, _ = go(tmp_path, tasks=("rte", "mrpc", "cola"), tune_tasks=("rte", "mrpc"), methods="lora", seeds="1")
    records = trials_of(tmp_path)
    assert {r.cell.task for r in records.values()} == {"rte", "mrpc"}
    (found,) = read_tuned(tmp_path)
    assert found.tasks == ["rte", "mrpc"] and found.best is not None
    means = [statistics.fmean(records[k].averages["glue"].score or 0.0 for k in t.keys) for t in found.trials]
    assert [t.score for t in found.trials] == pytest.approx(means) and means[found.best] == max(means)
    assert {r.cell.protocol.lr for r in outcome.records} == {found.trials[found.best].values["lr"]}
    assert {r.cell.task for r in outcome.records} == {"rte", "mrpc", "cola"}
    assert outcome.records[0].cell.protocol.lr_source == "tuned, 3 trials on the validation parts of rte, mrpc"


def test_a_trial_of_several_seeds_scores_their_mean(tmp_path: Path) -> None:
    outcome, said = go(tmp_path, methods="lora", tune_seeds=2)
    assert "tuning: 6 trials: 0 done, 6 to run" in said
    records = trials_of(tmp_path)
    (found,) = read_tuned(tmp_path)
    inits = {r.cell.seeds["init"] for r in outcome.records}
    for trial in found.trials:
        assert {records[key].cell.seeds["init"] for key in trial.keys} == inits
        assert trial.score == pytest.approx(statistics.fmean(records[key].scores["accuracy"] for key in trial.keys))
        assert trial.steps == 6


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"tune": 0}, "tune='0': input should be greater than or equal to 1"),
        ({"lr": 1e-3}, "lr=0.001 given for 'lora': leave the rate or --tune out"),
        ({"methods": "head,lora:lr=1e-3"}, "lr=0.001 given for 'lora'"),
        ({"protocol": "paper"}, "--protocol paper: the paper's rate is fixed"),
        ({"tune": None, "tune_tasks": ("rte",)}, "give --tune N too"),
        ({"tune": None, "tune_seeds": 2}, "--tune-seeds: how many trials? give --tune N too"),
        ({"tune_tasks": ("cola",)}, "task in --tune-tasks"),
        ({"suite": ("glue", "mmlu"), "tasks": ("rte", "mmlu"), "tune_tasks": ("rte",)}, "names no task of mmlu"),
        ({"suite": ("mmlu",), "tasks": ()}, "mmlu/mmlu is not scored row by row"),
        ({"tune_seeds": 3}, "--tune-seeds 3: 'lora' on rte runs 2 seeds"),
        ({"train_rows": 4}, "4 train rows are too few"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(tmp_path: Path, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        go(tmp_path, **flags)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/cells/*.json"))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"run --tune 3 --tasks rte --max-steps 5 --seeds 1 --no-profile --threads 1 --json --out {tmp_path}".split()
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cells"], answer["failed"]) == (2, 0)
    assert "tuned, 3 trials on the validation part" in Path(answer["report"]).with_name("report.md").read_text()
    assert main(["report", str(tmp_path), "--formats", "md"]) == 0
    assert main(["run", "--tune", "0"]) == 2
