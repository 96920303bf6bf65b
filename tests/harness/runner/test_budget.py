"""Budgets: a run stops at a limit of hours, cells or cost, loses nothing, and the same command continues."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.core.interrupt import TimeLimit, catch_signals, defer_interrupts
from harness.core.spec_reading import make_spec
from harness.core.store import Store, select_missing_cells
from harness.runner.budget import Budget
from harness.runner.execute import execute, open_executor
from tests.harness.sittings import Seen, assert_same_bits, planned, sitting, stored


def test_the_limit_of_time_is_the_earlier_of_hours_and_cost() -> None:
    assert Budget().find_time_limit() is None
    assert Budget(max_hours=2.0).find_time_limit() == (7200.0, "--max-hours 2")
    # 10 at 2.5 an hour are 4 device hours, 2 hours of two devices
    assert Budget(max_hours=3.0, max_cost=10.0, price=2.5, workers=2).find_time_limit() == (7200.0, "--max-cost 10")
    assert Budget(max_cost=10.0, price=2.5, is_local=False).find_time_limit() is None


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max-hours", "-1"], "max-hours"),
        (["--max-hours", "0"], "max-hours"),
        (["--max-hours", "nan"], "max-hours"),
        (["--max-hours", "inf"], "max-hours"),
        (["--max-cells", "0"], "max-cells"),
        (["--max-cells", "1.5"], "--max-cells"),
        (["--max-cost", "nan", "--price", "1"], "max-cost"),
        (["--max-cost", "1"], "--price"),
        (["--price", "1"], "--max-cost"),
        (["--max-cost", "1", "--price", "-1"], "price"),
    ],
)
def test_a_budget_that_says_nothing_is_a_mistake(
    tmp_path: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--tasks", "rte", *flags, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_budget_is_no_part_of_the_question() -> None:
    plain = make_spec({"tasks": ("rte",)})
    assert make_spec({"tasks": ("rte",), "max_hours": 1.0, "max_cost": 2.0, "price": 1.0}).folder == plain.folder


# ---------------------------------------------------------------- the time limit


def wait_until(limit: TimeLimit, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not limit.is_over and time.monotonic() < deadline:
        time.sleep(0.01)


def test_the_end_of_the_time_interrupts_marked_blocks_only() -> None:
    limit, before = TimeLimit(), signal.getsignal(signal.SIGALRM)
    with limit.watch(0.01):
        wait_until(limit)
        assert limit.is_over and limit.number is None
        with pytest.raises(KeyboardInterrupt), limit.interruptible():
            time.sleep(10)
        with limit.interruptible():  # once: an executor stops its packs in the next one
            time.sleep(0.2)
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_budget_that_never_ends_is_none() -> None:
    budget = Budget(max_cost=1e9, price=1e-9)
    with budget.watch(), budget.limit.interruptible():
        assert not budget.check()


def test_the_end_of_the_time_waits_for_the_end_of_a_step_and_is_no_signal() -> None:
    limit = TimeLimit()
    with (
        catch_signals() as signals,
        limit.watch(0.01),
        pytest.raises(KeyboardInterrupt),
        limit.interruptible(),
        defer_interrupts(lambda: False) as end_step,
    ):
        time.sleep(0.2)  # a step
        assert limit.number is None
        end_step()
        raise AssertionError
    assert signals.number is None  # so that the command does not say that it was interrupted


# ---------------------------------------------------------------- runs


def run_within(out: Path, asked: Any, budget: Budget, listener: Seen | None = None) -> set[str]:
    """Run what is missing within a budget; the keys that remain."""
    plan, spec = asked
    store = Store(out)
    store.prepare()
    todo = select_missing_cells(plan.cells, store.read()[0], retry=False)
    with open_executor(spec) as executor:
        return execute(plan, todo, spec, store, listener or Seen(), executor, budget)


class Ending(Seen):
    """Ends the time of a budget at a step of the first pack."""

    def __init__(self, budget: Budget, at: int) -> None:
        super().__init__()
        self.budget, self.at = budget, at

    def step(self, step: int, losses: Any, worker: str = "") -> None:
        self.steps.append(step)
        # workers do not tell of each step
        if step >= self.at and not self.budget.limit.is_over:
            self.budget.limit.end()
            time.sleep(0.2)


def test_at_the_end_of_the_time_a_pack_writes_a_checkpoint_and_resumes_with_the_same_bits(tmp_path: Path) -> None:
    asked = planned("lora,lorasp", [6, 6, 6, 6], pack=2)
    budget = Budget(max_hours=1.0)
    remaining = run_within(tmp_path / "a", asked, budget, Ending(budget, 3))
    assert remaining == {cell.key for cell in asked[0].cells} and budget.reached == "--max-hours 1"
    assert not list((tmp_path / "a" / "cells").iterdir())  # no cancelled records either
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 1
    assert "4 cells to run" in budget.describe_remaining(remaining)
    assert "resumes from step 3" in sitting(tmp_path / "a", asked, Seen())
    sitting(tmp_path / "b", asked, Seen())
    assert_same_bits(tmp_path / "a", tmp_path / "b", asked[0])


def test_a_time_that_is_over_starts_no_pack(tmp_path: Path) -> None:
    asked = planned("lora", [2, 2], pack=1)
    listener = Seen()
    budget = Budget(max_hours=1e-9)
    assert len(run_within(tmp_path, asked, budget, listener)) == 2 and not listener.steps


@pytest.mark.parametrize(("most", "pack", "sizes"), [(1, 4, [1]), (3, 2, [2, 1]), (4, 2, [2, 2]), (9, 4, [4])])
def test_so_many_cells_train_and_the_next_command_trains_the_rest(
    tmp_path: Path, most: int, pack: int, sizes: list[int]
) -> None:
    asked = planned("lora,lorasp", [2, 2, 2, 2], pack=pack)
    keys = {cell.key for cell in asked[0].cells}
    budget = Budget(max_cells=most)
    remaining = run_within(tmp_path, asked, budget)
    done = Store(tmp_path).read()[0]
    assert len(done) == min(most, 4) and remaining == keys - set(done)
    packs = {tuple(made.pack.keys) for made in done.values() if made.pack}
    assert sorted(map(len, packs), reverse=True) == sizes
    assert bool(remaining) == bool(budget.cut)
    assert not run_within(tmp_path, asked, Budget())
    assert {made.status for made in stored(tmp_path, asked[0])} == {"ok"}


def test_a_pack_with_a_checkpoint_is_not_cut(tmp_path: Path) -> None:
    asked = planned("lora", [6, 6], pack=2)
    first = Budget(max_hours=1.0)
    run_within(tmp_path, asked, first, Ending(first, 3))
    budget = Budget(max_cells=1)
    assert len(run_within(tmp_path, asked, budget)) == 2 and budget.cut == "--max-cells 1"
    assert not run_within(tmp_path, asked, Budget(max_cells=2))


def test_elsewhere_the_hours_of_finished_packs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planned("lora", [2, 2], pack=1)
    plan, spec = asked
    monkeypatch.setattr("harness.runner.executors.in_process.get_utc_time", lambda: "2020-01-01T00:00:00+00:00")
    store = Store(tmp_path)
    store.prepare()
    budget = Budget(max_cost=1.0, price=1.0, is_local=False)
    with open_executor(spec) as executor:
        remaining = execute(plan, plan.cells, spec, store, Seen(), executor, budget)
    assert len(remaining) == 1 and budget.reached == "--max-cost 1" and len(store.read()[0]) == 1


def test_the_command_ends_well_says_what_remains_and_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"tasks": "rte", "methods": "lora", "seeds": "2", "train-rows": "64", "eval-rows": "40", "max-steps": "2"}
    words = ["run", *(w for k, v in small.items() for w in (f"--{k}", v)), "--device", "cpu", "--threads", "1"]
    words += ["--no-profile", "--formats", "csv", "--figures", "", "--out", str(tmp_path)]
    assert main([*words, "--max-cells", "1"]) == 0
    shown = capsys.readouterr().out
    assert "--max-cells 1: reached; 1 cell to run" in shown and "the same command continues" in shown
    assert main(words) == 0
    assert "reached" not in capsys.readouterr().out and len(Store(tmp_path).read()[0]) == 2


def test_without_any_result_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--tasks", "rte", "--methods", "lora", "--seeds", "1", "--device", "cpu", "--threads", "1"]
    assert main([*words, "--no-profile", "--out", str(tmp_path), "--max-hours", "1e-9"]) == 0
    assert "1 cell to run, no time estimate" in capsys.readouterr().out and not (tmp_path / "report").exists()


@pytest.mark.slow
def test_workers_write_checkpoints_at_the_end_of_the_time(tmp_path: Path) -> None:
    asked = planned("lora", [400] * 4, seeds="4", pack=1, devices="cpu:2")
    budget = Budget(max_hours=1.0)
    remaining = run_within(tmp_path, asked, budget, Ending(budget, 5))
    assert len(remaining) == 4 and len(list((tmp_path / "checkpoints").iterdir())) >= 1
    assert not run_within(tmp_path, asked, Budget(), Ending(Budget(), 10**9))
    assert {made.status for made in stored(tmp_path, asked[0])} == {"ok"}
