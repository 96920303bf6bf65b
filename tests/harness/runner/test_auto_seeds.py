"""`--seeds auto`: seeds are added look by look, a resumed run looks at the same, and mistakes end before training."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

import results
from harness.cli.main import main
from harness.core.looks import Look, LookedComparison, Looks
from harness.core.record import Record
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import Plan, make_plan
from harness.runner.auto_seeds import TrainedPlan, format_look, train_looks
from tests.reports.records import record

SMALL = ("--tasks", "rte", "--max-steps", "2", "--eval-rows", "20", "--train-rows", "40", "--no-profile")
FAST = ("--formats", "md,csv", "--figures", "")


def build_row(method: str, decision: str, seeds: int) -> LookedComparison:
    return LookedComparison.model_validate(
        {"suite": "glue", "method": method, "first": "lora", "place": "rte", "tasks": ["rte"], "decision": decision}
        | {"seeds": seeds, "pairs": seeds, "difference": 0.5, "difference_of_stable": 0.5, "low": -1.0, "high": 2.0}
        | {"level": 0.95, "p": 0.5, "equivalence_p": None, "collapsed": 0, "collapsed_first": 0}
    )


class Rehearsal:
    """Trains nothing: each cell of a plan has a record at once, those of `most` cells only; `decided` by method."""

    def __init__(self, decided: dict[str, int], most: int = 10**6) -> None:
        self.decided, self.most = decided, most
        self.records: dict[str, Record] = {}
        self.looks: list[tuple[int, int]] = []

    def train(self, plan: Plan) -> TrainedPlan:
        for planned in plan.cells:
            if planned.key not in self.records and len(self.records) < self.most:
                self.records[planned.key] = record(70.0, planned.cell)
        missing = [c for c in plan.cells if c.key not in self.records]
        return TrainedPlan(plan, f"--max-cells {self.most}: reached" if missing else "")

    def decide(self, records: Sequence[Record], seeds: int) -> tuple[Look, Collection[str]]:
        self.looks.append((seeds, len(records)))
        rows = []
        for method, at in self.decided.items():
            rows.append(build_row(method, "better" if seeds >= at else "undecided", min(seeds, at)))
        open_methods = {row.method for row in rows if row.is_open} | {"lora"}
        return Look(seeds=seeds, comparisons=rows), [r.key for r in records if r.cell.method in open_methods]


def rehearse(decided: dict[str, int], looks: Looks, most: int = 10**6) -> tuple[Any, Rehearsal, list[str]]:
    spec = make_spec({"methods": f"lora,{','.join(decided)}", "tasks": ("rte", "sst2"), "seeds": str(looks)})
    rehearsal, lines = Rehearsal(decided, most), list[str]()
    plan = make_plan(spec)
    looked = train_looks(plan, looks, rehearsal.decide, rehearsal.train, lambda: rehearsal.records, lines.append)
    return looked, rehearsal, lines


def test_methods_of_decided_comparisons_get_no_more_seeds() -> None:
    looked, rehearsal, lines = rehearse({"head": 3, "bitfit": 7}, Looks(3, 20))
    assert rehearsal.looks == [(3, 18), (5, 6 + 2 * 10), (7, 6 + 2 * 14)]
    counts: dict[str, set[int]] = {}
    for planned in looked.plan.cells:
        counts.setdefault(planned.cell.method, set()).add(planned.cell.seeds["init"])
    assert {method: len(seeds) for method, seeds in counts.items()} == {"lora": 7, "head": 3, "bitfit": 7}
    assert looked.stopped == "decided" and not looked.remaining
    assert len(lines) == 3 and "look at 7 of 20 seeds" in lines[-1] and "better at 3 seeds" in lines[-1]


def test_the_maximum_and_the_budget_end_a_run() -> None:
    looked, _, _ = rehearse({"head": 99}, Looks(3, 7))
    assert looked.stopped == "the maximum of 7 seeds" and [look.seeds for look in looked.looks] == [3, 5, 7]
    looked, _, _ = rehearse({"head": 99}, Looks(3, 7), most=14)
    # 12 cells are the first look; of the second one only 2 of 8 cells are there, so it does not take place
    assert looked.stopped == "--max-cells 14" and [look.seeds for look in looked.looks] == [3]
    assert looked.remaining == "--max-cells 14: reached"


def test_many_comparisons_are_counted_in_the_line_of_a_look() -> None:
    rows = [build_row(f"m{i}", "better" if i < 2 else "undecided", 5) for i in range(6)]
    assert format_look(Look(seeds=5, comparisons=rows), Looks()) == "look at 5 of 100 seeds: 2 better, 4 undecided"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seeds", "auto:0..3"], "too few"),
        (["--seeds", "auto:5..3"], "maximum"),
        (["--seeds", "auto,length=0"], "same seed"),
        (["--seeds", "auto", "--methods", "lora"], "no comparison to decide, only lora runs"),
        (["--seeds", "auto", "--primary", "lorasp vs nothing"], "nothing"),
    ],
)
def test_a_mistake_ends_in_one_line_before_training(
    tmp_path: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *SMALL, *flags, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not list((tmp_path / "out").rglob("*.parquet"))


def test_the_plan_names_the_first_look_and_the_maximum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--seeds", "auto:3..7", "--methods", "lora,head"]) == 0
    text = capsys.readouterr().out
    assert "first look, 3 seeds: 6 cells" in text and "at most, 7 seeds: 14 cells" in text
    assert main(["plan", *SMALL, "--seeds", "auto:3..7", "--methods", "lora,head", "--json"]) == 0
    forecast = json.loads(capsys.readouterr().out)
    assert forecast["cells"] == 6 and forecast["auto"]["most_cells"] == 14


def test_a_run_that_a_budget_interrupts_continues_with_the_same_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the embedded default; one run in one go, one in three commands."""
    flags = ["run", *SMALL, *FAST, "--seeds", "auto:3..5", "--methods", "lora,head"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*flags, "--out", str(whole)]) == 0
    assert capsys.readouterr().err.count("look at ") == 2
    assert main([*flags, "--out", str(parts), "--max-cells", "4"]) == 0
    assert "before its first look: nothing is decided" in (parts / "report" / "report.md").read_text()
    assert main([*flags, "--out", str(parts), "--max-cells", "4"]) == 0
    report = (parts / "report" / "report.md").read_text()
    assert "Budget spent (--max-cells 4) after the look at 3 of 5 seeds: 1 of 1 comparison undecided." in report
    assert main([*flags, "--out", str(parts)]) == 0
    runs = [Store(out).read_run() for out in (whole, parts)]
    for name in ("looks", "order", "stopped", "auto", "margin"):
        assert runs[0][name] == runs[1][name], name
    assert runs[0]["stopped"] == "the maximum of 5 seeds" and runs[0]["margin"] == 1.0 and not runs[1]["auto_late"]
    # a report written again says the same
    assert main(["report", str(parts), *FAST]) == 0
    assert "Stopped at 5 of 5 seeds, the maximum" in (parts / "report" / "report.md").read_text()
    capsys.readouterr()
    for other in ("auto:3..6", "4"):
        assert main([*flags, "--seeds", other, "--out", str(parts)]) == 2
        assert "has looked at its results by auto:3..5" in capsys.readouterr().err


def test_from_python_with_results_of_an_earlier_run(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"tasks": "rte", "methods": "lora,head", "max_steps": 2, "eval_rows": 20}
    fields |= {"train_rows": 40, "profile": False, "formats": ("md",), "figures": (), "out": tmp_path}
    results.run(seeds=3, **fields)
    finished = results.run(seeds="auto:3..4", **fields)
    assert [look.seeds for look in finished.looks] == [3, 4] and finished.stopped == "the maximum of 4 seeds"
    # the looks were declared with results in the folder, which every report says
    assert "Post hoc: the automatic number of seeds" in finished.report.with_suffix(".md").read_text()
